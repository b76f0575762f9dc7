//! Hearth beside Google's own emulator of Firestore, under the same loads: Hearth durable, the emulator in memory.
//!
//! Directly by gRPC, and through Google's client for Node (`benches/compare.js`). Both servers run at the same time and are asked one
//! after the other; what stands by uses next to nothing. Where the emulator is not installed there is nothing to compare with: that
//! is said, and the rows stay as they are.

mod emulator;
mod grpc;
mod loads;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use tokio::runtime::Runtime;

use self::emulator::Emulator;
use self::loads::{Asked, Load, Outcome, Times};
use crate::child::Child;
use crate::{Found, Setting, list, median};

/// What the names of all rows of this comparison begin with, and what stands for all of them at the prompt.
pub const PREFIX: &str = "compare";
/// Documents of which the memory is measured.
const MANY: usize = 100_000;

/// Both servers, and what drives them.
struct Pair {
    hearth: Child,
    emulator: Emulator,
    runtime: Runtime,
    _folder: tempfile::TempDir,
}

impl Pair {
    /// Starts both; none where there is no emulator, which is said.
    fn start(setting: &Setting) -> Result<Option<Self>> {
        let Some(jar) = jar() else { return Ok(None) };
        let folder = tempfile::TempDir::with_prefix_in("hearth-bench-", &setting.folder)?;
        let hearth = Child::hearth(setting, &folder.path().join("data"), &[("connections_per_address_max", 1_000)])?;
        let pair = Self { hearth, emulator: Emulator::start(&jar)?, runtime: runtime()?, _folder: folder };
        for address in pair.addresses() {
            pair.runtime.block_on(loads::is_ready(address))?;
        }
        Ok(Some(pair))
    }

    fn addresses(&self) -> [SocketAddr; 2] {
        [self.hearth.address(), self.emulator.address]
    }

    fn fill(&self, count: usize) -> Result<()> {
        self.addresses().into_iter().try_for_each(|address| self.runtime.block_on(loads::fill(address, count)))
    }

    /// Has the emulator do everything once before anything of it is measured: what it does for the first time is slow.
    fn warm(&self, setting: &Setting) -> Result<()> {
        let measured = Duration::from_millis(setting.scale.pick(2_000, 100));
        let times = Times { warm: Duration::ZERO, measured };
        Load::ALL.into_iter().try_for_each(|load| {
            self.runtime
                .block_on(loads::run(
                    self.emulator.address,
                    Asked { load, documents: documents(setting), times },
                    || self.emulator.cpu(),
                ))
                .map(drop)
        })
    }
}

fn runtime() -> Result<Runtime> {
    // One thread: it leaves the other processors to the server, as a client on another machine would.
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

fn jar() -> Option<String> {
    emulator::find().inspect_err(|missing| println!("skipped: {PREFIX}: {missing}")).ok()
}

/// How long Hearth and the emulator are asked: the latter has to see first what it is to compile.
fn times(setting: &Setting) -> [Times; 2] {
    let milliseconds = |full, tiny| Duration::from_millis(setting.scale.pick(full, tiny));
    [1_500, 3_000].map(|warm| Times { warm: milliseconds(warm, 200), measured: milliseconds(2_500, 200) })
}

/// Documents that are there to be got.
fn documents(setting: &Setting) -> usize {
    setting.scale.pick(10_000, 200)
}

fn micros(cpu: Duration, operations: u64) -> f64 {
    cpu.as_secs_f64() * 1e6 / operations as f64
}

/// The name of a row: these are all in `target.rs`.
fn row(kind: &str, load: Load) -> &'static str {
    let name = format!("{PREFIX}-{kind}-{}", load.name());
    crate::target::named(&name).name
}

/// The rows of both servers' rates and CPU by gRPC.
pub fn directly(setting: &Setting) -> Result<Vec<Found>> {
    let Some(pair) = Pair::start(setting)? else { return Ok(Vec::new()) };
    pair.fill(documents(setting))?;
    pair.warm(setting)?;
    let [our_times, their_times] = times(setting);
    let mut found = Vec::new();
    let mut at_rest = pair.hearth.cpu_at_rest()?;
    for load in Load::ALL {
        let theirs = pair.runtime.block_on(loads::run(
            pair.emulator.address,
            Asked { load, documents: documents(setting), times: their_times },
            || pair.emulator.cpu(),
        ))?;
        let before = at_rest;
        let ours = pair.runtime.block_on(loads::run(
            pair.hearth.address(),
            Asked { load, documents: documents(setting), times: our_times },
            || pair.hearth.cpu(),
        ))?;
        // What is done in the background afterwards belongs to what was written.
        at_rest = if load.writes() { pair.hearth.cpu_at_rest()? } else { pair.hearth.cpu()? };
        let (ours_cpu, theirs_cpu) = (micros(at_rest - before, ours.all), micros(theirs.cpu, theirs.operations));
        found.push(Found {
            name: row("grpc", load),
            value: ours.rate() / theirs.rate(),
            details: rates(&ours, &theirs),
        });
        let with = if load.writes() { ", with what follows in the background" } else { "" };
        let details = format!("{ours_cpu:.0} µs an operation{with}; {theirs_cpu:.0} µs");
        found.push(Found { name: row("cpu", load), value: ours_cpu / theirs_cpu, details });
    }
    Ok(found)
}

fn rates(ours: &Outcome, theirs: &Outcome) -> String {
    let refused = |outcome: &Outcome| match outcome.refused {
        0 => String::new(),
        count => format!(", {count} more refused"),
    };
    format!("{:.0} a second{}; {:.0}{}", ours.rate(), refused(ours), theirs.rate(), refused(theirs))
}

/// What the script prints.
#[derive(Deserialize)]
struct Printed {
    operations: u64,
    seconds: f64,
    refused: u64,
    /// Seconds of CPU of the client meanwhile.
    cpu: f64,
}

/// The rows of the rates through Google's client for Node.
pub fn through_node(setting: &Setting) -> Result<Vec<Found>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    if !here.join("../tests/node_modules/@google-cloud/firestore").exists() {
        println!("skipped: {PREFIX}-node: Google's client is not installed; `npm ci` in tests/ does that");
        return Ok(Vec::new());
    }
    let Some(pair) = Pair::start(setting)? else { return Ok(Vec::new()) };
    pair.fill(documents(setting))?;
    pair.warm(setting)?;
    let [our_times, their_times] = times(setting);
    let mut found = Vec::new();
    for load in Load::ALL {
        let ask = |address: SocketAddr, times: Times| -> Result<(Outcome, f64)> {
            let mut command = Command::new("node");
            command.arg(here.join("compare.js")).arg(load.name());
            command.args([times.warm, times.measured].map(|time| time.as_millis().to_string()));
            command.env("FIRESTORE_EMULATOR_HOST", address.to_string()).env("METADATA_SERVER_DETECTION", "none");
            let output = command.output().context("node cannot be started")?;
            ensure!(output.status.success(), "{}: {}", load.name(), String::from_utf8_lossy(&output.stderr));
            let Printed { operations, seconds, refused, cpu } = serde_json::from_slice(&output.stdout)?;
            ensure!(operations > 0, "{}: nothing was answered", load.name());
            Ok((Outcome { operations, seconds, refused, ..Outcome::default() }, cpu / seconds * 100.0))
        };
        let ((theirs, their_busy), (ours, our_busy)) =
            (ask(pair.emulator.address, their_times)?, ask(pair.hearth.address(), our_times)?);
        let details = format!(
            "{}; the client's own process was busy for {our_busy:.0} and {their_busy:.0} % of the time",
            rates(&ours, &theirs)
        );
        found.push(Found { name: row("node", load), value: ours.rate() / theirs.rate(), details });
    }
    Ok(found)
}

/// The row of the start: from nothing to the first answer.
pub fn start(setting: &Setting) -> Result<Vec<Found>> {
    let Some(jar) = jar() else { return Ok(Vec::new()) };
    let runtime = runtime()?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..setting.runs {
        let folder = tempfile::TempDir::with_prefix_in("hearth-bench-", &setting.folder)?;
        let begin = Instant::now();
        let hearth = Child::hearth(setting, &folder.path().join("data"), &[])?;
        runtime.block_on(loads::is_ready(hearth.address()))?;
        ours.push(begin.elapsed().as_secs_f64() * 1e3);
        let begin = Instant::now();
        let emulator = Emulator::start(&jar)?;
        runtime.block_on(loads::is_ready(emulator.address))?;
        theirs.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    let details =
        format!("a new data directory and its first database; runs {} ms; {} ms", list(&ours, 0), list(&theirs, 0));
    Ok(vec![Found { name: "compare-start", value: median(&ours) / median(&theirs), details }])
}

/// The row of the memory that 100,000 documents take.
pub fn memory(setting: &Setting) -> Result<Vec<Found>> {
    let Some(pair) = Pair::start(setting)? else { return Ok(Vec::new()) };
    let count = setting.scale.pick(MANY, 400);
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    let empty = [pair.hearth.memory()?.resident, pair.emulator.memory()?.resident].map(megabytes);
    pair.fill(count)?;
    let full = [pair.hearth.memory()?.resident, pair.emulator.memory()?.resident].map(megabytes);
    let details =
        format!("{:.0} MB, {:.0} when empty; {:.0} MB, {:.0} when empty", full[0], empty[0], full[1], empty[1]);
    Ok(vec![Found { name: "compare-memory", value: full[0] / full[1], details }])
}
