//! The published JSON Schemas, to hold real answers against.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use jsonschema::{Registry, Validator};
use serde_json::Value;

/// The root of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ stands in the repository").to_owned()
}

/// Fails with every fault where `value` is not of this schema: `document`, `result`, `event`, … as the files of
/// `schema/json/` are named.
#[track_caller]
pub fn check_schema(name: &str, value: &Value) {
    let faults = schema_faults(name, value);
    assert!(faults.is_empty(), "not a {name}: {faults:#?}\n{value:#}");
}

/// What is wrong with `value` as one of this schema; empty where nothing is. `name` may go on with a pointer into the
/// schema: `links#/$defs/clientMessage`.
///
/// # Panics
/// When there is no such schema.
pub fn schema_faults(name: &str, value: &Value) -> Vec<String> {
    // Building one takes far longer than asking it, and a listener's every event is held against one.
    static BUILT: Mutex<BTreeMap<String, Arc<Validator>>> = Mutex::new(BTreeMap::new());
    let built = || BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let known = built().get(name).cloned();
    let validator = known.unwrap_or_else(|| {
        let (file, pointer) = name.split_once('#').unwrap_or((name, ""));
        let validator = Arc::new(validator(file, pointer));
        built().insert(name.to_owned(), validator.clone());
        validator
    });
    validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

/// Where the schemas call themselves to be, so that they find each other by their file names. Never asked for.
const BASE: &str = "hearth:///schema/json/";

fn validator(file: &str, pointer: &str) -> Validator {
    static FILES: OnceLock<BTreeMap<String, Value>> = OnceLock::new();
    let files = FILES.get_or_init(read_all);
    assert!(files.contains_key(file), "there is no schema/json/{file}.schema.json");
    let pairs = files.iter().map(|(name, schema)| (format!("{BASE}{name}.schema.json"), schema));
    let registry = Registry::new().extend(pairs).expect("our schemas have good names");
    let registry = registry.prepare().expect("our schemas find each other");
    let root = serde_json::json!({ "$ref": format!("{BASE}{file}.schema.json#{pointer}") });
    jsonschema::options().with_registry(&registry).build(&root).expect("our schemas are schemas")
}

fn read_all() -> BTreeMap<String, Value> {
    let folder = repository().join("schema/json");
    let entries = fs::read_dir(&folder).expect("schema/json is there");
    entries
        .map(|entry| {
            let path = entry.expect("a readable folder").path();
            let file = path.file_name().and_then(|name| name.to_str()).expect("a plain name").to_owned();
            let name = file.strip_suffix(".schema.json").unwrap_or_else(|| panic!("{file} is not NAME.schema.json"));
            let text = fs::read_to_string(&path).expect("a readable file");
            let mut schema: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
            // A relative `$id` would be taken as the place of the schema, and the references with it.
            schema["$id"] = format!("{BASE}{file}").into();
            (name.to_owned(), schema)
        })
        .collect()
}
