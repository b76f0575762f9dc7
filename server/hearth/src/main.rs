//! The program: reads the command line and the configuration, and runs one command.

mod args;
mod assets;
mod backup;
mod cells;
mod check;
mod config;
mod connections;
mod emulated;
mod exec;
mod exit;
mod export;
mod fetch;
mod firebase;
mod forwarded;
mod import;
mod issuers;
mod log;
mod open;
mod place;
mod public;
mod records;
mod restore;
mod server;
mod signals;
mod source;
mod tls;
mod token;
mod ttl;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use hearth_auth::Mode;

use crate::args::{Cli, Command, FileArgs};
use crate::config::{Config, FILE, Given, Settings};
use crate::exit::{Exit, say};

/// What is freed on another thread than it was made on, as nearly everything here, costs the system's allocator a fifth of
/// the time of a commit, and it gives little of it back (docs/performance.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long what still runs on blocking threads may take when the process ends.
const LAST_WORDS_MAX: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    // First: whoever makes or checks a token, or speaks TLS, relies on it.
    hearth_auth::install_crypto();
    match run(Cli::parse().command) {
        Ok(code) => ExitCode::from(code),
        Err(exit) => {
            eprintln!("hearth: {}", exit.message);
            ExitCode::from(exit.code as u8)
        }
    }
}

/// Runs a command, and answers the code to end with.
fn run(command: Command) -> Result<u8, Exit> {
    match command {
        Command::Exec(args) => {
            let settings = settings(&args.file, args.given())?;
            log::start(&settings)?;
            return on_runtime(server::run_command(&args, settings));
        }
        Command::Dev(args) => serve(Mode::Dev, &args.server.file, args.given()),
        Command::Serve(args) => serve(Mode::Serve, &args.server.file, args.given()),
        Command::Import(args) => {
            let settings = settings(&args.place.file, args.place.given())?;
            log::start(&settings)?;
            on_runtime(import::run(&args, &settings))
        }
        Command::Export(args) => {
            let settings = settings(&args.place.file, args.place.given())?;
            log::start(&settings)?;
            on_runtime(export::run(&args, &settings))
        }
        Command::Backup(args) => {
            let settings = settings(&args.file, args.given())?;
            log::start(&settings)?;
            on_runtime(backup::run(&args, &settings))
        }
        Command::Restore(args) => {
            let settings = settings(&args.file, args.given())?;
            log::start(&settings)?;
            on_runtime(restore::run(&args, &settings))
        }
        Command::Ttl(args) => {
            let place = args.place();
            let settings = settings(&place.file, place.given())?;
            log::start(&settings)?;
            on_runtime(ttl::run(&args, &settings))
        }
        Command::Check(args) => {
            let settings = settings(&args.file, args.given())?;
            log::start(&settings)?;
            check::run(&args, &settings)
        }
        Command::Token(args) => token::run(&args, &settings(&args.file, Vec::new())?),
        Command::Config(args) => {
            let config = config(&args.serve.server.file, args.serve.given())?;
            // What cannot be used is said here as well.
            Settings::read(&config).map_err(Exit::usage)?;
            match args.json {
                true => say(format_args!("{:#}", config.to_json())),
                false => say(config.to_toml().trim_end()),
            }
            Ok(())
        }
    }?;
    Ok(0)
}

fn serve(mode: Mode, file: &FileArgs, given: Vec<Given>) -> Result<(), Exit> {
    let settings = settings(file, given)?;
    log::start(&settings)?;
    on_runtime(server::run(mode, settings))
}

fn on_runtime<T>(work: impl Future<Output = Result<T, Exit>>) -> Result<T, Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Exit::start)?;
    let ended = runtime.block_on(work);
    runtime.shutdown_timeout(LAST_WORDS_MAX);
    ended
}

fn settings(file: &FileArgs, given: Vec<Given>) -> Result<Settings, Exit> {
    Settings::read(&config(file, given)?).map_err(Exit::usage)
}

/// Reads the configuration: the file that was named, or the one in this folder where there is one.
fn config(file: &FileArgs, given: Vec<Given>) -> Result<Config, Exit> {
    let path = file.config.clone().unwrap_or_else(|| PathBuf::from(FILE));
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == ErrorKind::NotFound && file.config.is_none() => None,
        Err(error) => return Err(Exit::usage(format!("{}: {error}", path.display()))),
    };
    let file: Option<(&Path, &str)> = text.as_deref().map(|text| (path.as_path(), text));
    // A variable that is not UTF-8 is none of ours.
    let environment =
        std::env::vars_os().filter_map(|(name, text)| Some((name.into_string().ok()?, text.into_string().ok()?)));
    Config::build(file, environment, given).map_err(Exit::usage)
}
