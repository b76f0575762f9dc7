//! What of Firestore's SDKs works: the rows of `schema/compatibility.toml`.

use std::fs;

use serde::Deserialize;

use crate::repository;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compatibility {
    /// Its rows, in the order in which they are shown.
    pub row: Vec<Row>,
}

/// A feature of some clients.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// What it is, for people.
    pub feature: String,
    /// Whose, for people.
    pub clients: String,
    /// How it stands.
    pub outcome: Outcome,
    /// Why, or what else is to be known.
    #[serde(default)]
    pub note: String,
    /// Ids of its tests: `FILE › NAME`, the file below `tests/conform`.
    #[serde(default)]
    pub tests: Vec<String>,
    /// Public names of `firebase/firestore` and its `lite` that it speaks for.
    #[serde(default)]
    pub web: Vec<String>,
    /// Public names of `@google-cloud/firestore` that it speaks for.
    #[serde(default)]
    pub node: Vec<String>,
}

/// How a feature stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// As Firestore does it; a test says so.
    Conforms,
    /// Otherwise than Firestore does it, and it stays so.
    DiffersOnPurpose,
    /// Otherwise, and to be repaired.
    Bug,
    /// Not there.
    Unsupported,
    /// Nobody has tried.
    Unverified,
}

impl Compatibility {
    /// Reads the file of this repository.
    ///
    /// # Panics
    /// Where it is not there or says what it may not.
    pub fn read() -> Self {
        let path = repository().join("schema/compatibility.toml");
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }
}
