//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::settings::listen_address;
use crate::config::{Given, Value};

/// A self-hosted realtime document database: one binary, data on your disk.
#[derive(Debug, Parser)]
#[command(name = "hearth", version, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve for development: on this machine, open to everything that runs on it
    Dev(DevArgs),
    /// Serve for real: closed by default, tokens verified
    Serve(ServeArgs),
    /// Run a command beside a fresh dev server in memory, which ends with it: for tests
    Exec(ExecArgs),
    /// Bring documents in from NDJSON, JSON or CSV
    Import(ImportArgs),
    /// Write documents out as NDJSON, JSON or CSV
    Export(ExportArgs),
    /// Copy everything that is committed, while the server goes on; after the first time only what is new
    Backup(BackupArgs),
    /// Make a data directory from a backup, as it was at any moment
    Restore(RestoreArgs),
    /// Say which documents expire: when the time has come that a field of theirs holds
    Ttl(TtlArgs),
    /// Read everything in a data directory, hold it against each other, and change nothing
    Check(CheckArgs),
    /// Make a token for development, an admin key or a secret
    Token(TokenArgs),
    /// Show the effective configuration and where each value came from
    Config(ConfigArgs),
}

/// Which file the configuration is in.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct FileArgs {
    /// The configuration file; without it, hearth.toml where there is one
    #[arg(long, value_name = "FILE", env = "HEARTH_CONFIG")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ServerArgs {
    #[command(flatten)]
    pub(crate) file: FileArgs,
    /// Where to listen [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = address)]
    listen: Option<SocketAddr>,
    /// The data directory [default: ./hearth-data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Keep everything in memory and nothing on disk
    #[arg(long, conflicts_with = "data")]
    ephemeral: bool,
    /// The project that is meant where an address names none
    #[arg(long, value_name = "PROJECT")]
    project: Option<String>,
    /// A folder of files to hand out at /
    #[arg(long, value_name = "DIR")]
    public: Option<PathBuf>,
    /// The certificate for TLS, a PEM file with its whole chain; read again when it changes
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The private key of the certificate, a PEM file
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Refuse to start where there are no data yet: for when their disk may not be mounted
    #[arg(long, conflicts_with = "ephemeral")]
    existing: bool,
    /// Whose limits hold for Firestore's clients: Hearth's own, or exactly those of Google's cloud [default: relaxed]
    #[arg(long, value_name = "WHOSE", value_parser = ["relaxed", "cloud"])]
    limits: Option<String>,
    /// How long superseded versions are kept, as in 90s, 15m, 12h, 30d [default: 1h]
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    history: Option<u64>,
    /// Bytes of superseded versions that are kept of a database, as in 500MiB or 4GiB [default: 4GiB]
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    history_bytes_max: Option<u64>,
    /// Start although the newest commit is ahead of this machine's clock
    #[arg(long)]
    accept_clock: bool,
    /// What to log on standard error: a level, or filters such as hearth_engine=debug,warn [default: info]
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
}

/// What a server begins with, and what it leaves behind.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct DataArgs {
    /// Documents to begin with: imported where there are none yet
    #[arg(long, value_name = "FILE")]
    seed: Option<PathBuf>,
    /// An export of Firebase's emulators to begin with, or one of `gcloud firestore export`: imported where there are no documents yet
    #[arg(long, value_name = "DIR", conflicts_with = "seed")]
    import: Option<PathBuf>,
    /// Export at the end as Firebase's emulators do, to this folder or that of --import
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = "", value_parser = any_path())]
    export_on_exit: Option<PathBuf>,
}

/// A path, or none where only the flag is there.
fn any_path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

impl DataArgs {
    /// The settings that these flags set.
    fn given(&self) -> impl Iterator<Item = Given> {
        let paths = [
            ("seed", "--seed", &self.seed),
            ("import", "--import", &self.import),
            ("export_on_exit", "--export-on-exit", &self.export_on_exit),
        ];
        paths.into_iter().filter_map(|(key, flag, value)| Some((key, flag, path(value.as_ref()?))))
    }
}

#[derive(Args, Clone, Debug, Default)]
pub(crate) struct DevArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    data: DataArgs,
    /// An origin whose pages may talk to this server besides those of this machine; may be repeated
    #[arg(long, value_name = "ORIGIN")]
    allow_origin: Vec<String>,
    /// Let other machines reach this server, with a key that is generated; =unsafe lets them without one
    #[arg(long, value_name = "HOW", num_args = 0..=1, require_equals = true, default_missing_value = "key", value_parser = ["key", "unsafe"])]
    expose: Option<String>,
    /// Take no notice of a firebase.json in this folder
    #[arg(long)]
    no_firebase_json: bool,
}

#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// The addresses of a proxy that does TLS, such as 10.0.0.0/8; may be repeated
    #[arg(long, value_name = "CIDR")]
    behind_proxy: Vec<String>,
    /// A file with the admin key; HEARTH_ADMIN_KEY holds the key itself
    #[arg(long, value_name = "FILE")]
    admin_key_file: Option<PathBuf>,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct ExecArgs {
    #[command(flatten)]
    pub(crate) file: FileArgs,
    /// The project that the command is told of [default: demo]
    #[arg(long, value_name = "PROJECT")]
    project: Option<String>,
    #[command(flatten)]
    data: DataArgs,
    /// Whose limits hold for Firestore's clients: Hearth's own, or exactly those of Google's cloud [default: relaxed]
    #[arg(long, value_name = "WHOSE", value_parser = ["relaxed", "cloud"])]
    limits: Option<String>,
    /// What the server logs on standard error [default: warn]
    #[arg(long, value_name = "FILTER", default_value = "warn")]
    log: String,
    /// The command and its arguments, behind --
    #[arg(value_name = "CMD", required = true, last = true)]
    pub(crate) command: Vec<std::ffi::OsString>,
}

impl ExecArgs {
    /// The settings that these flags set, and those that make a server of its own: whatever is configured elsewhere.
    pub(crate) fn given(&self) -> Vec<Given> {
        let text = |text: &str| Value::Text(text.into());
        let project = self.project.as_deref().map(|project| ("project", "--project", text(project)));
        let own = [
            ("listen", "exec", text("127.0.0.1:0")),
            ("ephemeral", "exec", Value::Flag(true)),
            ("existing", "exec", Value::Flag(false)),
            ("expose", "exec", text("off")),
            ("log", "--log", text(&self.log)),
        ];
        let limits = self.limits.as_deref().map(|whose| ("limits.profile", "--limits", text(whose)));
        own.into_iter().chain(project).chain(self.data.given()).chain(limits).collect()
    }
}

#[derive(Args, Clone, Debug)]
pub(crate) struct ConfigArgs {
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
    /// As JSON, for scripts
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which documents, where.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct PlaceArgs {
    #[command(flatten)]
    pub(crate) file: FileArgs,
    /// A running server. Without it and --data: the configured one if it answers, else the data directory
    #[arg(long, value_name = "URL", conflicts_with = "data")]
    pub(crate) server: Option<String>,
    /// A data directory that no server uses
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// The project [default: the one the server or directory means]
    #[arg(long, value_name = "PROJECT")]
    pub(crate) project: Option<String>,
    /// The database of the project [default: (default)]
    #[arg(long, value_name = "NAME")]
    pub(crate) database: Option<String>,
    /// The token or admin key to show to the server; HEARTH_ADMIN_KEY is used where this is absent
    #[arg(long, value_name = "TOKEN", env = "HEARTH_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
}

/// How documents are written in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// One JSON object a line
    Ndjson,
    /// One JSON array or object
    Json,
    /// Comma-separated values with a line of names
    Csv,
}

/// What the cells of CSV mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Cells {
    /// Import: numbers and booleans where a whole column has them, else text. Export: text as it is, the rest as JSON
    #[default]
    Guess,
    /// Text, whatever it looks like
    Text,
    /// JSON, so that export and import give back exactly what there was
    Json,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct ImportArgs {
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// The collection to put the records in; without it the file says where its documents belong, as `hearth export` writes it
    #[arg(long, value_name = "PATH")]
    pub(crate) collection: Option<String>,
    /// The field whose value is the document's id; without it each record gets a fresh id
    #[arg(long, value_name = "FIELD", requires = "collection")]
    pub(crate) id: Option<String>,
    /// How the file is written [default: by its name]
    #[arg(long)]
    pub(crate) format: Option<Format>,
    /// What the cells of a CSV file mean
    #[arg(long, value_name = "HOW", default_value = "guess")]
    pub(crate) cells: Cells,
    /// Take JSON as it is: {"$timestamp": …} is then a map like any other
    #[arg(long)]
    pub(crate) literal: bool,
    /// Leave records out that cannot be imported, and say which
    #[arg(long)]
    pub(crate) skip_bad: bool,
    /// Print what was done as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// The file, may be compressed with gzip; - is standard input
    #[arg(value_name = "FILE")]
    pub(crate) path: PathBuf,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// The collection to write out; without it, everything
    #[arg(long, value_name = "PATH")]
    pub(crate) collection: Option<String>,
    /// How to write the file [default: by its name, else ndjson]
    #[arg(long)]
    pub(crate) format: Option<Format>,
    /// What the cells of a CSV file hold
    #[arg(long, value_name = "HOW", default_value = "guess")]
    pub(crate) cells: Cells,
    /// The file to write, compressed where it ends in .gz; - is standard output
    #[arg(value_name = "FILE", default_value = "-")]
    pub(crate) path: PathBuf,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct TtlArgs {
    #[command(subcommand)]
    pub(crate) what: TtlCommand,
}

#[derive(Subcommand, Clone, Debug)]
pub(crate) enum TtlCommand {
    /// Show which documents expire
    List {
        #[command(flatten)]
        place: PlaceArgs,
        /// As JSON, for scripts
        #[arg(long)]
        json: bool,
    },
    /// Have documents deleted when the time has come that a field of theirs holds
    Set {
        /// The id of the collections, wherever they are
        #[arg(value_name = "GROUP")]
        group: String,
        /// The field with the time; a document that holds no timestamp there stays
        #[arg(value_name = "FIELD")]
        field: String,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Let documents stay
    Remove {
        /// The id of the collections
        #[arg(value_name = "GROUP")]
        group: String,
        #[command(flatten)]
        place: PlaceArgs,
    },
}

impl TtlArgs {
    /// Where.
    pub(crate) fn place(&self) -> &PlaceArgs {
        let (TtlCommand::List { place, .. } | TtlCommand::Set { place, .. } | TtlCommand::Remove { place, .. }) =
            &self.what;
        place
    }
}

#[derive(Args, Clone, Debug)]
pub(crate) struct BackupArgs {
    #[command(flatten)]
    pub(crate) file: FileArgs,
    /// A running server. Without it and --data: the configured one if it answers, else the data directory
    #[arg(long, value_name = "URL", conflicts_with = "data")]
    pub(crate) server: Option<String>,
    /// A data directory that no server uses
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// The admin key to show to the server; HEARTH_ADMIN_KEY is used where this is absent
    #[arg(long, value_name = "TOKEN", env = "HEARTH_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// Copy everything again, and not only what is new
    #[arg(long)]
    pub(crate) full: bool,
    /// Print what was done as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// A directory, or s3://BUCKET/PREFIX with the usual AWS_… variables
    #[arg(value_name = "BACKUP")]
    pub(crate) to: String,
}

impl BackupArgs {
    /// The settings that these flags set.
    pub(crate) fn given(&self) -> Vec<Given> {
        self.data.iter().map(|data| ("data", "--data", path(data))).collect()
    }
}

#[derive(Args, Clone, Debug)]
pub(crate) struct RestoreArgs {
    #[command(flatten)]
    pub(crate) file: FileArgs,
    /// The data directory to make, or one that is empty
    #[arg(long, value_name = "DIR", required_unless_present = "list")]
    pub(crate) data: Option<PathBuf>,
    /// The moment: a version, or a time as in 2026-01-31T10:00:00Z [default: that of the newest backup]
    #[arg(long, value_name = "VERSION|TIME")]
    pub(crate) at: Option<String>,
    /// Only show which backups there are, and how far each goes back
    #[arg(long, conflicts_with_all = ["data", "at"])]
    pub(crate) list: bool,
    /// Print what was done as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// What `hearth backup` was given
    #[arg(value_name = "BACKUP")]
    pub(crate) from: String,
}

impl RestoreArgs {
    /// The settings that these flags set.
    pub(crate) fn given(&self) -> Vec<Given> {
        self.data.iter().map(|data| ("data", "--data", path(data))).collect()
    }
}

#[derive(Args, Clone, Debug)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) file: FileArgs,
    /// The data directory, which no server may use meanwhile [default: ./hearth-data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where there is room for a copy of the state, which is removed again [default: the system's temporary directory]
    #[arg(long, value_name = "DIR", conflicts_with = "without_state")]
    pub(crate) scratch: Option<PathBuf>,
    /// Do not look into the state: it is made from the log, and made again when it is lost
    #[arg(long)]
    pub(crate) without_state: bool,
    /// Print what was found as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl CheckArgs {
    /// The settings that these flags set.
    pub(crate) fn given(&self) -> Vec<Given> {
        self.data.iter().map(|data| ("data", "--data", path(data))).collect()
    }
}

#[derive(Args, Clone, Debug)]
pub(crate) struct TokenArgs {
    #[command(flatten)]
    pub(crate) file: FileArgs,
    /// Who the token is for
    #[arg(long, value_name = "UID", required_unless_present_any = ["admin_key", "secret"])]
    pub(crate) uid: Option<String>,
    /// A further claim; the value is JSON, or text where it is none; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) claim: Vec<String>,
    /// How long it holds, as in 90s, 15m, 12h, 30d
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = seconds)]
    pub(crate) ttl: u64,
    /// The issuer of hearth.toml in whose name it is made [default: the only one with a secret file]
    #[arg(long, value_name = "ISSUER")]
    pub(crate) issuer: Option<String>,
    /// The private key to sign with, a PEM file, where the issuer has no secret
    #[arg(long, value_name = "FILE")]
    pub(crate) pem: Option<PathBuf>,
    /// The key id to name in the token
    #[arg(long, value_name = "ID")]
    pub(crate) key_id: Option<String>,
    /// Make no token but a new admin key
    #[arg(long, conflicts_with_all = ["uid", "secret"])]
    pub(crate) admin_key: bool,
    /// Make no token but a new secret for an issuer with HS256
    #[arg(long, conflicts_with = "uid")]
    pub(crate) secret: bool,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    listen_address(text).ok_or_else(|| "an address and a port are expected, such as 127.0.0.1:8080".into())
}

fn seconds(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3_600),
        "d" => Some(86_400),
        _ => None,
    };
    let seconds = unit.and_then(|unit| digits.parse::<u64>().ok()?.checked_mul(unit));
    seconds.ok_or_else(|| "a time such as 90s, 15m, 12h or 30d is expected".into())
}

fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "B" => Some(1),
        "KiB" => Some(1 << 10),
        "MiB" => Some(1 << 20),
        "GiB" => Some(1 << 30),
        "TiB" => Some(1 << 40),
        _ => None,
    };
    let bytes = unit.and_then(|unit: u64| digits.parse::<u64>().ok()?.checked_mul(unit));
    bytes.ok_or_else(|| "a number of bytes such as 500000, 64KiB, 500MiB or 4GiB is expected".into())
}

fn path(path: &std::path::Path) -> Value {
    Value::Text(path.display().to_string())
}

impl ServerArgs {
    /// The settings that these flags set.
    fn given(&self) -> Vec<Given> {
        let mut given = Vec::new();
        if let Some(address) = self.listen {
            given.push(("listen", "--listen", Value::Text(address.to_string())));
        }
        let paths = [
            ("data", "--data", &self.data),
            ("public", "--public", &self.public),
            ("tls.cert", "--tls-cert", &self.tls_cert),
            ("tls.key", "--tls-key", &self.tls_key),
        ];
        given.extend(paths.into_iter().filter_map(|(key, flag, value)| Some((key, flag, path(value.as_ref()?)))));
        let texts = [
            ("project", "--project", &self.project),
            ("log", "--log", &self.log),
            ("limits.profile", "--limits", &self.limits),
        ];
        let text = |(key, flag, value): (_, _, &Option<String>)| Some((key, flag, Value::Text(value.clone()?)));
        given.extend(texts.into_iter().filter_map(text));
        let counts = [
            ("limits.history_seconds", "--history", self.history),
            ("limits.history_bytes_max", "--history-bytes-max", self.history_bytes_max),
        ];
        given.extend(counts.into_iter().filter_map(|(key, flag, count)| Some((key, flag, Value::Count(count?)))));
        let flags = [
            ("ephemeral", "--ephemeral", self.ephemeral),
            ("existing", "--existing", self.existing),
            ("accept_clock", "--accept-clock", self.accept_clock),
        ];
        given.extend(flags.into_iter().filter(|flag| flag.2).map(|(key, flag, _)| (key, flag, Value::Flag(true))));
        given
    }
}

impl DevArgs {
    /// The settings that these flags set.
    pub(crate) fn given(&self) -> Vec<Given> {
        let mut given = self.server.given();
        given.extend(self.data.given());
        if !self.allow_origin.is_empty() {
            given.push(("allow_origin", "--allow-origin", Value::List(self.allow_origin.clone())));
        }
        if let Some(how) = &self.expose {
            given.push(("expose", "--expose", Value::Text(how.clone())));
        }
        if self.no_firebase_json {
            given.push(("firebase_json", "--no-firebase-json", Value::Flag(false)));
        }
        given
    }
}

impl ServeArgs {
    /// The settings that these flags set.
    pub(crate) fn given(&self) -> Vec<Given> {
        let mut given = self.server.given();
        if !self.behind_proxy.is_empty() {
            given.push(("behind_proxy", "--behind-proxy", Value::List(self.behind_proxy.clone())));
        }
        if let Some(file) = &self.admin_key_file {
            given.push(("admin_key_file", "--admin-key-file", path(file)));
        }
        given
    }
}

impl PlaceArgs {
    /// The settings that these flags set.
    pub(crate) fn given(&self) -> Vec<Given> {
        let data = self.data.as_ref().map(|data| ("data", "--data", path(data)));
        let project = self.project.as_ref().map(|project| ("project", "--project", Value::Text(project.clone())));
        data.into_iter().chain(project).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;
    use expect_test::{Expect, expect};

    fn check(line: &str, want: Expect) {
        let words = ["hearth"].into_iter().chain(line.split_whitespace());
        want.assert_eq(&match Cli::try_parse_from(words) {
            Ok(Cli { command: Command::Dev(args) }) => format!("{:?}", args.given()),
            Ok(Cli { command: Command::Serve(args) }) => format!("{:?}", args.given()),
            Ok(Cli { command: Command::Import(args) }) => format!("{:?}", args.place.given()),
            Ok(other) => format!("{other:?}"),
            Err(error) => error.to_string().lines().next().unwrap_or_default().to_string(),
        });
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn only_flags_that_were_given_set_anything() {
        check("dev", expect!["[]"]);
        check(
            "dev --listen localhost:9 --allow-origin http://a --allow-origin http://b --expose",
            expect![[
                r#"[("listen", "--listen", Text("127.0.0.1:9")), ("allow_origin", "--allow-origin", List(["http://a", "http://b"])), ("expose", "--expose", Text("key"))]"#
            ]],
        );
        check(
            "dev --history 2h --history-bytes-max 3MiB --existing",
            expect![[
                r#"[("limits.history_seconds", "--history", Count(7200)), ("limits.history_bytes_max", "--history-bytes-max", Count(3145728)), ("existing", "--existing", Flag(true))]"#
            ]],
        );
        check("dev --expose=unsafe", expect![[r#"[("expose", "--expose", Text("unsafe"))]"#]]);
        check(
            "dev --import a --export-on-exit --ephemeral",
            expect![[
                r#"[("ephemeral", "--ephemeral", Flag(true)), ("import", "--import", Text("a")), ("export_on_exit", "--export-on-exit", Text(""))]"#
            ]],
        );
        check(
            "dev --export-on-exit b --import=a",
            expect![[r#"[("import", "--import", Text("a")), ("export_on_exit", "--export-on-exit", Text("b"))]"#]],
        );
        check(
            "serve --behind-proxy 10.0.0.0/8 --tls-cert c --tls-key k",
            expect![[
                r#"[("tls.cert", "--tls-cert", Text("c")), ("tls.key", "--tls-key", Text("k")), ("behind_proxy", "--behind-proxy", List(["10.0.0.0/8"]))]"#
            ]],
        );
        check("import --data d --collection c -", expect![[r#"[("data", "--data", Text("d"))]"#]]);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        check(
            "dev --listen here",
            expect![
                "error: invalid value 'here' for '--listen <ADDRESS:PORT>': an address and a port are expected, such as 127.0.0.1:8080"
            ],
        );
        check("dev --expose=all", expect!["error: invalid value 'all' for '--expose[=<HOW>]'"]);
        check(
            "dev --ephemeral --data d",
            expect!["error: the argument '--ephemeral' cannot be used with '--data <DIR>'"],
        );
        check("serve --tls-cert c", expect!["error: the following required arguments were not provided:"]);
        check("serve --expose", expect!["error: unexpected argument '--expose' found"]);
        check(
            "import --data d --server http://x f",
            expect!["error: the argument '--data <DIR>' cannot be used with '--server <URL>'"],
        );
        check("import --id x f", expect!["error: the following required arguments were not provided:"]);
        check("token", expect!["error: the following required arguments were not provided:"]);
        check(
            "token --uid a --ttl soon",
            expect!["error: invalid value 'soon' for '--ttl <TIME>': a time such as 90s, 15m, 12h or 30d is expected"],
        );
    }

    #[test]
    fn times_and_sizes_have_units() {
        assert_eq!(seconds("90"), Ok(90));
        assert_eq!(seconds("15m"), Ok(900));
        assert_eq!(seconds("2d"), Ok(172_800));
        assert_eq!((bytes("7"), bytes("7KiB"), bytes("4GiB")), (Ok(7), Ok(7_168), Ok(4 << 30)));
        assert!(bytes("4GB").is_err() && bytes("99999999TiB").is_err() && bytes("GiB").is_err());
        assert!(seconds("99999999999999999999d").is_err() && seconds("1w").is_err() && seconds("h").is_err());
    }
}
