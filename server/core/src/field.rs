//! Field paths: the address of a value inside a document.

use std::fmt;

/// The way to a field: one or more names, outermost first, such as `author.name`.
///
/// In text the names are joined by dots; a name that is not `[a-zA-Z_][a-zA-Z0-9_]*` stands in back-ticks, inside
/// which a back-tick and a back-slash are escaped by a back-slash. Paths descend into maps, never into arrays.
/// Source: google.firestore.v1, comment on `StructuredQuery.FieldReference.field_path`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldPath(Box<[Box<str>]>);

/// Why a text is no field path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldPathError {
    #[error("a field path needs at least one name")]
    Empty,
    #[error("a field name is empty at column {column}")]
    EmptyName { column: usize },
    #[error("the field name {name:?} is reserved")]
    Reserved { name: Box<str> },
    #[error("a field name of {bytes} bytes is over the limit of {}", FieldPath::NAME_BYTES_MAX)]
    TooLong { bytes: usize },
    #[error("unexpected {found:?} at column {column}; put names that are not plain words in back-ticks")]
    Unexpected { found: char, column: usize },
    #[error("the back-tick at column {column} is never closed")]
    Unclosed { column: usize },
    #[error("a field path of {depth} names is over the limit of {}", FieldPath::DEPTH_MAX)]
    TooDeep { depth: usize },
}

impl FieldPath {
    /// Longest field name, in bytes. Source: Firestore documentation, "Usage and limits".
    pub const NAME_BYTES_MAX: usize = 1_500;
    /// Most names of a path; more could never match, since values nest no deeper.
    pub const DEPTH_MAX: usize = 100;
    /// The name that stands for a document's own path in filters, orders and projections.
    pub const NAME: &'static str = "__name__";

    /// The document's own path, `__name__`.
    pub fn name() -> Self {
        Self(Box::new([Self::NAME.into()]))
    }

    /// Whether this is `__name__`, the document's own path.
    pub fn is_name(&self) -> bool {
        self.0.len() == 1 && &*self.0[0] == Self::NAME
    }

    /// A path of the given names, outermost first. `__name__` alone is the document's own path.
    pub fn from_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, FieldPathError> {
        let names: Box<[Box<str>]> = names.into_iter().map(Box::from).collect();
        match &*names {
            [] => return Err(FieldPathError::Empty),
            [name] if &**name == Self::NAME => return Ok(Self(names)),
            names if names.len() > Self::DEPTH_MAX => return Err(FieldPathError::TooDeep { depth: names.len() }),
            _ => {}
        }
        for name in &names {
            check_name(name, 1)?;
        }
        Ok(Self(names))
    }

    /// Parses `a.b` and ``a.`b c` ``. Columns in errors count characters from 1.
    pub fn parse(text: &str) -> Result<Self, FieldPathError> {
        let mut names = Vec::new();
        let mut rest = text.chars().enumerate().map(|(index, c)| (index + 1, c)).peekable();
        loop {
            let column = rest.peek().map_or(text.chars().count() + 1, |(column, _)| *column);
            let mut name = String::new();
            if rest.next_if(|(_, c)| *c == '`').is_some() {
                loop {
                    match rest.next() {
                        None => return Err(FieldPathError::Unclosed { column }),
                        Some((_, '`')) => break,
                        Some((_, '\\')) => match rest.next() {
                            Some((_, c @ ('`' | '\\'))) => name.push(c),
                            Some((column, found)) => return Err(FieldPathError::Unexpected { found, column }),
                            None => return Err(FieldPathError::Unclosed { column }),
                        },
                        Some((_, c)) => name.push(c),
                    }
                }
            } else {
                let plain =
                    |c: char, first: bool| c == '_' || c.is_ascii_alphabetic() || (!first && c.is_ascii_digit());
                while let Some((_, c)) = rest.next_if(|(_, c)| plain(*c, name.is_empty())) {
                    name.push(c);
                }
            }
            match rest.next() {
                None => {
                    names.push((name, column));
                    break;
                }
                Some((_, '.')) => names.push((name, column)),
                Some((column, found)) => return Err(FieldPathError::Unexpected { found, column }),
            }
        }
        if let [(name, _)] = &names[..]
            && name == Self::NAME
        {
            return Ok(Self::name());
        }
        if names.len() > Self::DEPTH_MAX {
            return Err(FieldPathError::TooDeep { depth: names.len() });
        }
        for (name, column) in &names {
            check_name(name, *column)?;
        }
        Ok(Self(names.into_iter().map(|(name, _)| name.into()).collect()))
    }

    /// The names, outermost first; at least one.
    pub fn names(&self) -> &[Box<str>] {
        &self.0
    }

    /// Whether this path is `other` or leads to something that holds it.
    pub fn is_prefix_of(&self, other: &Self) -> bool {
        other.0.starts_with(&self.0)
    }
}

/// Checks one field name of a document: 1 to 1,500 bytes, not `__…__`. `column` is where it begins in a longer text.
pub fn check_name(name: &str, column: usize) -> Result<(), FieldPathError> {
    match name {
        "" => Err(FieldPathError::EmptyName { column }),
        _ if name.len() > FieldPath::NAME_BYTES_MAX => Err(FieldPathError::TooLong { bytes: name.len() }),
        _ if name.len() >= 4 && name.starts_with("__") && name.ends_with("__") => {
            Err(FieldPathError::Reserved { name: name.into() })
        }
        _ => Ok(()),
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(".")?;
            }
            let mut chars = name.chars();
            let plain = chars.next().is_some_and(|c| c == '_' || c.is_ascii_alphabetic())
                && chars.all(|c| c == '_' || c.is_ascii_alphanumeric());
            if plain {
                f.write_str(name)?;
            } else {
                write!(f, "`{}`", name.replace('\\', "\\\\").replace('`', "\\`"))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    fn check(text: &str, want: Expect) {
        want.assert_eq(&match FieldPath::parse(text) {
            Ok(path) => format!("{:?}", path.names()),
            Err(error) => format!("refused: {error}"),
        });
    }

    #[test]
    fn dots_separate_and_back_ticks_quote() {
        check("a.b_1", expect![[r#"["a", "b_1"]"#]]);
        check("nested.`a-b`", expect![[r#"["nested", "a-b"]"#]]);
        check("`x.y`", expect![[r#"["x.y"]"#]]);
        check(r"`a\`b\\c`", expect![[r#"["a`b\\c"]"#]]);
        check("__name__", expect![[r#"["__name__"]"#]]);
    }

    #[test]
    fn a_fault_is_told_with_its_column() {
        check("", expect!["refused: a field name is empty at column 1"]);
        check("a..b", expect!["refused: a field name is empty at column 3"]);
        check(
            "a.b-c",
            expect!["refused: unexpected '-' at column 4; put names that are not plain words in back-ticks"],
        );
        check("1a", expect!["refused: unexpected '1' at column 1; put names that are not plain words in back-ticks"]);
        check("a.`b", expect!["refused: the back-tick at column 3 is never closed"]);
        check("a.__b__", expect![[r#"refused: the field name "__b__" is reserved"#]]);
    }

    proptest! {
        #[test]
        fn what_is_printed_parses_back(names in proptest::collection::vec("[a-z`\\\\.é 0-9]{1,8}", 1..5)) {
            let path = FieldPath::from_names(names.iter().map(String::as_str)).unwrap();
            prop_assert_eq!(FieldPath::parse(&path.to_string()).unwrap(), path);
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,40}") {
            let _ = FieldPath::parse(&text);
        }
    }
}
