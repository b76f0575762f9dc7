//! Copies of parts, laid beside each other, are the log again; what is not durable is not looked at.

use std::fs::{self, OpenOptions};
use std::io::Write as _;

use proptest::prelude::*;

use super::super::{CommitLog, FileLog, LogOptions};
use super::*;

const ID: DatabaseId = DatabaseId([7; 16]);

fn v(micros: u64) -> Version {
    Version::from_micros(micros)
}

fn entry(version: u64) -> Entry {
    Entry { version: v(version), kind: 1, body: vec![version as u8; 20] }
}

/// Segments so small that a few groups fill several.
fn small() -> LogOptions {
    LogOptions { segment_bytes_first: 150, segment_bytes_max: 300, ..LogOptions::default() }
}

/// A log of groups with these versions.
fn with(groups: &[Vec<u64>]) -> (tempfile::TempDir, FileLog) {
    let folder = tempfile::tempdir().unwrap();
    FileLog::create(folder.path(), ID).unwrap();
    let (mut log, _) = FileLog::open(folder.path(), ID, Version::ZERO, small()).unwrap();
    for group in groups {
        log.append(&group.iter().map(|version| entry(*version)).collect::<Vec<_>>()).unwrap();
    }
    (folder, log)
}

fn copy(from: &Path, part: LogPart, to: &Path) -> Result<(), CopyError> {
    let mut bytes = Vec::new();
    let written = LogCopy::open(from, ID, part)?.write_to(&mut bytes)?;
    assert_eq!(written, bytes.len() as u64);
    fs::write(to.join(format!("{:010}.seg", part.segment)), bytes).unwrap();
    Ok(())
}

/// The versions of all entries of a copy.
fn versions(folder: &Path, after: Version) -> Vec<u64> {
    let options = LogOptions { covered: after, ..LogOptions::default() };
    let (log, found) = FileLog::open_to_read(folder, ID, Version::ZERO, options).unwrap();
    assert_eq!(found.cut_bytes, 0);
    let mut versions = Vec::new();
    log.replay(after, &mut |read| {
        assert_eq!(read, entry(read.version.micros()));
        versions.push(read.version.micros());
        Ok(())
    })
    .unwrap();
    versions
}

#[track_caller]
fn refused(folder: &Path, after: u64, upto: u64, want: &str) {
    let part = LogPart { after: v(after), upto: v(upto), segment: 2 };
    let error = copy(folder, part, folder).unwrap_err().to_string();
    assert!(error.contains(want), "{error}");
}

#[test]
fn what_was_dropped_or_never_was_is_not_copied() {
    let (folder, mut log) = with(&(0..30).map(|n| vec![10 * n + 1, 10 * n + 5]).collect::<Vec<_>>());
    let path = folder.path();
    refused(path, 7, 100, "no entry at version 7");
    refused(path, 0, 9_999, "ends with version 295");
    log.drop_before(v(120)).unwrap();
    assert!(log.start() > Version::ZERO && log.start() < v(120));
    refused(path, 0, 200, "goes back to version");
    let to = tempfile::tempdir().unwrap();
    copy(path, LogPart { after: log.start(), upto: v(200), segment: 2 }, to.path()).unwrap();
    assert_eq!(versions(to.path(), log.start()).last(), Some(&195), "what was not committed cannot be copied");
}

#[test]
fn what_is_written_meanwhile_is_not_looked_at() {
    let (folder, log) = with(&[vec![1, 2], vec![5]]);
    let mut tail = OpenOptions::new().append(true).open(folder.path().join("0000000002.seg")).unwrap();
    tail.write_all(b"GRUP and then half of a group").unwrap();
    let to = tempfile::tempdir().unwrap();
    copy(folder.path(), LogPart { after: v(2), upto: log.last(), segment: 2 }, to.path()).unwrap();
    assert_eq!(versions(to.path(), v(2)), [5]);
    refused(folder.path(), 2, 6, "a group of commits is damaged");
}

proptest! {
    #[test]
    fn parts_beside_each_other_are_the_whole(
        steps in prop::collection::vec((1_u64..4, prop::bool::weighted(0.4), prop::bool::weighted(0.3)), 1..40)
    ) {
        // Versions, where groups end, and where a backup is taken: in the midst of a group, too.
        let (mut version, mut groups, mut points) = (0, vec![vec![]], Vec::new());
        for (step, ends, is_point) in steps {
            version += step;
            groups.last_mut().unwrap().push(version);
            if is_point {
                points.push(version);
            }
            if ends {
                groups.push(vec![]);
            }
        }
        groups.retain(|group| !group.is_empty());
        points.push(version);
        points.dedup();
        let (folder, _log) = with(&groups);
        let to = tempfile::tempdir().unwrap();
        let mut after = 0;
        for (segment, upto) in (1..).zip(points) {
            copy(folder.path(), LogPart { after: v(after), upto: v(upto), segment }, to.path()).unwrap();
            after = upto;
        }
        prop_assert_eq!(versions(to.path(), Version::ZERO), groups.concat());
    }
}
