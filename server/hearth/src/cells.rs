//! Cells of CSV: what type a column has, what a cell means, and what a value looks like in a cell.

use hearth_core::{FieldPath, Map, Value};
use hearth_native::json::{Context, write_value};
use serde_json::Value as Json;

use crate::args::Cells;
use crate::records::ID_COLUMN;

/// The columns of a file, with what they hold.
#[derive(Debug)]
pub(crate) struct Columns {
    cells: Cells,
    types: Vec<Type>,
}

/// What all cells of a column are, so far. Each type takes what stands above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Type {
    /// Nothing was seen.
    Empty,
    Boolean,
    Integer,
    Double,
    /// Arrays and objects of JSON.
    Structure,
    Text,
}

impl Columns {
    /// How many rows are looked at where a file passes only once.
    pub(crate) const ROWS_MAX: usize = 10_000;

    /// Checks the names, which become fields.
    pub(crate) fn new(names: &csv::StringRecord, cells: Cells) -> Result<Self, String> {
        for (index, name) in names.iter().enumerate() {
            if names.iter().take(index).any(|earlier| earlier == name) {
                return Err(format!("two columns are called {name:?}"));
            }
            if name == ID_COLUMN {
                continue;
            }
            let path = FieldPath::from_names([name]).map_err(|error| format!("column {}: {error}", index + 1))?;
            if path.is_name() {
                return Err(format!("column {}: {name:?} is the document's own path", index + 1));
            }
        }
        Ok(Self { cells, types: vec![Type::Empty; names.len()] })
    }

    /// Whether rows must be looked at before values can be told.
    pub(crate) fn must_look(&self) -> bool {
        self.cells == Cells::Guess
    }

    /// Takes a row into account.
    pub(crate) fn look(&mut self, row: &csv::StringRecord) {
        for (held, cell) in self.types.iter_mut().zip(row) {
            *held = match (*held, type_of(cell)) {
                (held, Type::Empty) => held,
                (Type::Empty, found) => found,
                (held, found) if held == found => held,
                (Type::Integer | Type::Double, Type::Integer | Type::Double) => Type::Double,
                _ => Type::Text,
            };
        }
    }

    /// What a cell means; none where it is empty.
    pub(crate) fn value(&self, index: usize, cell: &str) -> Result<Option<Json>, String> {
        if cell.is_empty() {
            return Ok(None);
        }
        let json = || serde_json::from_str::<Json>(cell).map_err(|_| format!("{cell:?} is not JSON"));
        let is = |fits: bool, what| match fits {
            true => Ok(()),
            false => {
                let rows = Self::ROWS_MAX;
                Err(format!(
                    "{cell:?} is not {what}, as the first {rows} cells of this column are; --cells text takes all"
                ))
            }
        };
        let found = type_of(cell);
        match (self.cells, self.types[index]) {
            (Cells::Json, _) => json().map(Some),
            (Cells::Text, _) | (Cells::Guess, Type::Empty | Type::Text) => Ok(Some(Json::String(cell.into()))),
            (Cells::Guess, Type::Boolean) => {
                is(found == Type::Boolean, "a boolean").map(|()| Some((cell == "true").into()))
            }
            (Cells::Guess, Type::Integer) => is(found == Type::Integer, "an integer").and_then(|()| json().map(Some)),
            (Cells::Guess, Type::Double) => {
                is(matches!(found, Type::Integer | Type::Double), "a number")?;
                let number = cell.parse::<f64>().ok().and_then(serde_json::Number::from_f64);
                Ok(number.map(Json::Number))
            }
            (Cells::Guess, Type::Structure) => is(found == Type::Structure, "JSON").and_then(|()| json().map(Some)),
        }
    }
}

/// What a cell is by itself. Numbers are those of JSON: `01234` and `+1` are text.
fn type_of(cell: &str) -> Type {
    match cell.as_bytes() {
        [] => Type::Empty,
        b"true" | b"false" => Type::Boolean,
        [b'-' | b'0'..=b'9', ..] => match serde_json::from_str::<serde_json::Number>(cell) {
            Ok(number) if number.is_i64() => Type::Integer,
            // Digits that 64 bits do not hold are somebody's number, and would lose their last places as a double.
            Ok(_) if cell.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit()) => Type::Text,
            Ok(_) => Type::Double,
            Err(_) => Type::Text,
        },
        [b'{' | b'[', ..] if serde_json::from_str::<serde::de::IgnoredAny>(cell).is_ok() => Type::Structure,
        _ => Type::Text,
    }
}

/// What a field looks like in a cell.
pub(crate) fn cell(fields: &Map, name: &str, cells: Cells, context: &Context<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    match (fields.get(name), cells) {
        (None, _) => {}
        (Some(Value::Text(text)), Cells::Guess | Cells::Text) => out.extend_from_slice(text.as_bytes()),
        (Some(value), _) => write_value(&mut out, value, context),
    }
    out
}
