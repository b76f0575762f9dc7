//! What a backup holds, as it is written beside its files: which databases, from which files, up to when.
//!
//! Each backup has a manifest of its own, which names every file that it needs, those of earlier backups included. It is
//! text: one object of JSON, and on a last line the checksum of what stands before.

use hearth_core::Version;
use serde::{Deserialize, Serialize};

/// The one format of backups so far.
pub(crate) const FORMAT: u32 = 1;
const CHECKSUM: &str = "crc32c ";

/// One backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) format: u32,
    /// Which hearth was backed up.
    pub(crate) hearth: String,
    /// The moment of the backup, in microseconds since 1970: what was committed up to then is in it.
    pub(crate) taken: u64,
    /// Whether `hearth serve` has used the data.
    pub(crate) served: bool,
    pub(crate) default_project: Option<String>,
    pub(crate) databases: Vec<Saved>,
}

/// One database of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Saved {
    pub(crate) project: String,
    pub(crate) database: String,
    /// Names the database for good.
    pub(crate) id: String,
    /// The folder of its files.
    pub(crate) folder: String,
    /// Everything up to this version is there.
    pub(crate) version: u64,
    /// Snapshots to begin from, oldest first.
    pub(crate) bases: Vec<Base>,
    /// Parts of the log, oldest first, each where the one before it ends.
    pub(crate) log: Vec<Part>,
}

/// A snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Base {
    #[serde(flatten)]
    pub(crate) stored: Stored,
    pub(crate) version: u64,
}

/// A part of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    #[serde(flatten)]
    pub(crate) stored: Stored,
    pub(crate) segment: u32,
    /// It holds what was committed above this version,
    pub(crate) after: u64,
    /// and up to this one.
    pub(crate) upto: u64,
}

/// A file as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stored {
    pub(crate) file: String,
    pub(crate) bytes: u64,
    pub(crate) crc32c: u32,
}

impl Manifest {
    /// Its text.
    pub(crate) fn encode(&self) -> String {
        let text = serde_json::to_string_pretty(self).expect("its keys are text");
        format!("{text}\n{CHECKSUM}{:08x}\n", crc32c::crc32c(text.as_bytes()))
    }

    /// Reads a text back; the error is what is wrong with it.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let damaged = || "it is not as it was written".to_string();
        let text = std::str::from_utf8(bytes).map_err(|_| damaged())?;
        let (text, sum) = text.strip_suffix('\n').and_then(|text| text.rsplit_once('\n')).ok_or_else(damaged)?;
        let sum = sum.strip_prefix(CHECKSUM).and_then(|sum| u32::from_str_radix(sum, 16).ok());
        if sum != Some(crc32c::crc32c(text.as_bytes())) {
            return Err(damaged());
        }
        // Before the rest: another format may have other members.
        let format = serde_json::from_str::<serde_json::Value>(text).ok().and_then(|json| json["format"].as_u64());
        match format {
            Some(format) if format == u64::from(FORMAT) => {
                serde_json::from_str(text).map_err(|error| error.to_string())
            }
            Some(format) => {
                Err(format!("it has format {format}, and this hearth reads format {FORMAT}; use a newer one"))
            }
            None => Err(damaged()),
        }
    }
}

/// What a database is restored from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Needed<'a> {
    /// None: from the beginning of its log.
    pub(crate) base: Option<&'a Base>,
    pub(crate) log: &'a [Part],
}

impl Saved {
    /// The oldest version that it can be restored to.
    pub(crate) fn oldest(&self) -> Version {
        let begins_at_zero = self.log.first().is_some_and(|part| part.after == 0);
        let first = self.bases.first().map_or(0, |base| base.version);
        Version::from_micros(if begins_at_zero { 0 } else { first })
    }

    /// The files to restore it from as it was at a version: the newest snapshot up to there, and the log behind it. None
    /// where the backup does not go back so far.
    pub(crate) fn needed(&self, at: Version) -> Option<Needed<'_>> {
        if at < self.oldest() {
            return None;
        }
        let base = self.bases.iter().rev().find(|base| base.version <= at.micros());
        let begins = base.map_or(0, |base| base.version);
        let first = self.log.iter().position(|part| part.upto > begins).unwrap_or(self.log.len());
        let count = self.log[first..].iter().take_while(|part| part.after < at.micros()).count();
        Some(Needed { base, log: &self.log[first..first + count] })
    }

    /// Bytes of the log that stand behind the last snapshot.
    pub(crate) fn log_bytes_behind_base(&self) -> u64 {
        let begins = self.bases.last().map_or(0, |base| base.version);
        self.log.iter().filter(|part| part.upto > begins).map(|part| part.stored.bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(file: &str, bytes: u64) -> Stored {
        Stored { file: file.into(), bytes, crc32c: 7 }
    }

    fn part(after: u64, upto: u64) -> Part {
        Part { stored: stored(&format!("{after}-{upto}"), upto - after), segment: 2, after, upto }
    }

    fn base(version: u64) -> Base {
        Base { stored: stored(&version.to_string(), 5), version }
    }

    fn saved(bases: &[u64], log: &[(u64, u64)]) -> Saved {
        Saved {
            project: "p".into(),
            database: "d".into(),
            id: "00".into(),
            folder: "f".into(),
            version: 40,
            bases: bases.iter().map(|version| base(*version)).collect(),
            log: log.iter().map(|(after, upto)| part(*after, *upto)).collect(),
        }
    }

    #[track_caller]
    fn check(saved: &Saved, at: u64, want: &str) {
        let needed = saved.needed(Version::from_micros(at)).map(|needed| {
            let base = needed.base.map_or("nothing", |base| &base.stored.file);
            let parts: Vec<&str> = needed.log.iter().map(|part| part.stored.file.as_str()).collect();
            format!("{base} + {}", parts.join(" "))
        });
        assert_eq!(needed.as_deref().unwrap_or("none"), want, "{at}");
    }

    #[test]
    fn the_nearest_snapshot_and_the_log_behind_it_are_needed() {
        let behind_a_base = saved(&[10, 25], &[(10, 20), (20, 30), (30, 40)]);
        check(&behind_a_base, 9, "none");
        check(&behind_a_base, 10, "10 + ");
        check(&behind_a_base, 15, "10 + 10-20");
        check(&behind_a_base, 20, "10 + 10-20");
        check(&behind_a_base, 21, "10 + 10-20 20-30");
        check(&behind_a_base, 25, "25 + 20-30");
        check(&behind_a_base, 40, "25 + 20-30 30-40");
        assert_eq!(behind_a_base.log_bytes_behind_base(), 20);
        let whole = saved(&[], &[(0, 20), (20, 40)]);
        check(&whole, 0, "nothing + ");
        check(&whole, 5, "nothing + 0-20");
        check(&whole, 40, "nothing + 0-20 20-40");
        check(&saved(&[20], &[(0, 20), (20, 40)]), 20, "20 + ");
        check(&saved(&[40], &[]), 40, "40 + ");
    }

    #[test]
    fn a_manifest_is_read_back_and_no_other_is_believed() {
        let manifest = Manifest {
            format: FORMAT,
            hearth: "0".into(),
            taken: 1_767_225_600_000_001,
            served: true,
            default_project: Some("p".into()),
            databases: vec![saved(&[10], &[(10, 40)])],
        };
        let text = manifest.encode();
        assert_eq!(Manifest::decode(text.as_bytes()), Ok(manifest.clone()));
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            assert_ne!(Manifest::decode(&bytes), Ok(manifest.clone()), "byte {at}");
            assert!(Manifest::decode(&text.as_bytes()[..at]).is_err(), "cut at {at}");
        }
        let newer = Manifest { format: 2, ..manifest }.encode();
        assert!(Manifest::decode(newer.as_bytes()).unwrap_err().contains("format 2"));
    }
}
