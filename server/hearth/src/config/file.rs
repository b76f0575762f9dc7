//! `hearth.toml`: from text to settings by name, each with its line. What it does not know, it refuses.

use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::known::{KNOWN, Kind, nearest};
use super::{ConfigError, Held, Origin, Value};

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct File {
    pub(super) settings: Vec<(&'static str, Held)>,
    pub(super) issuers: Vec<IssuerSetting>,
}

/// One `[[issuers]]` of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IssuerSetting {
    pub(crate) issuer: String,
    /// At least one.
    pub(crate) audiences: Vec<String>,
    pub(crate) algorithm: String,
    pub(crate) key: KeyPlace,
    pub(crate) uid_claim: Option<String>,
    pub(crate) leeway_seconds: Option<u64>,
    /// Where it stands.
    pub(crate) origin: Origin,
}

/// Where an issuer's keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeyPlace {
    SecretFile(PathBuf),
    PemFile(PathBuf),
    JwksFile(PathBuf),
    JwksUrl(String),
}

impl KeyPlace {
    /// The file, where it is one.
    pub(crate) fn file(&self) -> Option<&Path> {
        match self {
            Self::SecretFile(path) | Self::PemFile(path) | Self::JwksFile(path) => Some(path),
            Self::JwksUrl(_) => None,
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::SecretFile(_) => "secret_file",
            Self::PemFile(_) => "pem_file",
            Self::JwksFile(_) => "jwks_file",
            Self::JwksUrl(_) => "jwks_url",
        }
    }
}

impl std::fmt::Display for KeyPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::SecretFile(path) | Self::PemFile(path) | Self::JwksFile(path) => path.display().fmt(f),
            Self::JwksUrl(url) => f.write_str(url),
        }
    }
}

const ISSUER_KEYS: [&str; 6] = ["issuer", "audience", "algorithm", "key", "uid_claim", "leeway_seconds"];
const KEY_PLACES: [&str; 4] = ["secret_file", "pem_file", "jwks_file", "jwks_url"];

/// Reads the text of a file that stands at `path`.
pub(super) fn read(text: &str, path: &Path) -> Result<File, ConfigError> {
    let reader = Reader { text, path, folder: path.parent().unwrap_or(Path::new("")) };
    let table = DeTable::parse(text).map_err(|error| ConfigError {
        origin: reader.origin(error.span().map_or(0, |span| span.start)),
        detail: format!("this is not TOML: {}", error.message()),
    })?;
    let mut file = File::default();
    reader.table("", table.get_ref(), &mut file)?;
    Ok(file)
}

struct Reader<'a> {
    text: &'a str,
    path: &'a Path,
    folder: &'a Path,
}

impl Reader<'_> {
    fn origin(&self, byte: usize) -> Origin {
        let before = &self.text.as_bytes()[..byte.min(self.text.len())];
        Origin::File { path: self.path.into(), line: before.iter().filter(|byte| **byte == b'\n').count() + 1 }
    }

    fn error(&self, byte: usize, detail: impl Into<String>) -> ConfigError {
        ConfigError { origin: self.origin(byte), detail: detail.into() }
    }

    fn unknown<'n>(&self, byte: usize, name: &str, names: impl IntoIterator<Item = &'n str>) -> ConfigError {
        self.error(byte, unknown(name, names))
    }

    fn table(&self, prefix: &str, table: &DeTable<'_>, file: &mut File) -> Result<(), ConfigError> {
        for (name, value) in table {
            let key = format!("{prefix}{}", name.get_ref());
            let at = name.span().start;
            let inside = format!("{key}.");
            if key == "issuers" {
                let items = value.get_ref().as_array();
                let items = items.ok_or_else(|| self.error(at, "issuers are written as [[issuers]]"))?;
                for item in items {
                    let table = item.get_ref().as_table();
                    let table = table.ok_or_else(|| self.error(at, "issuers are written as [[issuers]]"))?;
                    file.issuers.push(self.issuer(item.span().start, table)?);
                }
            } else if KNOWN.iter().any(|known| known.key.starts_with(&inside)) {
                let table = value.get_ref().as_table();
                let table = table.ok_or_else(|| self.error(at, format!("{key} is a table: [{key}]")))?;
                self.table(&inside, table, file)?;
            } else {
                let known = KNOWN.iter().find(|known| known.key == key);
                let names = || KNOWN.iter().map(|known| known.key).chain(["issuers"]);
                let known = known.ok_or_else(|| self.unknown(at, &key, names()))?;
                let value = self.value(known.kind, value.get_ref());
                let value = value.map_err(|detail| self.error(at, format!("{key}: {detail}")))?;
                file.settings.push((known.key, Held { value, origin: self.origin(at) }));
            }
        }
        Ok(())
    }

    fn value(&self, kind: Kind, value: &DeValue<'_>) -> Result<Value, String> {
        let text = || value.as_str().ok_or_else(|| format!("text is expected, this is {}", kind_of(value)));
        match kind {
            Kind::Text => Ok(Value::Text(text()?.into())),
            Kind::Path => Ok(Value::Text(self.folder.join(text()?).display().to_string())),
            Kind::Choice(words) => super::choice(words, text()?),
            Kind::Flag => value.as_bool().map(Value::Flag).ok_or_else(|| "true or false is expected".into()),
            Kind::Count => self.count(value).map(Value::Count),
            Kind::List => Ok(Value::List(self.texts(value)?)),
            Kind::Secret => Err("a secret does not belong into this file; name its own file as admin_key_file".into()),
        }
    }

    fn count(&self, value: &DeValue<'_>) -> Result<u64, String> {
        let number = value.as_integer().filter(|number| number.radix() == 10);
        number.and_then(|number| number.as_str().parse().ok()).ok_or_else(|| "a whole number is expected".into())
    }

    /// One text, or an array of them.
    fn texts(&self, value: &DeValue<'_>) -> Result<Vec<String>, String> {
        let expected = || format!("an array of texts is expected, this is {}", kind_of(value));
        match value {
            DeValue::String(text) => Ok(vec![text.to_string()]),
            DeValue::Array(items) => {
                items.iter().map(|item| item.get_ref().as_str().map(Into::into).ok_or_else(expected)).collect()
            }
            _ => Err(expected()),
        }
    }

    fn issuer(&self, at: usize, table: &DeTable<'_>) -> Result<IssuerSetting, ConfigError> {
        if let Some((name, _)) = table.iter().find(|(name, _)| !ISSUER_KEYS.contains(&name.get_ref().as_ref())) {
            return Err(self.unknown(name.span().start, name.get_ref(), ISSUER_KEYS));
        }
        let get = |name: &str| table.iter().find(|(key, _)| key.get_ref().as_ref() == name).map(|(_, value)| value);
        let need = |name: &str| get(name).ok_or_else(|| self.error(at, format!("an issuer needs {name}")));
        let text = |name: &str| {
            let value = need(name)?;
            let text = value.get_ref().as_str();
            text.map(String::from).ok_or_else(|| self.error(value.span().start, format!("{name}: text is expected")))
        };
        let audience = need("audience")?;
        let audiences = self.texts(audience.get_ref());
        let audiences = audiences.map_err(|detail| self.error(audience.span().start, format!("audience: {detail}")))?;
        let leeway_seconds = match get("leeway_seconds") {
            None => None,
            Some(value) => Some(
                self.count(value.get_ref())
                    .map_err(|detail| self.error(value.span().start, format!("leeway_seconds: {detail}")))?,
            ),
        };
        Ok(IssuerSetting {
            issuer: text("issuer")?,
            audiences,
            algorithm: text("algorithm")?,
            key: self.key(need("key")?)?,
            uid_claim: get("uid_claim").map(|_| text("uid_claim")).transpose()?,
            leeway_seconds,
            origin: self.origin(at),
        })
    }

    fn key(&self, value: &toml::Spanned<DeValue<'_>>) -> Result<KeyPlace, ConfigError> {
        let at = value.span().start;
        let one = || self.error(at, format!("key: a table with one of {} is expected", KEY_PLACES.join(", ")));
        let table = value.get_ref().as_table().filter(|table| table.len() == 1).ok_or_else(one)?;
        let (name, place) = table.iter().next().ok_or_else(one)?;
        let text = place.get_ref().as_str().ok_or_else(one)?;
        let path = || self.folder.join(text);
        match name.get_ref().as_ref() {
            "secret_file" => Ok(KeyPlace::SecretFile(path())),
            "pem_file" => Ok(KeyPlace::PemFile(path())),
            "jwks_file" => Ok(KeyPlace::JwksFile(path())),
            "jwks_url" => Ok(KeyPlace::JwksUrl(text.into())),
            other => Err(self.unknown(name.span().start, other, KEY_PLACES)),
        }
    }
}

/// Says that a name is not known, and which one may have been meant.
pub(super) fn unknown<'n>(name: &str, names: impl IntoIterator<Item = &'n str>) -> String {
    match nearest(name, names) {
        Some(near) => format!("there is no setting {name}; did you mean {near}?"),
        None => format!("there is no setting {name}; `hearth config` lists all there are"),
    }
}

fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a time",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}
