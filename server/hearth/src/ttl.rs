//! `hearth ttl`: which documents expire.

use hearth_core::{FieldPath, Id};
use hearth_engine::{TtlChange, TtlPolicy};

use crate::args::{TtlArgs, TtlCommand};
use crate::config::Settings;
use crate::exit::{Exit, say};
use crate::place::{Place, Wanted};

/// Runs the command.
pub(crate) async fn run(args: &TtlArgs, settings: &Settings) -> Result<(), Exit> {
    let group = |text: &str| Id::parse(text).map_err(|error| Exit::usage(format!("GROUP: {error}")));
    let (change, as_json) = match &args.what {
        TtlCommand::List { json, .. } => (None, *json),
        TtlCommand::Set { group: name, field, .. } => {
            let field = FieldPath::parse(field).map_err(|error| Exit::usage(format!("FIELD: {error}")))?;
            (Some(TtlChange::Set(TtlPolicy { group: group(name)?, field })), false)
        }
        TtlCommand::Remove { group: name, .. } => (Some(TtlChange::Remove(group(name)?)), false),
    };
    let create = matches!(change, Some(TtlChange::Set(_)));
    let mut place = Place::open(Wanted { args: args.place(), settings, create }).await?;
    let policies = place.ttl(change).await;
    place.close().await?;
    let policies = policies?;
    if as_json {
        say(format_args!("{:#}", hearth_native::ttl_json(&policies)));
        return Ok(());
    }
    for TtlPolicy { group, field } in &policies {
        say(format_args!("{group}\t{field}"));
    }
    if policies.is_empty() {
        eprintln!("no documents expire");
    }
    Ok(())
}
