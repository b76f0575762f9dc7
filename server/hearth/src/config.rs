//! The configuration: `hearth.toml`, `HEARTH_*` and flags in rising precedence, and where each value came from.
//!
//! A thin layer of our own over `toml`. `figment` was weighed: it merges layers and knows their names, but it lets unknown
//! keys pass, cannot name a line, and stands on another version of `toml` than the rest of the tree; what it would save is
//! shorter than what it would need around it. Nothing here reads the environment or a file unasked.

mod file;
pub(crate) mod known;
pub(crate) mod settings;
mod show;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

pub(crate) use self::file::{IssuerSetting, KeyPlace};
use self::known::{KNOWN, Kind};
pub(crate) use self::settings::Settings;

/// The file that is read when none is named.
pub(crate) const FILE: &str = "hearth.toml";

/// What a setting is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    Flag(bool),
    Count(u64),
    List(Vec<String>),
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Default,
    File { path: PathBuf, line: usize },
    Variable(String),
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// A value and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) value: Value,
    pub(crate) origin: Origin,
}

/// What is wrong with the configuration, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: {detail}")]
pub(crate) struct ConfigError {
    pub(crate) origin: Origin,
    pub(crate) detail: String,
}

/// A flag that was given: which setting it means, how it is called, and what it says.
pub(crate) type Given = (&'static str, &'static str, Value);

/// All layers, one on top of the other.
#[derive(Debug)]
pub(crate) struct Config {
    held: BTreeMap<&'static str, Held>,
    issuers: Vec<IssuerSetting>,
    file: Option<PathBuf>,
}

impl Config {
    /// Lays the layers on top of each other: the text of a file with its path, the environment, the flags.
    pub(crate) fn build(
        file: Option<(&Path, &str)>,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: Vec<Given>,
    ) -> Result<Self, ConfigError> {
        let mut held = BTreeMap::new();
        for known in KNOWN.iter() {
            if let Some(default) = &known.default {
                let value = of_text(known.kind, default).expect("defaults are of their kind");
                held.insert(known.key, Held { value, origin: Origin::Default });
            }
        }
        let mut issuers = Vec::new();
        if let Some((path, text)) = file {
            let read = file::read(text, path)?;
            held.extend(read.settings);
            issuers = read.issuers;
        }
        for (name, text) in environment {
            let Some(key) = variable(&name)? else { continue };
            let known = KNOWN.iter().find(|known| known.key == key).expect("the name was just looked up");
            let origin = Origin::Variable(name);
            let value = of_text(known.kind, &text);
            let value = value.map_err(|detail| ConfigError { origin: origin.clone(), detail })?;
            held.insert(key, Held { value, origin });
        }
        for (key, flag, value) in flags {
            held.insert(key, Held { value, origin: Origin::Flag(flag) });
        }
        Ok(Self { held, issuers, file: file.map(|(path, _)| path.into()) })
    }

    /// The setting of this name, which stands in the table of known ones.
    fn get(&self, key: &str) -> Option<&Held> {
        debug_assert!(KNOWN.iter().any(|known| known.key == key), "{key} is not a setting");
        self.held.get(key)
    }

    fn error(&self, key: &str, detail: impl fmt::Display) -> ConfigError {
        let origin = self.get(key).map_or(Origin::Default, |held| held.origin.clone());
        ConfigError { origin, detail: format!("{key}: {detail}") }
    }
}

/// Variables that belong to other commands or other people.
fn is_foreign(name: &str) -> bool {
    // These name the file itself, the credential of import and export, and the server of `hearth exec`.
    ["HEARTH_CONFIG", "HEARTH_TOKEN", "HEARTH_URL"].contains(&name)
        // Kubernetes and Docker tell every container of a service that happens to be called hearth.
        || name.starts_with("HEARTH_SERVICE_")
        || name == "HEARTH_PORT"
        || name.starts_with("HEARTH_PORT_")
}

/// Which setting a variable of the environment means; none if it is none of ours.
fn variable(name: &str) -> Result<Option<&'static str>, ConfigError> {
    if !name.starts_with("HEARTH_") || is_foreign(name) {
        return Ok(None);
    }
    if let Some(known) = KNOWN.iter().find(|known| known.variable() == name) {
        return Ok(Some(known.key));
    }
    let names: Vec<String> = KNOWN.iter().map(known::Known::variable).collect();
    let detail = match known::nearest(name, names.iter().map(String::as_str)) {
        Some(near) => format!("this variable sets nothing; did you mean {near}?"),
        None => "this variable sets nothing; `hearth config` lists all settings".into(),
    };
    Err(ConfigError { origin: Origin::Variable(name.into()), detail })
}

/// Reads a value from the text of a variable. Lists are separated by commas.
fn of_text(kind: Kind, text: &str) -> Result<Value, String> {
    match kind {
        Kind::Text | Kind::Path | Kind::Secret => Ok(Value::Text(text.into())),
        Kind::Choice(words) => choice(words, text),
        Kind::Flag => match text {
            "true" | "1" => Ok(Value::Flag(true)),
            "false" | "0" | "" => Ok(Value::Flag(false)),
            _ => Err(format!("true or false is expected, not {text:?}")),
        },
        Kind::Count => text.parse().map(Value::Count).map_err(|_| format!("a whole number is expected, not {text:?}")),
        Kind::List => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Ok(Value::List(items.map(String::from).collect()))
        }
    }
}

fn choice(words: &[&str], text: &str) -> Result<Value, String> {
    match words.contains(&text) {
        true => Ok(Value::Text(text.into())),
        false => Err(format!("{text:?} is none of {}", words.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn build(file: &str, environment: &[(&str, &str)], flags: Vec<Given>) -> Result<Config, ConfigError> {
        let environment = environment.iter().map(|(name, text)| (name.to_string(), text.to_string()));
        Config::build(Some((Path::new("hearth.toml"), file)), environment, flags)
    }

    fn check(key: &str, file: &str, environment: &[(&str, &str)], flags: Vec<Given>, want: Expect) {
        want.assert_eq(&match build(file, environment, flags) {
            Ok(config) => match config.get(key) {
                Some(held) => format!("{:?} from {}", held.value, held.origin),
                None => "absent".into(),
            },
            Err(error) => format!("refused: {error}"),
        });
    }

    #[test]
    fn flags_go_before_the_environment_and_that_before_the_file() {
        let flag = || vec![("listen", "--listen", Value::Text("127.0.0.1:4".into()))];
        let file = "\n\nlisten = \"127.0.0.1:2\"";
        let variable = [("HEARTH_LISTEN", "127.0.0.1:3")];
        check("listen", "", &[], vec![], expect![[r#"Text("127.0.0.1:8080") from default"#]]);
        check("listen", file, &[], vec![], expect![[r#"Text("127.0.0.1:2") from hearth.toml:3"#]]);
        check("listen", file, &variable, vec![], expect![[r#"Text("127.0.0.1:3") from HEARTH_LISTEN"#]]);
        check("listen", file, &variable, flag(), expect![[r#"Text("127.0.0.1:4") from --listen"#]]);
        check("project", "", &[], vec![], expect!["absent"]);
    }

    #[test]
    fn tables_of_the_file_are_dots_in_names_and_underscores_in_variables() {
        let file = "[access]\nsigned_in = \"read\"\n[limits]\nhistory_seconds = 60";
        check("access.signed_in", file, &[], vec![], expect![[r#"Text("read") from hearth.toml:2"#]]);
        check("limits.history_seconds", file, &[], vec![], expect!["Count(60) from hearth.toml:4"]);
        let variable = [("HEARTH_ACCESS_SIGNED_IN", "write")];
        check("access.signed_in", file, &variable, vec![], expect![[r#"Text("write") from HEARTH_ACCESS_SIGNED_IN"#]]);
        check(
            "allow_origin",
            "",
            &[("HEARTH_ALLOW_ORIGIN", "http://a, http://b")],
            vec![],
            expect![[r#"List(["http://a", "http://b"]) from HEARTH_ALLOW_ORIGIN"#]],
        );
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_nearest_known_one() {
        let refused = |file, environment: &[(&str, &str)], want| check("listen", file, environment, vec![], want);
        refused("lisen = 1", &[], expect!["refused: hearth.toml:1: there is no setting lisen; did you mean listen?"]);
        refused(
            "[limits]\nhistory = 1",
            &[],
            expect!["refused: hearth.toml:2: there is no setting limits.history; `hearth config` lists all there are"],
        );
        refused(
            "",
            &[("HEARTH_DATTA", "x")],
            expect!["refused: HEARTH_DATTA: this variable sets nothing; did you mean HEARTH_DATA?"],
        );
        let issuer = "[[issuers]]\nissuer = \"a\"\naudiance = \"b\"";
        refused(issuer, &[], expect!["refused: hearth.toml:3: there is no setting audiance; did you mean audience?"]);
    }

    #[test]
    fn variables_that_a_cluster_sets_for_a_service_called_hearth_are_not_ours() {
        let cluster = [("HEARTH_SERVICE_HOST", "10.0.0.1"), ("HEARTH_PORT", "tcp://10.0.0.1:80"), ("HOME", "/")];
        check("listen", "", &cluster, vec![], expect![[r#"Text("127.0.0.1:8080") from default"#]]);
    }

    #[test]
    fn a_value_of_another_kind_is_refused_where_it_stands() {
        let refused = |file, environment: &[(&str, &str)], want| check("listen", file, environment, vec![], want);
        refused("listen = 8080", &[], expect!["refused: hearth.toml:1: listen: text is expected, this is an integer"]);
        refused("ephemeral = 1", &[], expect!["refused: hearth.toml:1: ephemeral: true or false is expected"]);
        refused(
            "expose = \"all\"",
            &[],
            expect![[r#"refused: hearth.toml:1: expose: "all" is none of off, key, unsafe"#]],
        );
        refused(
            "",
            &[("HEARTH_LIMITS_LINKS_MAX", "many")],
            expect![[r#"refused: HEARTH_LIMITS_LINKS_MAX: a whole number is expected, not "many""#]],
        );
        refused("tls = 1", &[], expect!["refused: hearth.toml:1: tls is a table: [tls]"]);
        refused(
            "admin_key = \"x\"",
            &[],
            expect![
                "refused: hearth.toml:1: admin_key: a secret does not belong into this file; name its own file as admin_key_file"
            ],
        );
        refused(
            "listen = ",
            &[],
            expect!["refused: hearth.toml:1: this is not TOML: string values must be quoted, expected literal string"],
        );
    }

    #[test]
    fn paths_of_the_file_are_relative_to_it() {
        let config = Config::build(Some((Path::new("/etc/hearth/hearth.toml"), "data = \"d\"")), [], vec![]).unwrap();
        assert_eq!(config.get("data").unwrap().value, Value::Text("/etc/hearth/d".into()));
    }
}
