//! `hearth check`: says whether everything in a data directory is as it should be. It changes nothing.

use std::time::Duration;

use hearth_engine::{CheckOptions, CheckReport, DatabaseChecked, Finding};
use hearth_store::HomeError;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value as Json, json};

use crate::args::CheckArgs;
use crate::config::Settings;
use crate::exit::{Exit, say};
use crate::open;

/// Runs the command. Ends well only where nothing is wrong.
pub(crate) fn run(args: &CheckArgs, settings: &Settings) -> Result<(), Exit> {
    // In a folder that others on this machine cannot look into, removed however this ends.
    let scratch = match (args.without_state, &args.scratch) {
        (true, _) => None,
        (false, Some(folder)) => Some(tempfile::Builder::new().prefix("hearth-").tempdir_in(folder)),
        (false, None) => Some(tempfile::Builder::new().prefix("hearth-").tempdir()),
    };
    let scratch = scratch.transpose().map_err(|error| Exit::failed(format!("there is no room for a copy: {error}")))?;
    let options = CheckOptions {
        boot_id: open::boot_id(),
        scratch: scratch.as_ref().map(|scratch| scratch.path().to_path_buf()),
    };
    let progress = ProgressBar::new_spinner()
        .with_style(ProgressStyle::with_template("{spinner} {msg}").expect("the template is well formed"));
    progress.enable_steady_tick(Duration::from_millis(250));
    let checked = hearth_engine::check(&settings.data, &options, |step| progress.set_message(step.to_string()));
    progress.finish_and_clear();
    let report = checked.map_err(|error| match error {
        HomeError::InUse { .. } => Exit::start(format!(
            "{error}. A check reads what a server would be writing meanwhile: stop the server, check, and start it again; \
             of a running one, GET /health tells how it is"
        )),
        error => Exit::start(error),
    })?;
    match args.json {
        true => say(to_json(&report)),
        false => say(report.to_string().trim_end()),
    }
    match report.is_sound() {
        true => Ok(()),
        false => Err(Exit::failed(format!("{} is not sound", settings.data.display()))),
    }
}

fn to_json(report: &CheckReport) -> Json {
    let findings = |findings: &[Finding]| -> Vec<Json> {
        let one = |finding: &Finding| match finding {
            Finding::Wrong(text) => json!({ "kind": "wrong", "text": text }),
            Finding::Note(text) => json!({ "kind": "note", "text": text }),
        };
        findings.iter().map(one).collect()
    };
    let database = |checked: &DatabaseChecked| {
        let snapshots: Vec<String> = checked.snapshots.iter().map(ToString::to_string).collect();
        json!({
            "name": checked.name,
            "last": checked.last.to_string(),
            "begins": checked.begins.to_string(),
            "entries": checked.entries,
            "log_bytes": checked.log_bytes,
            "documents": checked.documents,
            "snapshots": snapshots,
            "state": checked.state.map(|version| version.to_string()),
            "findings": findings(&checked.findings),
        })
    };
    json!({
        "sound": report.is_sound(),
        "databases": report.databases.iter().map(database).collect::<Vec<_>>(),
        "state": findings(&report.state),
    })
}
