//! What is true: values, paths, documents, queries, writes, watches and the order between them.
//!
//! Everything here is synchronous, deterministic and told what it needs: no I/O, no clock, no randomness.
//! Wire shapes do not live here; each door has its own and converts.

pub mod aggregate;
pub mod change;
pub mod codec;
pub mod decide;
pub mod document;
pub mod entry;
pub mod field;
pub mod index;
pub mod keys;
pub mod order;
pub mod path;
pub mod query;
pub mod size;
pub mod value;
pub mod version;
pub mod watch;
pub mod write;

pub use change::{Change, Commit};
pub use document::Document;
pub use field::{FieldPath, FieldPathError};
pub use keys::Direction;
pub use path::{CollectionPath, DatabaseName, DocPath, Id, IdError, PathError, Reference};
pub use query::{Query, QueryError, QuerySpec};
pub use value::{GeoPoint, Map, Timestamp, Value};
pub use version::Version;
