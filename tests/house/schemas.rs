//! The published schemas: each file parses, every reference leads somewhere, every example is what it exemplifies.

use std::collections::BTreeMap;
use std::fs;

use hearth_tests::{repository, schema_faults};
use serde_json::{Value, json};

/// The files under `schema/` by their path from there.
fn files() -> BTreeMap<String, Value> {
    let root = repository().join("schema");
    let mut files = BTreeMap::new();
    for folder in ["", "json/"] {
        for entry in fs::read_dir(root.join(folder)).expect("schema/ is there") {
            let path = entry.expect("a readable folder").path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()).filter(|name| name.ends_with(".json"))
            else {
                continue;
            };
            let text = fs::read_to_string(&path).expect("a readable file");
            let value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("schema/{folder}{name}: {error}"));
            files.insert(format!("{folder}{name}"), value);
        }
    }
    files
}

/// Calls `see` with each object in `value`.
fn walk(value: &Value, see: &mut impl FnMut(&serde_json::Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            see(object);
            // An example holds documents, in which `$ref` is a value.
            object.iter().filter(|(key, _)| !is_data(key)).for_each(|(_, inner)| walk(inner, see));
        }
        Value::Array(items) => items.iter().for_each(|inner| walk(inner, see)),
        _ => {}
    }
}

fn is_data(key: &str) -> bool {
    ["example", "examples", "const", "enum", "default"].contains(&key)
}

/// References of `file` that lead nowhere among `files`.
fn dangling(files: &BTreeMap<String, Value>, file: &str) -> Vec<String> {
    let mut found = Vec::new();
    walk(&files[file], &mut |object| {
        let Some(reference) = object.get("$ref").and_then(Value::as_str) else { return };
        let (target, pointer) = reference.split_once('#').unwrap_or((reference, ""));
        let folder = file.rfind('/').map_or("", |at| &file[..=at]);
        let target = if target.is_empty() { file.to_owned() } else { format!("{folder}{target}") };
        if files.get(&target).and_then(|value| value.pointer(pointer)).is_none() {
            found.push(format!("{file}: {reference}"));
        }
    });
    found
}

/// What is wrong with an OpenAPI description, as far as tools commonly stumble over it.
fn openapi_faults(api: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    let mut ids = Vec::new();
    let Some(paths) = api["paths"].as_object() else { return vec!["no paths".into()] };
    for (path, item) in paths {
        let Some(item) = item.as_object() else { continue };
        for (method, operation) in item.iter().filter(|(method, _)| is_method(method)) {
            let place = format!("{method} {path}");
            match operation["operationId"].as_str() {
                None => faults.push(format!("{place}: no operationId")),
                Some(id) if ids.contains(&id) => faults.push(format!("{place}: operationId {id} is used twice")),
                Some(id) => ids.push(id),
            }
            if operation["responses"].as_object().is_none_or(|responses| responses.is_empty()) {
                faults.push(format!("{place}: no responses"));
            }
            let mut given: Vec<&str> = Vec::new();
            for parameter in [item.get("parameters"), operation.get("parameters")].into_iter().flatten() {
                for parameter in parameter.as_array().into_iter().flatten() {
                    let parameter = match parameter["$ref"].as_str() {
                        Some(reference) => api.pointer(&reference[1..]).unwrap_or(&Value::Null),
                        None => parameter,
                    };
                    if parameter["in"] == "path" {
                        given.extend(parameter["name"].as_str());
                    }
                }
            }
            let wanted: Vec<&str> = path.split('{').skip(1).filter_map(|rest| rest.split('}').next()).collect();
            for name in wanted.iter().filter(|name| !given.contains(name)) {
                faults.push(format!("{place}: path parameter {name} is not described"));
            }
            for name in given.iter().filter(|name| !wanted.contains(name)) {
                faults.push(format!("{place}: path parameter {name} is not in the path"));
            }
        }
    }
    faults
}

fn is_method(key: &str) -> bool {
    ["get", "put", "post", "delete", "options", "head", "patch", "trace"].contains(&key)
}

#[test]
fn every_reference_leads_somewhere() {
    let files = files();
    for wanted in ["openapi.json", "asyncapi.json", "json/document.schema.json"] {
        assert!(files.contains_key(wanted), "schema/{wanted} is gone: this test must follow");
    }
    let found: Vec<String> = files.keys().flat_map(|file| dangling(&files, file)).collect();
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn every_json_schema_is_named_for_its_file_and_compiles() {
    for (file, schema) in files() {
        let Some(name) = file.strip_prefix("json/") else { continue };
        assert_eq!(schema["$id"], *name, "{file}");
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema", "{file}");
        schema_faults(name.strip_suffix(".schema.json").expect("checked by schema_faults' reader"), &Value::Null);
    }
}

#[test]
fn every_example_is_what_it_exemplifies() {
    let mut seen = 0;
    for (file, schema) in files() {
        let Some(name) = file.strip_prefix("json/").and_then(|name| name.strip_suffix(".schema.json")) else {
            continue;
        };
        let mut places = vec![(String::new(), &schema)];
        for (key, inner) in schema["$defs"].as_object().into_iter().flatten() {
            places.push((format!("#/$defs/{key}"), inner));
        }
        for (pointer, place) in places {
            for example in place["examples"].as_array().into_iter().flatten() {
                seen += 1;
                let faults = schema_faults(&format!("{name}{pointer}"), example);
                assert_eq!(faults, Vec::<String>::new(), "{name}{pointer}: {example}");
            }
        }
    }
    assert!(seen >= 20, "only {seen} examples");
}

#[test]
fn the_openapi_description_is_whole() {
    assert_eq!(openapi_faults(&files()["openapi.json"]), Vec::<String>::new());
}

#[test]
fn what_is_no_value_query_or_event_is_refused() {
    for (name, bad) in [
        ("value", json!({"$unknown": 1})),
        ("value", json!({"$timestamp": "yesterday"})),
        ("value", json!({"$geo": [91, 0]})),
        ("value", json!([[1]])),
        ("value", json!({"a": {"$int": 3}})),
        ("query", json!({"where": ["a", "like", 1]})),
        ("query", json!({"where": [["a", "==", 1]]})),
        ("query", json!({"where": {"and": []}})),
        ("query", json!({"where": ["a", "in", 1]})),
        ("query", json!({"orderBy": ["a"]})),
        ("query", json!({"limit": 0})),
        ("query", json!({"limit": 1, "limitToLast": 1, "orderBy": [["a", "asc"]]})),
        ("query", json!({"limitToLast": 1})),
        ("query", json!({"order": []})),
        ("document", json!({"path": "a", "data": {}, "created": "1", "updated": "1"})),
        ("document", json!({"path": "a/b", "data": {}, "created": 1, "updated": "1"})),
        ("commit", json!({"writes": [{"set": "a/b"}]})),
        ("commit", json!({"writes": [{"set": "a/b", "data": {}, "delete": "a/b"}]})),
        ("event", json!({"version": "1", "token": "t", "reset": false, "size": 0, "changes": [{"type": "moved"}]})),
    ] {
        assert!(!schema_faults(name, &bad).is_empty(), "{name} takes {bad}");
    }
}

#[cfg(test)]
mod made_up {
    use super::*;

    #[test]
    fn a_dangling_reference_is_found() {
        let files = BTreeMap::from([
            ("a.json".into(), json!({"x": {"$ref": "#/y"}, "y": [{"$ref": "json/b.json#/z"}, {"$ref": "c.json"}]})),
            ("json/b.json".into(), json!({"z": {"$ref": "../a.json"}, "examples": [{"$ref": "users/ada"}]})),
        ]);
        assert_eq!(dangling(&files, "a.json"), ["a.json: c.json"]);
        assert_eq!(dangling(&files, "json/b.json"), ["json/b.json: ../a.json"]);
    }

    #[test]
    fn gaps_in_an_openapi_description_are_found() {
        let api = json!({"paths": {
            "/a/{id}": {"get": {"operationId": "x", "responses": {"200": {}}}, "put": {"operationId": "x", "responses": {}}},
            "/b": {"get": {"responses": {"200": {}}, "parameters": [{"in": "path", "name": "id"}]}},
        }});
        assert_eq!(openapi_faults(&api).len(), 6, "{:#?}", openapi_faults(&api));
    }
}
