//! Entries of the commit log: what a database did, kind by kind.
//!
//! The log is the truth; a state is rebuilt by taking the entries as they are. An entry of an unknown kind stops the
//! opening of a database: leaving it out could lose data.

use std::sync::Arc;

use crate::change::Commit;
use crate::codec::{self, DecodeError, Reader, Writer};
use crate::document::Document;
use crate::path::DocPath;
use crate::version::Version;
use crate::write::WriteResult;

/// The kinds of entries, as numbered in the log. Numbers 3 to 8 are kept for rules, indexes, schema, sessions,
/// accounts and administration.
pub mod kind {
    /// Documents changed: [`super::CommitEntry`].
    pub const COMMIT: u8 = 1;
    /// Nothing but time passed; the body is empty.
    pub const TICK: u8 = 2;
}

/// One commit as the log keeps it: what each document became, not how.
#[derive(Clone, Debug, PartialEq)]
pub struct CommitEntry {
    /// Who asked, as a scope of idempotency keys; empty where nobody in particular did.
    pub scope: Box<str>,
    /// The key under which the caller may ask again without writing twice.
    pub key: Option<RequestKey>,
    /// Each changed document once, with what it became; `None` for a deletion.
    pub images: Vec<(DocPath, Option<Arc<Document>>)>,
    /// What the caller was told of each write.
    pub results: Vec<WriteResult>,
}

/// An idempotency key, bound to the request that it first came with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestKey {
    /// As the caller chose it.
    pub key: Box<str>,
    /// A hash of the request, to tell a repetition from another request under the same key.
    pub request: u64,
}

impl CommitEntry {
    /// An entry for what was decided.
    pub fn new(scope: &str, key: Option<RequestKey>, commit: &Commit, results: &[WriteResult]) -> Self {
        let images = commit.changes.iter().map(|change| (change.path.clone(), change.after.clone())).collect();
        Self { scope: scope.into(), key, images, results: results.to_vec() }
    }

    /// The records of the images, in their order.
    pub fn records(&self) -> Vec<Arc<[u8]>> {
        self.images.iter().map(|(_, image)| codec::encode_record(image.as_deref()).into()).collect()
    }

    /// The body of the entry.
    pub fn encode(&self) -> Vec<u8> {
        self.encode_with(&self.records())
    }

    /// The body of the entry, for whoever has [`CommitEntry::records`] already: they are most of the work.
    pub fn encode_with(&self, records: &[Arc<[u8]>]) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.block(self.scope.as_bytes());
        match &self.key {
            None => writer.byte(0),
            Some(RequestKey { key, request }) => {
                writer.byte(1);
                writer.block(key.as_bytes());
                writer.fixed(*request);
            }
        }
        writer.varint(self.images.len() as u64);
        for ((path, _), record) in self.images.iter().zip(records) {
            writer.block(path.as_str().as_bytes());
            writer.block(record);
        }
        encode_results(&mut writer, &self.results);
        writer.finish()
    }

    /// Reads a body back.
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let scope = reader.text()?.into();
        let key = match reader.byte()? {
            0 => None,
            1 => Some(RequestKey { key: reader.text()?.into(), request: reader.fixed()? }),
            tag => return Err(DecodeError::Tag { what: "an idempotency key", tag }),
        };
        let images = (0..reader.count()?).map(|_| {
            let path = DocPath::parse(reader.text()?)?;
            let image = codec::decode_record(&path, reader.block()?)?;
            Ok((path, image))
        });
        let images = images.collect::<Result<_, DecodeError>>()?;
        let results = decode_results(&mut reader)?;
        reader.end()?;
        Ok(Self { scope, key, images, results })
    }
}

/// Writes the results of a commit; also part of the record of an idempotency key.
pub fn encode_results(writer: &mut Writer, results: &[WriteResult]) {
    writer.varint(results.len() as u64);
    for result in results {
        writer.fixed(result.updated.map_or(0, Version::micros));
        writer.varint(result.transforms.len() as u64);
        result.transforms.iter().for_each(|value| writer.value(value));
    }
}

/// Reads the results of a commit.
pub fn decode_results(reader: &mut Reader<'_>) -> Result<Vec<WriteResult>, DecodeError> {
    let results = (0..reader.count()?).map(|_| {
        let updated = Some(Version::from_micros(reader.fixed()?)).filter(|version| *version != Version::ZERO);
        let transforms = (0..reader.count()?).map(|_| reader.value()).collect::<Result<_, _>>()?;
        Ok(WriteResult { updated, transforms })
    });
    results.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::tests::{any_fields, any_value};
    use proptest::prelude::*;

    fn any_entry() -> impl Strategy<Value = CommitEntry> {
        let key = proptest::option::of(("[a-z]{1,5}", any::<u64>()))
            .prop_map(|key| key.map(|(key, request)| RequestKey { key: key.into(), request }));
        let image = ("[a-z]{1,3}/[a-z]{1,3}", proptest::option::of((any_fields(), 1..9_u64, 1..9_u64))).prop_map(
            |(path, fields)| {
                let path = DocPath::parse(&path).unwrap();
                let document = fields.map(|(fields, created, updated)| Document {
                    path: path.clone(),
                    fields,
                    created: Version::from_micros(created),
                    updated: Version::from_micros(updated),
                });
                (path, document.map(Arc::new))
            },
        );
        let result = (proptest::option::of(1..9_u64), proptest::collection::vec(any_value(), 0..2))
            .prop_map(|(updated, transforms)| WriteResult { updated: updated.map(Version::from_micros), transforms });
        let images = proptest::collection::vec(image, 0..3);
        ("[a-z]{0,4}", key, images, proptest::collection::vec(result, 0..3))
            .prop_map(|(scope, key, images, results)| CommitEntry { scope: scope.into(), key, images, results })
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_to_itself(entry in any_entry()) {
            prop_assert_eq!(CommitEntry::decode(&entry.encode()).unwrap(), entry);
        }

        #[test]
        fn damaged_bytes_never_panic(entry in any_entry(), at in any::<prop::sample::Index>(), bit in 0..8_u8) {
            let mut bytes = entry.encode();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let _ = CommitEntry::decode(&bytes);
            prop_assert!(CommitEntry::decode(&bytes[..at]).is_err());
        }
    }
}
