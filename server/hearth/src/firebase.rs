//! `firebase.json`: what a Firebase project's folder says, as far as it is this server's business.
//!
//! Rules are read and kept, indexes read and accepted, and the port of Firestore's emulator is listened on too. What else
//! stands there is named, so that nobody waits for it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use serde_json::{Map, Value};

/// The file, in the folder where `hearth dev` is started.
pub(crate) const FILE: &str = "firebase.json";
/// Where Firestore's emulator listens when nothing else is said. Source: Firebase documentation, "Emulator Suite".
const PORT_DEFAULT: u16 = 8080;
/// Longest file that is read.
const BYTES_MAX: u64 = 1 << 20;

/// What is taken from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Firebase {
    /// The source of the rules, and its file.
    pub(crate) rules: Option<(String, String)>,
    /// How many composite indexes there are, and their file.
    pub(crate) indexes: Option<(usize, String)>,
    /// Where Firestore is to be found.
    pub(crate) listen: Option<SocketAddr>,
    /// Emulators and services that are not served.
    pub(crate) others: Vec<String>,
}

impl Firebase {
    /// Reads the file of a folder; none where there is none. What is wrong is said with its place.
    pub(crate) fn read(folder: &Path) -> Result<Option<Self>, String> {
        let path = folder.join(FILE);
        if !path.exists() {
            return Ok(None);
        }
        let whole = object(FILE, &text(&path, FILE)?)?;
        let mut found = Self::default();
        match whole.get("firestore") {
            None => {}
            Some(Value::Object(firestore)) => found.take_files(folder, firestore)?,
            // One entry for each database; without a name it is that of the first.
            Some(Value::Array(all)) => {
                let is_default = |entry: &&Value| entry.get("database").is_none_or(|name| name == "(default)");
                if let Some(Value::Object(firestore)) = all.iter().find(is_default) {
                    found.take_files(folder, firestore)?;
                }
            }
            Some(_) => return Err(format!("{FILE}: firestore: an object or a list of objects is expected")),
        }
        if let Some(emulators) = whole.get("emulators") {
            let emulators = emulators.as_object();
            found.take_emulators(emulators.ok_or_else(|| format!("{FILE}: emulators: an object is expected"))?)?;
        }
        Ok(Some(found))
    }

    fn take_files(&mut self, folder: &Path, firestore: &Map<String, Value>) -> Result<(), String> {
        let named = |key: &str| match firestore.get(key) {
            None => Ok(None),
            Some(Value::String(name)) => Ok(Some(name.clone())),
            Some(_) => Err(format!("{FILE}: firestore.{key}: the name of a file is expected")),
        };
        if let Some(name) = named("rules")? {
            self.rules = Some((text(&folder.join(&name), &name)?, name));
        }
        if let Some(name) = named("indexes")? {
            let indexes = object(&name, &text(&folder.join(&name), &name)?)?;
            let count = match indexes.get("indexes") {
                None => 0,
                Some(Value::Array(all)) => all.len(),
                Some(_) => return Err(format!("{name}: indexes: a list is expected")),
            };
            self.indexes = Some((count, name));
        }
        Ok(())
    }

    fn take_emulators(&mut self, emulators: &Map<String, Value>) -> Result<(), String> {
        for (name, set) in emulators {
            match (name.as_str(), set) {
                ("firestore", Value::Object(set)) => self.listen = Some(address(set)?),
                ("firestore", _) => return Err(format!("{FILE}: emulators.firestore: an object is expected")),
                // Not a server: how the suite itself behaves.
                ("singleProjectMode" | "ui" | "hub" | "logging", _) => {}
                (name, _) => self.others.push(name.to_owned()),
            }
        }
        Ok(())
    }
}

fn address(set: &Map<String, Value>) -> Result<SocketAddr, String> {
    let wrong = |key: &str, expected: &str| format!("{FILE}: emulators.firestore.{key}: {expected} is expected");
    let port = match set.get("port") {
        None => PORT_DEFAULT,
        Some(port) => {
            let port = port.as_u64().and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
            port.ok_or_else(|| wrong("port", "a number from 1 to 65535"))?
        }
    };
    let ip = match set.get("host").map(|host| host.as_str()) {
        None | Some(Some("localhost")) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        Some(host) => {
            let ip = host.and_then(|host| host.trim_matches(['[', ']']).parse().ok());
            ip.ok_or_else(|| wrong("host", "localhost or an address such as 127.0.0.1"))?
        }
    };
    Ok(SocketAddr::new(ip, port))
}

fn text(path: &Path, name: &str) -> Result<String, String> {
    let length = std::fs::metadata(path).map_err(|error| format!("{name}: {error}"))?.len();
    if length > BYTES_MAX {
        return Err(format!("{name}: {length} bytes are over the limit of {BYTES_MAX}"));
    }
    std::fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))
}

fn object(name: &str, text: &str) -> Result<Map<String, Value>, String> {
    let read = serde_json::from_str(text);
    read.map_err(|error| {
        let (line, column, said) = (error.line(), error.column(), error.to_string());
        // serde_json says the place at the end; it belongs before.
        let said = said.rsplit_once(" at line ").map_or(said.as_str(), |(said, _)| said);
        format!("{name}:{line}:{column}: {said}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(files: &[(&str, &str)]) -> Result<Option<Firebase>, String> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        Firebase::read(folder.path())
    }

    #[test]
    fn what_a_project_says_of_firestore_is_read_and_the_rest_is_named() {
        let file = r#"{"firestore": {"rules": "a.rules", "indexes": "i.json"}, "hosting": {"public": "dist"},
            "emulators": {"firestore": {"port": 8085}, "auth": {"port": 9099}, "ui": {"enabled": true}, "functions": {}}}"#;
        let rules = "service cloud.firestore {}";
        let found = read(&[(FILE, file), ("a.rules", rules), ("i.json", r#"{"indexes": [{}, {}]}"#)]).unwrap().unwrap();
        assert_eq!(found.rules, Some((rules.into(), "a.rules".into())));
        assert_eq!(found.indexes, Some((2, "i.json".into())));
        assert_eq!(found.listen, Some("127.0.0.1:8085".parse().unwrap()));
        assert_eq!(found.others, ["auth", "functions"]);
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[(FILE, "{}")]), Ok(Some(Firebase::default())));
        let port = |emulator: &str| {
            let file = format!(r#"{{"emulators": {{"firestore": {emulator}}}}}"#);
            read(&[(FILE, &file)]).unwrap().unwrap().listen.unwrap().to_string()
        };
        assert_eq!(port("{}"), "127.0.0.1:8080");
        assert_eq!(port(r#"{"host": "0.0.0.0", "port": 9}"#), "0.0.0.0:9");
        let many =
            r#"{"firestore": [{"database": "other", "rules": "none"}, {"database": "(default)", "rules": "a.rules"}]}"#;
        assert!(read(&[(FILE, many), ("a.rules", rules)]).unwrap().unwrap().rules.is_some());
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let check = |file: &str, want: &str| assert_eq!(read(&[(FILE, file)]).unwrap_err(), want);
        check("{\n  \"firestore\": {,}\n}", "firebase.json:2:17: key must be a string");
        check("[]", "firebase.json:1:0: invalid type: sequence, expected a map");
        check(r#"{"firestore": 1}"#, "firebase.json: firestore: an object or a list of objects is expected");
        check(r#"{"firestore": {"rules": 1}}"#, "firebase.json: firestore.rules: the name of a file is expected");
        check(r#"{"emulators": []}"#, "firebase.json: emulators: an object is expected");
        let port = "firebase.json: emulators.firestore.port: a number from 1 to 65535 is expected";
        check(r#"{"emulators": {"firestore": {"port": 70000}}}"#, port);
        let host = "firebase.json: emulators.firestore.host: localhost or an address such as 127.0.0.1 is expected";
        check(r#"{"emulators": {"firestore": {"host": "elsewhere"}}}"#, host);
        assert!(read(&[(FILE, r#"{"firestore": {"rules": "none"}}"#)]).unwrap_err().starts_with("none: "));
        let indexes = read(&[(FILE, r#"{"firestore": {"indexes": "i"}}"#), ("i", "{\"indexes\": [\n}")]);
        assert_eq!(indexes.unwrap_err(), "i:2:1: expected value");
    }
}
