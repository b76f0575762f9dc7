//! What the log promises, on disks that fail at any step, and on files that are torn or changed at any byte.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use expect_test::{Expect, expect};
use hearth_core::Version;
use proptest::prelude::*;

use super::*;
use crate::disk::{Disk, DiskFile, DiskReader, RealDisk};

const ID: DatabaseId = DatabaseId([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);

fn v(micros: u64) -> Version {
    Version::from_micros(micros)
}

fn entry(version: u64, body: &[u8]) -> Entry {
    Entry { version: v(version), kind: (version % 7) as u8, body: body.to_vec() }
}

/// Segments so small that a few groups fill several.
fn small() -> LogOptions {
    LogOptions { segment_bytes_first: 150, segment_bytes_max: 300, ..LogOptions::default() }
}

/// A folder with an empty log.
fn new() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    FileLog::create(folder.path(), ID).unwrap();
    folder
}

/// Opens on a disk that does not really sync, because thousands of tests do.
fn open(folder: &Path, known: Version, options: LogOptions) -> Result<(FileLog, Recovered), LogError> {
    FileLog::open_on(Arc::new(FaultyDisk::default()), folder, ID, known, options)
}

fn entries(log: &FileLog, after: Version) -> Vec<Entry> {
    let mut found = Vec::new();
    let mut take = |entry| {
        found.push(entry);
        Ok(())
    };
    log.replay(after, &mut take).unwrap();
    found
}

/// A log of these groups, and where each ends in the (only) segment.
fn with_groups(groups: &[Vec<Entry>]) -> (tempfile::TempDir, Vec<u64>) {
    let folder = new();
    let (mut log, _) = open(folder.path(), Version::ZERO, LogOptions::default()).unwrap();
    let mut ends = vec![log.size_bytes()];
    for group in groups {
        log.append(group).unwrap();
        ends.push(log.size_bytes());
    }
    (folder, ends)
}

fn three_groups() -> Vec<Vec<Entry>> {
    vec![
        vec![entry(1, b"first"), entry(2, b"")],
        vec![entry(5, b"second")],
        vec![entry(6, b"third"), entry(9, &[0xab; 40])],
    ]
}

fn segment(folder: &Path, number: u32) -> PathBuf {
    folder.join(super::segment::name(number))
}

fn refusal(folder: &Path, known: Version, options: LogOptions) -> String {
    let error = match open(folder, known, options) {
        Ok((_, recovered)) => panic!("opened: {recovered:?}"),
        Err(error) => error.to_string(),
    };
    error.replace(&folder.display().to_string(), "LOG").replace("; ", ";\n") + "\n"
}

/// A log of many segments, and the version from which each continues.
fn with_segments() -> (tempfile::TempDir, FileLog, Vec<Version>) {
    let folder = new();
    let (mut log, _) = open(folder.path(), Version::ZERO, small()).unwrap();
    let mut starts = vec![Version::ZERO];
    for version in 1..40 {
        log.append(&[entry(version, b"0123456789")]).unwrap();
        if starts.len() < log.segment_count() as usize {
            starts.push(v(version - 1));
        }
    }
    assert!(starts.len() > 5);
    (folder, log, starts)
}

fn covered(version: Version) -> LogOptions {
    LogOptions { covered: version, ..small() }
}

// What is written.

#[test]
fn the_bytes_of_a_segment_are_these_and_stay_these() {
    let (folder, _) = with_groups(&[vec![
        Entry { version: v(1000), kind: 1, body: b"hi".to_vec() },
        Entry { version: v(1001), kind: 9, body: vec![] },
    ]]);
    let bytes = fs::read(segment(folder.path(), 1)).unwrap();
    let hex = |row: &[u8]| row.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n";
    // Computed by another implementation, from the description in `frame`.
    expect![[r#"
        4845415254484c470100000001000000
        000102030405060708090a0b0c0d0e0f
        0000000000000000a9f8557047525550
        1c00000002000000c49700c34c59d435
        e80300000000000001020000006869e9
        030000000000000900000000
    "#]]
    .assert_eq(&bytes.chunks(16).map(hex).collect::<String>());
}

#[test]
fn what_was_appended_is_replayed_after_any_version() {
    let groups = three_groups();
    let (folder, _) = with_groups(&groups);
    let (log, recovered) = open(folder.path(), v(9), LogOptions::default()).unwrap();
    assert_eq!(recovered.last, v(9));
    assert_eq!(recovered.cut_bytes, 0);
    for after in 0..=10 {
        let want: Vec<_> = groups.concat().into_iter().filter(|entry| entry.version > v(after)).collect();
        assert_eq!(entries(&log, v(after)), want);
    }
}

#[test]
fn a_replay_stops_where_its_taker_stops() {
    let (folder, _) = with_groups(&three_groups());
    let (log, _) = open(folder.path(), Version::ZERO, LogOptions::default()).unwrap();
    let mut taken = 0;
    let error = log
        .replay(Version::ZERO, &mut |entry| {
            taken += 1;
            if entry.version == v(5) { Err("kind 5 is not known".into()) } else { Ok(()) }
        })
        .unwrap_err();
    assert_eq!(taken, 3);
    expect!["the entry at version 5 cannot be replayed: kind 5 is not known"].assert_eq(&error.to_string());
}

#[test]
fn a_group_that_cannot_follow_is_refused_and_the_log_goes_on() {
    let folder = new();
    let (mut log, _) = open(folder.path(), Version::ZERO, LogOptions::default()).unwrap();
    let mut refused = |group: &[Entry], want: Expect| {
        want.assert_eq(&log.append(group).unwrap_err().to_string());
    };
    refused(&[entry(0, b"")], expect!["version 0 does not stand above 0, the one before it"]);
    refused(&[entry(4, b""), entry(4, b"")], expect!["version 4 does not stand above 4, the one before it"]);
    let over = vec![0; GROUP_BYTES_MAX - Entry::EXTRA_BYTES + 1];
    refused(&[entry(4, &over)], expect!["the group takes 67108865 bytes, over the limit of 67108864"]);
    log.append(&[]).unwrap();
    log.append(&[entry(4, &over[1..])]).unwrap();
    log.append(&[entry(5, b"behind it")]).unwrap();
    log.close();
    assert!(matches!(log.append(&[entry(6, b"")]), Err(AppendError::Closed)));
    let (log, recovered) = open(folder.path(), v(5), LogOptions::default()).unwrap();
    assert_eq!(recovered.segments, 2);
    assert_eq!(entries(&log, v(4)), [entry(5, b"behind it")]);
}

#[test]
fn segments_double_up_to_their_limit() {
    let folder = new();
    let (mut log, _) = open(folder.path(), Version::ZERO, small()).unwrap();
    for version in 1..40 {
        log.append(&[entry(version, b"0123456789")]).unwrap();
    }
    let sizes: Vec<u64> =
        (1..=log.segment_count()).map(|number| fs::metadata(segment(folder.path(), number)).unwrap().len()).collect();
    // 44 bytes of head and 43 a group: as many groups as fit 150, then 300.
    assert_eq!(sizes[..4], [130, 259, 259, 259]);
    assert_eq!(sizes.iter().sum::<u64>(), log.size_bytes());
}

#[test]
fn a_log_is_created_once() {
    let folder = new();
    assert!(FileLog::create(folder.path(), ID).is_err());
    assert!(open(folder.path(), Version::ZERO, small()).is_ok());
}

#[test]
fn no_log_takes_what_a_log_takes_and_replays_nothing() {
    let mut log: Box<dyn CommitLog> = Box::new(NoLog::new());
    log.append(&[entry(3, b"x")]).unwrap();
    assert!(matches!(log.append(&[entry(3, b"x")]), Err(AppendError::OutOfOrder { .. })));
    assert_eq!(log.last(), v(3));
    log.replay(Version::ZERO, &mut |_| Err("there is nothing".into())).unwrap();
    log.close();
    assert!(matches!(log.append(&[entry(4, b"x")]), Err(AppendError::Closed)));
}

// What a crash leaves.

#[test]
fn a_last_frame_torn_at_any_byte_is_cut_off_and_nothing_else() {
    let groups = three_groups();
    let (folder, ends) = with_groups(&groups);
    let path = segment(folder.path(), 1);
    let whole = fs::read(&path).unwrap();
    let (start, end) = (ends[2] as usize, ends[3] as usize);
    type Tear = fn(&mut Vec<u8>, usize, usize);
    let tears: [Tear; 4] = [
        |bytes, _, at| bytes.truncate(at),
        // The length reached the disk and the rest of the contents did not,
        |bytes, _, at| bytes[at..].fill(0),
        // or only the rest did,
        |bytes, start, at| bytes[start..=at].fill(0),
        // or one sector of it is old.
        |bytes, _, at| bytes[at] ^= 0x5a,
    ];
    for tear in tears {
        for at in start..end {
            let mut bytes = whole.clone();
            tear(&mut bytes, start, at);
            if bytes == whole {
                continue;
            }
            fs::write(&path, &bytes).unwrap();
            let (mut log, recovered) = open(folder.path(), v(5), LogOptions::default()).unwrap();
            assert_eq!(recovered.cut_bytes, (bytes.len() - start) as u64);
            assert_eq!(recovered.last, v(5));
            assert_eq!(entries(&log, Version::ZERO), groups[..2].concat());
            assert_eq!(fs::read(&path).unwrap(), whole[..start]);
            log.append(&groups[2]).unwrap();
            assert_eq!(fs::read(&path).unwrap(), whole);
        }
    }
}

#[test]
fn what_a_killed_process_wrote_and_did_not_sync_is_synced_before_it_is_shown() {
    let (folder, _) = with_groups(&three_groups());
    let disk = FaultyDisk::default();
    FileLog::open_on(Arc::new(disk.clone()), folder.path(), ID, v(9), LogOptions::default()).unwrap();
    assert_eq!(disk.done(), [Op::Write, Op::Truncate, Op::Sync, Op::SyncFolder]);
    for op in [Op::Write, Op::Truncate, Op::Sync, Op::SyncFolder] {
        disk.arm(&[first(op)]);
        let opened = FileLog::open_on(Arc::new(disk.clone()), folder.path(), ID, v(9), LogOptions::default());
        assert!(matches!(opened, Err(LogError::Io(_))), "{op:?}");
    }
}

#[test]
fn a_segment_that_was_only_being_prepared_is_removed() {
    let (folder, _) = with_groups(&three_groups());
    let prepared = folder.path().join(super::segment::name_new(2));
    fs::write(&prepared, b"half a he").unwrap();
    let (log, _) = open(folder.path(), v(9), small()).unwrap();
    assert_eq!(entries(&log, Version::ZERO), three_groups().concat());
    assert!(!prepared.exists());
}

#[test]
fn a_cut_that_would_take_what_is_known_to_be_durable_is_refused_and_changes_nothing() {
    let (folder, ends) = with_groups(&three_groups());
    let path = segment(folder.path(), 1);
    let mut bytes = fs::read(&path).unwrap();
    bytes.truncate(ends[3] as usize - 1);
    fs::write(&path, &bytes).unwrap();
    let said = refusal(folder.path(), v(6), LogOptions::default());
    expect![[r#"
        the commit log is damaged: LOG/0000000001.seg, byte 134: the log ends with version 5, but version 6 was durable;
        what was written up to version 5 is not touched by it;
        nothing was changed: keep a copy of the folder, then bring back the file, or restore a backup into another directory with `hearth restore BACKUP --data DIR`
    "#]]
    .assert_eq(&said);
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

// What no crash leaves.

#[test]
fn a_changed_byte_anywhere_never_yields_another_entry() {
    for options in [LogOptions::default(), small()] {
        let folder = new();
        let (mut log, _) = open(folder.path(), Version::ZERO, options.clone()).unwrap();
        let mut last_begin = 0;
        for group in three_groups() {
            let before = (log.segment_count(), log.tail_bytes());
            log.append(&group).unwrap();
            last_begin = match before {
                (number, bytes) if number == log.segment_count() => bytes,
                _ => frame::HEAD_BYTES as u64,
            };
        }
        let segments = log.segment_count();
        drop(log);
        for number in 1..=segments {
            let path = segment(folder.path(), number);
            let whole = fs::read(&path).unwrap();
            for (at, change) in (0..whole.len()).flat_map(|at| [(at, 1 << (at % 8)), (at, 0xff)]) {
                let mut bytes = whole.clone();
                bytes[at] ^= change;
                fs::write(&path, &bytes).unwrap();
                let is_last_frame = number == segments && at as u64 >= last_begin;
                match open(folder.path(), Version::ZERO, options.clone()) {
                    Ok((log, recovered)) => {
                        assert!(is_last_frame, "byte {at} of segment {number}");
                        assert_eq!(recovered.last, v(5));
                        assert_eq!(entries(&log, Version::ZERO), three_groups()[..2].concat());
                    }
                    Err(error) => {
                        assert!(!is_last_frame, "byte {at} of segment {number}: {error}");
                        assert_eq!(fs::read(&path).unwrap(), bytes);
                    }
                }
                // Who knows that the last one was durable is not even shown the cut.
                fs::write(&path, &bytes).unwrap();
                assert!(open(folder.path(), v(9), options.clone()).is_err());
                // Who reads the end only is shown no wrong entry either.
                let tail = LogOptions { check: Check::Tail, ..options.clone() };
                if let Ok((log, _)) = open(folder.path(), Version::ZERO, tail) {
                    let mut found = Vec::new();
                    let done = log.replay(Version::ZERO, &mut |entry| {
                        found.push(entry);
                        Ok(())
                    });
                    assert!(three_groups().concat().starts_with(&found));
                    assert_eq!(done.is_ok(), is_last_frame);
                }
            }
            fs::write(&path, &whole).unwrap();
        }
    }
}

fn damaged(change: impl FnOnce(&Path), want: Expect) {
    let folder = new();
    let (mut log, _) = open(folder.path(), Version::ZERO, small()).unwrap();
    for version in 1..=9 {
        log.append(&[entry(version, b"0123456789")]).unwrap();
    }
    assert_eq!(log.segment_count(), 3);
    drop(log);
    change(folder.path());
    let said = refusal(folder.path(), Version::ZERO, small());
    want.assert_eq(said.split("nothing was changed").next().unwrap());
}

#[test]
fn a_group_that_is_damaged_before_others_is_refused() {
    let flip = |number, at: usize| {
        move |folder: &Path| {
            let mut bytes = fs::read(segment(folder, number)).unwrap();
            bytes[at] ^= 1;
            fs::write(segment(folder, number), bytes).unwrap();
        }
    };
    // In the payload, with more behind it.
    damaged(
        flip(3, 44 + 30),
        expect![[r#"
        the commit log is damaged: LOG/0000000003.seg, byte 44: a group of commits is damaged, and it is not the last thing that was written;
        what was written up to version 7 is not touched by it;
    "#]],
    );
    // In the length, with more behind it.
    damaged(
        flip(3, 44 + 4),
        expect![[r#"
        the commit log is damaged: LOG/0000000003.seg, byte 44: a group of commits is damaged, and it is not the last thing that was written;
        what was written up to version 7 is not touched by it;
    "#]],
    );
    // In the last group, but of a segment that has a successor.
    damaged(
        flip(2, 44 + 43 * 4 + 30),
        expect![[r#"
        the commit log is damaged: LOG/0000000002.seg, byte 216: a group of commits is damaged, and it is not the last thing that was written;
        what was written up to version 6 is not touched by it;
    "#]],
    );
}

#[test]
fn a_damaged_group_with_a_torn_one_behind_it_is_refused() {
    let (folder, ends) = with_groups(&three_groups());
    let path = segment(folder.path(), 1);
    let mut bytes = fs::read(&path).unwrap();
    bytes[ends[2] as usize - 1] ^= 1;
    bytes.truncate(ends[2] as usize + 3);
    fs::write(&path, bytes).unwrap();
    let said = refusal(folder.path(), Version::ZERO, LogOptions::default());
    assert!(said.contains("not the last thing that was written"), "{said}");
}

#[test]
fn missing_foreign_and_shuffled_segments_are_refused() {
    damaged(
        |folder| fs::remove_file(segment(folder, 1)).unwrap(),
        expect![[r#"
            the commit log is damaged: LOG: the log begins behind version 2, and nothing else holds what lies before;
            nothing before it is known to be whole;
        "#]],
    );
    damaged(
        |folder| fs::remove_file(segment(folder, 2)).unwrap(),
        expect![[r#"
        the commit log is damaged: LOG: segment 2 is missing;
        what was written up to version 2 is not touched by it;
    "#]],
    );
    damaged(
        |folder| (1..=3).for_each(|number| fs::remove_file(segment(folder, number)).unwrap()),
        expect![[r#"
        the commit log is damaged: LOG: there is no log segment here, though the database was created;
        nothing before it is known to be whole;
    "#]],
    );
    damaged(
        |folder| assert!(fs::copy(segment(folder, 1), segment(folder, 2)).is_ok()),
        expect![[r#"
        the commit log is damaged: LOG/0000000002.seg, byte 0: this is segment 1 under the name of segment 2;
        what was written up to version 2 is not touched by it;
    "#]],
    );
    damaged(
        |folder| {
            let other = tempfile::tempdir().unwrap();
            FileLog::create(other.path(), DatabaseId([0xee; 16])).unwrap();
            fs::copy(segment(other.path(), 1), segment(folder, 1)).unwrap();
        },
        expect![[r#"
            the commit log is damaged: LOG/0000000001.seg, byte 0: this belongs to database eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee, and the log here is that of 000102030405060708090a0b0c0d0e0f;
            nothing before it is known to be whole;
        "#]],
    );
    damaged(
        |folder| {
            let other = new();
            fs::copy(segment(other.path(), 1), segment(folder, 1)).unwrap();
        },
        expect![[r#"
            the commit log is damaged: LOG/0000000002.seg, byte 0: this segment continues from version 2, but the one before it ends at version 0;
            nothing before it is known to be whole;
        "#]],
    );
    damaged(
        |folder| fs::write(segment(folder, 3), b"").unwrap(),
        expect![[r#"
        the commit log is damaged: LOG/0000000003.seg, byte 0: this is not a segment of a hearth log, or its head is damaged;
        what was written up to version 7 is not touched by it;
    "#]],
    );
    damaged(
        |folder| {
            let mut bytes = fs::read(segment(folder, 3)).unwrap();
            bytes[8] = 2;
            fs::write(segment(folder, 3), bytes).unwrap();
        },
        expect![[r#"
            LOG/0000000003.seg has format 2, and this hearth reads format 1;
        "#]],
    );
    // Cut exactly between two groups: only the next segment tells.
    damaged(
        |folder| {
            let bytes = fs::read(segment(folder, 2)).unwrap();
            fs::write(segment(folder, 2), &bytes[..bytes.len() - 43]).unwrap();
        },
        expect![[r#"
            the commit log is damaged: LOG/0000000003.seg, byte 0: this segment continues from version 7, but the one before it ends at version 6;
            what was written up to version 6 is not touched by it;
        "#]],
    );
}

#[test]
fn versions_that_do_not_rise_are_refused_however_whole_they_are() {
    let (folder, ends) = with_groups(&[vec![entry(5, b"x")]]);
    let path = segment(folder.path(), 1);
    let head = frame::Head { database: ID, segment: 1, after: Version::ZERO };
    let mut bytes = fs::read(&path).unwrap();
    let mut frame = Vec::new();
    frame::encode(&mut frame, head.seed(ends[1]), &[entry(5, b"again")]);
    bytes.extend(frame);
    fs::write(&path, bytes).unwrap();
    let said = refusal(folder.path(), Version::ZERO, LogOptions::default());
    expect![[r#"
        the commit log is damaged: LOG/0000000001.seg, byte 78: version 5 does not stand above 5, the one before it;
        what was written up to version 5 is not touched by it;
        nothing was changed: keep a copy of the folder, then bring back the file, or restore a backup into another directory with `hearth restore BACKUP --data DIR`
    "#]]
    .assert_eq(&said);
}

#[test]
fn a_frame_inside_a_body_is_not_mistaken_for_one() {
    // The body of the torn frame is itself a frame as it stands in the log, head and all.
    let head = frame::Head { database: ID, segment: 1, after: Version::ZERO };
    let mut inner = Vec::new();
    frame::encode(&mut inner, head.seed(44), &[entry(1, b"x")]);
    let (folder, ends) = with_groups(&[vec![entry(1, b"x")], vec![entry(2, &inner)]]);
    let path = segment(folder.path(), 1);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    let (log, recovered) = open(folder.path(), Version::ZERO, LogOptions::default()).unwrap();
    assert_eq!(recovered.cut_bytes, ends[2] - ends[1] - 1);
    assert_eq!(entries(&log, Version::ZERO), [entry(1, b"x")]);
}

#[test]
fn more_bad_bytes_than_one_write_can_leave_are_refused() {
    let (folder, ends) = with_groups(&[vec![entry(1, b"x")]]);
    let file = fs::File::options().write(true).open(segment(folder.path(), 1)).unwrap();
    file.set_len(ends[1] + frame::FRAME_BYTES_MAX + 1).unwrap();
    let said = refusal(folder.path(), Version::ZERO, LogOptions::default());
    assert!(said.contains("not the last thing that was written"), "{said}");
    file.set_len(ends[1] + frame::FRAME_BYTES_MAX).unwrap();
    let (_, recovered) = open(folder.path(), Version::ZERO, LogOptions::default()).unwrap();
    assert_eq!(recovered.cut_bytes, frame::FRAME_BYTES_MAX);
}

// What a failing disk leaves.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Create,
    Write,
    Truncate,
    Sync,
    Rename,
    SyncFolder,
}

/// What is to fail: every operation of a kind whose turn (from 1) is in the range.
#[derive(Clone, Debug)]
struct Failing {
    op: Op,
    turns: std::ops::Range<usize>,
}

#[derive(Debug, Default)]
struct Faults {
    free: Option<u64>,
    armed: Vec<Failing>,
    done: Vec<Op>,
}

impl Faults {
    fn turn(&mut self, op: Op) -> io::Result<()> {
        self.done.push(op);
        let turn = self.done.iter().filter(|done| **done == op).count();
        let fails = |fault: &Failing| fault.op == op && fault.turns.contains(&turn);
        match self.armed.iter().any(fails) {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }
}

/// A disk that fails when told to, does not really sync, and notes what was asked of it.
#[derive(Clone, Debug, Default)]
struct FaultyDisk(Arc<Mutex<Faults>>);

impl FaultyDisk {
    fn turn(&self, op: Op) -> io::Result<()> {
        self.0.lock().unwrap().turn(op)
    }

    fn arm(&self, armed: &[Failing]) {
        *self.0.lock().unwrap() = Faults { armed: armed.to_vec(), ..Faults::default() };
    }

    fn done(&self) -> Vec<Op> {
        self.0.lock().unwrap().done.clone()
    }
}

struct FaultyFile(FaultyDisk, Box<dyn DiskFile>);

impl Disk for FaultyDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.turn(Op::Create)?;
        Ok(Box::new(FaultyFile(self.clone(), RealDisk.create(path)?)))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(FaultyFile(self.clone(), RealDisk.open(path)?)))
    }

    fn read(&self, path: &Path) -> io::Result<Box<dyn DiskReader>> {
        RealDisk.read(path)
    }

    fn file_bytes(&self, path: &Path) -> io::Result<u64> {
        RealDisk.file_bytes(path)
    }

    fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
        RealDisk.names(folder)
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        RealDisk.create_folder(path)
    }

    /// Fails after the fact, which is the worse way.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)?;
        self.turn(Op::Rename)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }

    fn sync_folder(&self, _path: &Path) -> io::Result<()> {
        self.turn(Op::SyncFolder)
    }

    fn free_bytes(&self, _path: &Path) -> Option<u64> {
        self.0.lock().unwrap().free
    }
}

impl DiskFile for FaultyFile {
    /// Fails with half of it written.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.0.turn(Op::Write) {
            self.1.write_at(offset, &bytes[..bytes.len() / 2])?;
            return Err(error);
        }
        self.1.write_at(offset, bytes)
    }

    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        self.0.turn(Op::Truncate)?;
        self.1.truncate(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.turn(Op::Sync)
    }
}

fn faulty(folder: &Path, options: LogOptions) -> (FileLog, FaultyDisk) {
    let disk = FaultyDisk::default();
    let opened = FileLog::open_on(Arc::new(disk.clone()), folder, ID, Version::ZERO, options);
    disk.arm(&[]);
    (opened.unwrap().0, disk)
}

fn first(op: Op) -> Failing {
    Failing { op, turns: 1..2 }
}

#[test]
fn a_group_is_written_once_and_synced_once() {
    let folder = new();
    let (mut log, disk) = faulty(folder.path(), LogOptions::default());
    log.append(&[entry(1, b"x"), entry(2, b"y"), entry(3, b"z")]).unwrap();
    assert_eq!(disk.done(), [Op::Write, Op::Sync]);
}

/// A failed sync can leave what was written in the system's memory alone, marked as if it were on disk: found by the
/// simulation (seeds 7, 11, 52), which then lost its power.
#[test]
fn what_may_never_have_reached_the_disk_is_written_again_before_it_is_shown() {
    let folder = new();
    let (mut log, disk) = faulty(folder.path(), LogOptions::default());
    log.append(&[entry(1, b"kept")]).unwrap();
    disk.arm(&[first(Op::Sync)]);
    assert!(matches!(log.append(&[entry(2, b"unsure")]), Err(AppendError::Unknown { .. })));
    let before = fs::read(segment(folder.path(), 1)).unwrap();
    drop(log);
    disk.arm(&[]);
    let opened = FileLog::open_on(Arc::new(disk.clone()), folder.path(), ID, v(1), LogOptions::default());
    assert_eq!(entries(&opened.unwrap().0, v(1)), [entry(2, b"unsure")]);
    assert_eq!(disk.done(), [Op::Write, Op::Truncate, Op::Sync, Op::SyncFolder]);
    assert_eq!(fs::read(segment(folder.path(), 1)).unwrap(), before);
}

#[test]
fn a_new_segment_is_durable_before_its_first_group_is_written() {
    let folder = new();
    let (mut log, disk) = faulty(folder.path(), small());
    log.append(&[entry(1, &[0; 90])]).unwrap();
    disk.arm(&[]);
    log.append(&[entry(2, &[0; 90])]).unwrap();
    let (head, group) = ([Op::Create, Op::Write, Op::Sync, Op::Rename, Op::SyncFolder], [Op::Write, Op::Sync]);
    assert_eq!(disk.done(), [&head[..], &group[..]].concat());
}

#[test]
fn a_segment_that_may_have_a_successor_takes_nothing_more() {
    let folder = new();
    let (mut log, disk) = faulty(folder.path(), small());
    log.append(&[entry(1, &[0; 40])]).unwrap();
    disk.arm(&[first(Op::Rename)]);
    let error = log.append(&[entry(2, &[0; 40])]).unwrap_err();
    assert!(matches!(error, AppendError::NotApplied { .. }), "{error}");
    // This one would have room where the first is, but the next segment says that the first was the last there.
    log.append(&[entry(3, b"")]).unwrap();
    drop(log);
    let (log, recovered) = open(folder.path(), v(3), small()).unwrap();
    assert_eq!(recovered.segments, 2);
    assert_eq!(entries(&log, v(1)), [entry(3, b"")]);
}

#[test]
fn a_failed_write_is_taken_back_and_may_be_tried_again() {
    let folder = new();
    let (mut log, disk) = faulty(folder.path(), LogOptions::default());
    log.append(&[entry(1, b"x")]).unwrap();
    disk.arm(&[Failing { op: Op::Write, turns: 1..4 }]);
    for _ in 0..3 {
        let before = log.size_bytes();
        let error = log.append(&[entry(2, b"does not fit")]).unwrap_err();
        assert!(matches!(error, AppendError::NotApplied { .. }), "{error}");
        assert_eq!(fs::metadata(segment(folder.path(), 1)).unwrap().len(), before);
        assert_eq!((log.last(), log.read_only()), (v(1), None));
    }
    log.append(&[entry(3, b"fits")]).unwrap();
    assert_eq!(entries(&log, Version::ZERO), [entry(1, b"x"), entry(3, b"fits")]);
}

#[test]
fn when_nothing_can_be_taken_back_or_synced_the_log_is_read_only_until_opened_again() {
    for faults in
        [vec![first(Op::Sync)], vec![first(Op::Write), first(Op::Truncate)], vec![first(Op::Write), first(Op::Sync)]]
    {
        let folder = new();
        let (mut log, disk) = faulty(folder.path(), LogOptions::default());
        log.append(&[entry(1, b"x")]).unwrap();
        disk.arm(&faults);
        let error = log.append(&[entry(2, b"lost?")]).unwrap_err();
        assert!(matches!(error, AppendError::Unknown { .. }), "{faults:?}: {error}");
        disk.arm(&[]);
        let error = log.append(&[entry(3, b"z")]).unwrap_err();
        assert!(matches!(error, AppendError::ReadOnly { .. }), "{faults:?}: {error}");
        assert!(log.read_only().is_some());
        assert_eq!(disk.done(), []);
        // Reading goes on, and shows only what was durable.
        assert_eq!(entries(&log, Version::ZERO), [entry(1, b"x")]);
        let (mut log, _) = open(folder.path(), v(1), LogOptions::default()).unwrap();
        log.append(&[entry(9, b"z")]).unwrap();
    }
}

/// Appends ten groups over several segments, trying once more what was not applied. Answers the acknowledged entries, and the
/// one of which nothing is known.
fn work(log: &mut FileLog) -> (Vec<Entry>, Option<Entry>) {
    let (mut acknowledged, mut unknown) = (Vec::new(), None);
    for version in 1..=10 {
        for attempt in 0..2 {
            let entry = entry(version * 10 + attempt, &[version as u8; 30]);
            match log.append(std::slice::from_ref(&entry)) {
                Ok(()) => {
                    assert_eq!(unknown, None, "nothing is written behind an unknown group");
                    acknowledged.push(entry);
                    break;
                }
                Err(AppendError::NotApplied { .. }) => assert_eq!(unknown, None),
                Err(AppendError::Unknown { .. }) => assert_eq!(unknown.replace(entry), None),
                Err(AppendError::ReadOnly { .. }) => assert!(unknown.is_some()),
                Err(error) => panic!("{error}"),
            }
        }
    }
    (acknowledged, unknown)
}

#[test]
fn whatever_fails_whenever_the_acknowledged_is_there_and_the_refused_is_not() {
    let folder = new();
    let (mut log, disk) = faulty(folder.path(), small());
    work(&mut log);
    let undisturbed = disk.done();
    let mut cases = Vec::new();
    for op in [Op::Create, Op::Write, Op::Truncate, Op::Sync, Op::Rename, Op::SyncFolder] {
        let turns = undisturbed.iter().filter(|done| **done == op).count() + 2;
        for turn in 1..turns {
            cases.push(vec![Failing { op, turns: turn..turn + 1 }]);
            cases.push(vec![Failing { op, turns: turn..usize::MAX }]);
            // With a write that fails, the way back may fail as well.
            for back in [Op::Truncate, Op::Sync] {
                for turns in [1..2, turn..usize::MAX] {
                    cases.push(vec![Failing { op, turns: turn..turn + 1 }, Failing { op: back, turns }]);
                }
            }
        }
    }
    let (mut with_unknown, mut all_there) = (0, 0);
    for faults in cases {
        let folder = new();
        let (mut log, disk) = faulty(folder.path(), small());
        disk.arm(&faults);
        let (acknowledged, unknown) = work(&mut log);
        assert_eq!(entries(&log, Version::ZERO), acknowledged, "{faults:?}");
        drop(log);

        let known = acknowledged.last().map_or(Version::ZERO, |entry| entry.version);
        let (mut log, _) = open(folder.path(), known, small()).unwrap_or_else(|error| panic!("{faults:?}: {error}"));
        let found = entries(&log, Version::ZERO);
        let (sure, maybe) = found.split_at(acknowledged.len());
        assert_eq!(sure, acknowledged, "{faults:?}");
        assert!(maybe.is_empty() || maybe == unknown.as_slice(), "{faults:?}: {maybe:?}");
        log.append(&[entry(1_000, b"and on")]).unwrap();
        with_unknown += usize::from(unknown.is_some());
        all_there += usize::from(acknowledged.len() == 10);
    }
    assert!(with_unknown > 20 && all_there > 20, "{with_unknown} {all_there}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn what_is_appended_is_what_is_replayed(
        groups in prop::collection::vec(
            (prop::collection::vec((1..50u64, any::<u8>(), 0..300usize), 0..6), prop::bool::weighted(0.15)),
            1..40,
        ),
        segment_bytes_first in 50..2_000u64,
        doublings in 0..4u32,
        check in prop::sample::select(&[Check::Whole, Check::Tail][..]),
        after in 0..4_000u64,
    ) {
        let segment_bytes_max = segment_bytes_first << doublings;
        let options = LogOptions { check, segment_bytes_first, segment_bytes_max, ..LogOptions::default() };
        let folder = new();
        let (mut log, _) = open(folder.path(), Version::ZERO, options.clone()).unwrap();
        let mut want: Vec<Entry> = Vec::new();
        let mut last = Version::ZERO;
        for (parts, reopen) in groups {
            let group: Vec<Entry> = parts.into_iter().map(|(step, kind, bytes)| {
                last = v(last.micros() + step);
                Entry { version: last, kind, body: vec![kind; bytes] }
            }).collect();
            log.append(&group).unwrap();
            want.extend(group);
            prop_assert_eq!(log.last(), last);
            if reopen {
                drop(log);
                let (opened, recovered) = open(folder.path(), last, options.clone()).unwrap();
                prop_assert_eq!((recovered.last, recovered.cut_bytes), (last, 0));
                prop_assert_eq!(recovered.bytes, opened.size_bytes());
                log = opened;
            }
        }
        want.retain(|entry| entry.version > v(after));
        prop_assert_eq!(entries(&log, v(after)), want);
    }
}

#[test]
fn a_group_that_would_fill_the_disk_is_not_written_and_the_next_is_when_there_is_space() {
    let folder = new();
    let disk = FaultyDisk::default();
    let options = LogOptions { free_bytes_min: 1_000, ..LogOptions::default() };
    let (mut log, _) = FileLog::open_on(Arc::new(disk.clone()), folder.path(), ID, Version::ZERO, options).unwrap();
    disk.0.lock().unwrap().free = Some(1_010);
    expect!["the commit log could not be written: only 1010 bytes are free on the disk, and 1000 are to be left: make space; nothing of it was kept"]
        .assert_eq(&log.append(&[entry(1, b"")]).unwrap_err().to_string());
    disk.0.lock().unwrap().free = Some(1_013);
    log.append(&[entry(1, b"")]).unwrap();
    disk.0.lock().unwrap().free = None;
    log.append(&[entry(2, b"")]).unwrap();
    assert!(RealDisk.free_bytes(folder.path()).is_some_and(|bytes| bytes > 0));
}

#[test]
fn a_log_knows_its_own_versions() {
    let (_folder, mut log, starts) = with_segments();
    let held = |log: &FileLog| -> Vec<u64> { (0..60).filter(|version| log.holds(v(*version)).unwrap()).collect() };
    log.append(&[entry(45, b""), entry(47, b"")]).unwrap();
    log.append(&[entry(50, b"")]).unwrap();
    let behind = [45, 47, 50];
    assert_eq!(held(&log), (0..40).chain(behind).collect::<Vec<_>>());
    log.drop_before(starts[2]).unwrap();
    assert_eq!(held(&log), (starts[2].micros()..40).chain(behind).collect::<Vec<_>>());
}

// What is dropped.

#[test]
fn what_is_dropped_are_whole_segments_and_the_log_goes_on() {
    let (folder, mut log, starts) = with_segments();
    let bytes = log.size_bytes();
    assert_eq!(log.drop_before(starts[1]).unwrap() + log.size_bytes(), bytes);
    assert_eq!(log.start(), starts[1]);
    // What lies inside a segment keeps it.
    assert_eq!(log.drop_before(v(starts[2].micros() - 1)).unwrap(), 0);
    log.drop_before(starts[3]).unwrap();
    assert_eq!(log.start(), starts[3]);
    log.append(&[entry(50, b"behind")]).unwrap();
    let first = starts[3].micros() + 1;
    let rest: Vec<_> = (first..40).chain([50]).collect();
    let versions =
        |log: &FileLog, after| -> Vec<u64> { entries(log, after).iter().map(|entry| entry.version.micros()).collect() };
    assert_eq!(versions(&log, starts[3]), rest);
    for check in [Check::Whole, Check::Tail] {
        let options = LogOptions { check, ..covered(starts[3]) };
        let (log, recovered) = open(folder.path(), v(50), options).unwrap();
        assert_eq!((recovered.last, recovered.bytes), (v(50), log.size_bytes()));
        assert_eq!(log.start(), starts[3]);
        assert_eq!(versions(&log, starts[3]), rest);
        assert_eq!(versions(&log, v(45)), [50]);
    }
    assert_eq!((log.bytes_above(v(50)), log.bytes_above(Version::ZERO)), (0, log.size_bytes()));
    assert!(log.bytes_above(v(45)) < log.size_bytes());
    // Never the last segment, however much is covered.
    let (mut log, _) = open(folder.path(), v(50), covered(v(50))).unwrap();
    log.drop_before(Version::MAX).unwrap();
    assert_eq!((versions(&log, log.start()).last(), log.last()), (Some(&50), v(50)));
    log.append(&[entry(51, b"behind")]).unwrap();
}

#[test]
fn a_log_of_which_the_beginning_is_held_nowhere_is_refused() {
    let (folder, mut log, starts) = with_segments();
    log.drop_before(starts[3]).unwrap();
    drop(log);
    expect![[r#"
        the commit log is damaged: LOG: the log begins behind version 12, and nothing else holds what lies before;
        nothing before it is known to be whole;
        nothing was changed: keep a copy of the folder, then bring back the file, or restore a backup into another directory with `hearth restore BACKUP --data DIR`
    "#]]
    .assert_eq(&refusal(folder.path(), v(1), small()));
    expect![[r#"
        the commit log is damaged: LOG: the log begins behind version 12, and what lies before is held elsewhere only up to version 11;
        nothing before it is known to be whole;
        nothing was changed: keep a copy of the folder, then bring back the file, or restore a backup into another directory with `hearth restore BACKUP --data DIR`
    "#]]
    .assert_eq(&refusal(folder.path(), v(1), covered(v(starts[3].micros() - 1))));
    let (log, _) = open(folder.path(), v(1), covered(starts[3])).unwrap();
    let replayed = log.replay(v(1), &mut |_| Ok(()));
    assert!(matches!(replayed, Err(ReplayError::Log(LogError::Damaged(Damage { fault: Fault::Dropped { .. }, .. })))));
    // A hole behind the beginning is damage whatever is covered.
    fs::remove_file(segment(folder.path(), 5)).unwrap();
    assert!(matches!(
        open(folder.path(), v(1), covered(v(39))),
        Err(LogError::Damaged(Damage { fault: Fault::SegmentMissing { segment: 5 }, .. }))
    ));
}

#[test]
fn a_log_that_is_only_read_is_not_changed() {
    let (folder, ends) = with_groups(&three_groups());
    let path = segment(folder.path(), 1);
    let torn = fs::read(&path).unwrap()[..ends[3] as usize - 1].to_vec();
    fs::write(&path, &torn).unwrap();
    fs::write(folder.path().join(super::segment::name_new(2)), b"unfinished").unwrap();
    let (mut log, recovered) = FileLog::open_to_read(folder.path(), ID, v(5), LogOptions::default()).unwrap();
    assert_eq!((recovered.last, recovered.cut_bytes), (v(5), ends[3] - 1 - ends[2]));
    assert_eq!(entries(&log, Version::ZERO).len(), 3);
    assert!(matches!(log.append(&[entry(6, b"")]), Err(AppendError::Closed)));
    assert_eq!(fs::read(&path).unwrap(), torn);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_crash_while_segments_are_dropped_loses_nothing_that_is_kept(fails_at in 0..12usize, upto in 0..45u64) {
        let (folder, log, _) = with_segments();
        let want: Vec<_> = entries(&log, v(upto)).iter().map(|entry| entry.version).collect();
        drop(log);
        let disk = FaultyDisk::default();
        disk.arm(&[Failing { op: Op::SyncFolder, turns: fails_at..fails_at + 1 }]);
        if let Ok((mut log, _)) = FileLog::open_on(Arc::new(disk), folder.path(), ID, v(39), small()) {
            let _ = log.drop_before(v(upto));
        }
        let (log, _) = open(folder.path(), v(39), covered(v(upto.min(39)))).unwrap();
        let found: Vec<_> = entries(&log, v(upto).max(log.start())).iter().map(|entry| entry.version).collect();
        prop_assert_eq!(found, want);
    }
}
