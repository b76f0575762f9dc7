//! The size of documents as Firestore counts it.
//!
//! Source: Firestore documentation, "Understand storage size calculations".

use crate::path::{DocPath, Reference};
use crate::value::{Map, Value};

/// Bytes of a whole document: its name, its fields and 32 bytes more.
pub fn document_bytes(path: &DocPath, fields: &Map) -> usize {
    name_bytes(path) + map_bytes(fields) + 32
}

/// Bytes of a document's name: each segment and one byte more, and 16 for the whole.
pub fn name_bytes(path: &DocPath) -> usize {
    path.segments().map(|segment| segment.len() + 1).sum::<usize>() + 16
}

fn map_bytes(map: &Map) -> usize {
    map.iter().map(|(name, value)| name.len() + 1 + value_bytes(value)).sum()
}

/// Bytes of one value.
pub fn value_bytes(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 1,
        Value::Integer(_) | Value::Double(_) | Value::Timestamp(_) => 8,
        Value::Text(text) => text.len() + 1,
        Value::Bytes(bytes) => bytes.len(),
        Value::Reference(Reference { path, .. }) => name_bytes(path),
        Value::Geo(_) => 16,
        Value::Array(elements) => elements.iter().map(value_bytes).sum(),
        Value::Vector(vector) => vector.len() * 8,
        Value::Map(map) => map_bytes(map) + 32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the documentation: `users/jeff/tasks/my_task_id` with these four fields has 147 bytes.
    #[test]
    fn the_documentations_example_has_its_size() {
        let path = DocPath::parse("users/jeff/tasks/my_task_id").unwrap();
        let fields = Map::from([
            ("type".into(), Value::text("Personal")),
            ("done".into(), Value::Bool(false)),
            ("priority".into(), Value::Integer(1)),
            ("description".into(), Value::text("Learn Cloud Firestore")),
        ]);
        assert_eq!(name_bytes(&path), 44);
        assert_eq!(document_bytes(&path, &fields), 147);
    }
}
