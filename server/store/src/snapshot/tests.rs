//! What a snapshot promises: it reads back, it is there whole or not at all, and no changed byte is believed.

use std::fs;

use expect_test::expect;
use proptest::prelude::*;

use super::*;

const ID: DatabaseId = DatabaseId([7; 16]);

fn head(version: u64) -> SnapshotHead {
    let version = Version::from_micros(version);
    SnapshotHead { database: ID, epoch: 42, version, history_start: Version::from_micros(3) }
}

fn new() -> (tempfile::TempDir, Snapshots) {
    let folder = tempfile::tempdir().unwrap();
    let snapshots = Snapshots::new(folder.path().join("snapshots"), ID);
    (folder, snapshots)
}

fn record(section: u8, key: &[u8], value: &[u8]) -> SnapshotRecord {
    SnapshotRecord { section, key: key.to_vec(), value: value.to_vec() }
}

fn write(snapshots: &Snapshots, version: u64, records: &[SnapshotRecord]) -> SnapshotSize {
    let mut writer = snapshots.begin(head(version)).unwrap();
    for record in records {
        writer.put(record.section, &record.key, &record.value).unwrap();
    }
    writer.finish().unwrap()
}

fn read(snapshots: &Snapshots, version: u64) -> Result<Vec<SnapshotRecord>, SnapshotError> {
    let mut reader = snapshots.read(Version::from_micros(version))?;
    let mut records = Vec::new();
    while let Some(record) = reader.next_record()? {
        records.push(record);
    }
    Ok(records)
}

#[test]
fn the_bytes_of_a_snapshot_are_these_and_stay_these() {
    let (_folder, snapshots) = new();
    write(&snapshots, 1000, &[record(1, b"key", b"value"), record(2, b"", b"")]);
    let bytes = fs::read(snapshots.path(Version::from_micros(1000))).unwrap();
    let hex = |row: &[u8]| row.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n";
    // What zstd makes of a block may change with its version, and any of its frames is read; all else is ours.
    expect![[r#"
        484541525448534e0100000000000000
        07070707070707070707070707070707
        2a00000000000000e803000000000000
        03000000000000000d674783424c434b
        01000000100000001900000001000000
        920e74592b98a99d28b52ffd20108100
        0003000000050000006b657976616c75
        65424c434b0200000008000000110000
        000100000067018fdc7c18859f28b52f
        fd20084100000000000000000000424c
        434b0000000010000000100000000000
        0000c7a336f59dcdda9d020000000000
        00000200000000000000
    "#]]
    .assert_eq(&bytes.chunks(16).map(hex).collect::<String>());
}

#[test]
fn what_is_written_reads_back_in_order_however_large() {
    let (_folder, snapshots) = new();
    let noise: Vec<u8> = (0..3 * BLOCK_BYTES).map(|n| (n * n / 7) as u8).collect();
    let mut records = vec![record(1, b"large", &noise)];
    records.extend((0..9_000_u32).map(|n| record(1 + (n / 6_000) as u8, &n.to_be_bytes(), &[n as u8; 90])));
    let size = write(&snapshots, 5, &records);
    assert_eq!(read(&snapshots, 5).unwrap(), records);
    assert_eq!(snapshots.verify(Version::from_micros(5)).unwrap(), (head(5), size));
    assert_eq!(size.records, records.len() as u64);
    assert_eq!(size.bytes, fs::metadata(snapshots.path(Version::from_micros(5))).unwrap().len());
}

#[test]
fn one_that_is_given_up_or_killed_is_never_a_snapshot() {
    let (_folder, snapshots) = new();
    assert_eq!(snapshots.list().unwrap(), []);
    let mut given_up = snapshots.begin(head(5)).unwrap();
    given_up.put(1, b"k", b"v").unwrap();
    drop(given_up);
    assert_eq!(fs::read_dir(snapshots.folder()).unwrap().count(), 0);
    let mut killed = snapshots.begin(head(6)).unwrap();
    killed.put(1, b"k", b"v").unwrap();
    std::mem::forget(killed);
    write(&snapshots, 4, &[]);
    fs::write(snapshots.folder().join("12.snap"), b"somebody else's").unwrap();
    assert_eq!(snapshots.list().unwrap(), [Version::from_micros(4)]);
    snapshots.remove_unfinished().unwrap();
    assert_eq!(fs::read_dir(snapshots.folder()).unwrap().count(), 2);
    snapshots.remove(Version::from_micros(4)).unwrap();
    assert_eq!(snapshots.list().unwrap(), []);
}

#[test]
fn one_that_would_fill_the_disk_is_given_up() {
    let (_folder, snapshots) = new();
    let snapshots = snapshots.leaving_free(u64::MAX - (1 << 40));
    let told = snapshots.begin(head(5)).err().unwrap().to_string();
    assert!(told.contains("bytes are free on the disk, and 18446742974197923839 are to be left"), "{told}");
    assert_eq!(fs::read_dir(snapshots.folder()).unwrap().count(), 0);
}

#[test]
fn a_snapshot_of_elsewhere_is_refused() {
    let (_folder, snapshots) = new();
    write(&snapshots, 5, &[record(1, b"k", b"v")]);
    fs::rename(snapshots.path(Version::from_micros(5)), snapshots.path(Version::from_micros(6))).unwrap();
    let told = |error: SnapshotError| error.to_string().split_once(".snap ").unwrap().1.to_string();
    expect!["is damaged at byte 0: it is of version 5 under the name of version 6"]
        .assert_eq(&told(read(&snapshots, 6).unwrap_err()));
    let others = Snapshots::new(snapshots.folder().to_path_buf(), DatabaseId([9; 16]));
    expect![[r#"
        is damaged at byte 0: it belongs to database 07070707070707070707070707070707, and this is 09090909090909090909090909090909"#]]
    .assert_eq(&told(read(&others, 6).unwrap_err()));
}

#[test]
fn a_byte_that_is_changed_cut_off_or_added_anywhere_is_noticed() {
    let (_folder, snapshots) = new();
    let records = [record(1, b"key", &[b'x'; 100]), record(2, b"other", b"value")];
    write(&snapshots, 5, &records);
    let version = Version::from_micros(5);
    let whole = fs::read(snapshots.path(version)).unwrap();
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 0x10;
        fs::write(snapshots.path(version), &changed).unwrap();
        assert!(read(&snapshots, 5).is_err() && snapshots.verify(version).is_err(), "byte {at}");
        fs::write(snapshots.path(version), &whole[..at]).unwrap();
        assert!(read(&snapshots, 5).is_err() && snapshots.verify(version).is_err(), "cut at {at}");
    }
    fs::write(snapshots.path(version), [whole.as_slice(), b"x"].concat()).unwrap();
    assert!(read(&snapshots, 5).is_err());
    // Blocks that were put in another order are whole each, and wrong.
    let second = HEAD_BYTES + BLOCK_HEAD_BYTES + u32_at(&whole, HEAD_BYTES + 12) as usize;
    let third = second + BLOCK_HEAD_BYTES + u32_at(&whole, second + 12) as usize;
    let swapped = [&whole[..HEAD_BYTES], &whole[second..third], &whole[HEAD_BYTES..second], &whole[third..]].concat();
    fs::write(snapshots.path(version), swapped).unwrap();
    assert!(read(&snapshots, 5).is_err());
    fs::write(snapshots.path(version), &whole).unwrap();
    assert_eq!(read(&snapshots, 5).unwrap(), records);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), behind_a_head in any::<bool>()) {
        let (_folder, snapshots) = new();
        fs::create_dir_all(snapshots.folder()).unwrap();
        let start = if behind_a_head { encode_head(&head(5)).to_vec() } else { Vec::new() };
        fs::write(snapshots.path(Version::from_micros(5)), [start, bytes].concat()).unwrap();
        prop_assert!(read(&snapshots, 5).is_err());
    }
}
