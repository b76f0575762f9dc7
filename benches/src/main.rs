//! The bench at a prompt: measures what is named, prints it, and writes it down where that is asked for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use clap::{Args, Parser, Subcommand};
use hearth_benches::table::{self, Occasion};
use hearth_benches::target::TARGETS;
use hearth_benches::{Found, Scale, Setting, compare, engine, fanout, http, machine, million, stalled, sustained};

/// The one of the program, since the engine is measured in process too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Parser)]
#[command(about = "Measures Hearth beside what it stands on", args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    baseline: Option<Baseline>,
    #[command(flatten)]
    measure: Measure,
}

#[derive(Debug, Args)]
struct Measure {
    /// The rows to measure; `all` is everything, `compare` what is set beside Google's emulator
    #[arg(required_unless_present = "write", value_parser = name)]
    names: Vec<String>,
    /// Writes the rows into docs/performance.md; without any, only what is known of those that are not met
    #[arg(long)]
    write: bool,
    /// As little as shows that the bench works; its numbers mean nothing
    #[arg(long, conflicts_with = "write")]
    tiny: bool,
    /// How often each is repeated; the median counts
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Where data is written: the disk that is measured [default: the temporary folder]
    #[arg(long)]
    folder: Option<PathBuf>,
    /// The program under test [default: the one of this profile, built if need be]
    #[arg(long, env = "TEST_HEARTH_BIN")]
    hearth: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Baseline {
    /// The plain server that fan-out is compared with; started by the bench
    #[command(hide = true)]
    Plain { listeners: usize, frame_bytes: usize },
}

type Run = fn(&Setting) -> Result<Vec<Found>>;

/// What measures which rows, the shortest first.
const MEASUREMENTS: [(&[&str], Run); 15] = [
    (&["burst"], engine::burst),
    (&["one-writer"], engine::one_writer),
    (&["hot-document"], engine::hot_document),
    (&["ws-1000"], fanout::ws_1000),
    (&["sse-1000"], fanout::sse_1000),
    (&["ws-10000"], fanout::ws_10000),
    (&["sse-10000"], fanout::sse_10000),
    (&["http-commit", "http-read"], http::http),
    (&["stalled"], stalled::stalled),
    (&["million-ready", "million-resident"], million::million),
    (&["sustained"], sustained::sustained),
    (&["compare-start"], compare::start),
    (&COMPARED_BY_NODE, compare::through_node),
    (&COMPARED_BY_GRPC, compare::directly),
    (&["compare-memory"], compare::memory),
];

/// Rows that are measured together, since both servers have to be warm for them.
const COMPARED_BY_NODE: [&str; 6] = [
    "compare-node-write-1",
    "compare-node-write-64",
    "compare-node-get",
    "compare-node-query",
    "compare-node-listen",
    "compare-node-increment",
];
/// The same.
const COMPARED_BY_GRPC: [&str; 12] = [
    "compare-grpc-write-1",
    "compare-grpc-write-64",
    "compare-grpc-get",
    "compare-grpc-query",
    "compare-grpc-listen",
    "compare-grpc-increment",
    "compare-cpu-write-1",
    "compare-cpu-write-64",
    "compare-cpu-get",
    "compare-cpu-query",
    "compare-cpu-listen",
    "compare-cpu-increment",
];

/// Stands for every row.
const ALL: &str = "all";

fn name(text: &str) -> Result<String, String> {
    let known = || TARGETS.iter().map(|target| target.name).chain([ALL, compare::PREFIX]);
    match known().any(|name| name == text) {
        true => Ok(text.into()),
        false => Err(format!("the rows are {}", known().collect::<Vec<_>>().join(", "))),
    }
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    match cli.baseline {
        Some(Baseline::Plain { listeners, frame_bytes }) => fanout::plain(listeners, frame_bytes),
        None => measure(&cli.measure),
    }
}

fn measure(asked: &Measure) -> Result<()> {
    ensure!(asked.runs > 0, "there is no median of no runs");
    ensure!(!asked.write || !cfg!(debug_assertions), "only an optimised bench writes its numbers down: add --release");
    let setting = Setting {
        scale: if asked.tiny { Scale::Tiny } else { Scale::Full },
        runs: asked.runs,
        folder: asked.folder.clone().unwrap_or_else(std::env::temp_dir),
        hearth: asked.hearth.clone().map_or_else(build, Ok)?,
        myself: std::env::current_exe()?,
    };
    let (machine, day) = (machine::describe(), today());
    println!("{machine}; {day}");
    let write = |rows: &BTreeMap<&'static str, String>| -> Result<()> {
        let path = repository().join("docs/performance.md");
        let old = std::fs::read_to_string(&path).unwrap_or_default();
        Ok(std::fs::write(&path, table::document(&old, &machine, rows))?)
    };
    if asked.write {
        write(&BTreeMap::new())?;
    }
    for (names, run) in MEASUREMENTS {
        let is_compared = names[0].starts_with(compare::PREFIX);
        let is_asked = |asked: &String| match asked.as_str() {
            ALL => true,
            compare::PREFIX => is_compared,
            asked => names.contains(&asked),
        };
        if !asked.names.iter().any(is_asked) {
            continue;
        }
        let load_before = machine::load();
        let found = run(&setting).with_context(|| format!("while measuring {}", names.join(" and ")))?;
        let occasion = Occasion { load: load_before.max(machine::load()), day: day.clone() };
        let rows: BTreeMap<_, _> = found.iter().map(|found| (found.name, table::row(found, &occasion))).collect();
        rows.values().for_each(|row| println!("{row}"));
        if asked.write {
            write(&rows)?;
        }
    }
    Ok(())
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// The day, as in 2026-11-24.
fn today() -> String {
    let output = Command::new("date").args(["-u", "+%Y-%m-%d"]).output().ok().filter(|output| output.status.success());
    output.map_or("an unknown day".into(), |output| String::from_utf8_lossy(&output.stdout).trim().to_string())
}

/// Builds the program with the profile of this one, and says where it is.
fn build() -> Result<PathBuf> {
    let myself = std::env::current_exe()?;
    let folder = myself.parent().context("a program is in a folder")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--locked", "--package", "hearth", "--bin", "hearth"]);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    command.current_dir(repository()).env("CARGO_TARGET_DIR", folder.parent().context("and that in another")?);
    ensure!(command.status()?.success(), "`cargo build --package hearth` failed");
    Ok(folder.join("hearth"))
}
