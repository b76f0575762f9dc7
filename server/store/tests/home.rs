//! The data directory: taken once, never mistaken for an empty one, and its state trusted only where nothing was lost.

use std::fs;
use std::path::Path;

use expect_test::{Expect, expect};
use hearth_core::Version;
use hearth_store::{
    Batch, CommitLog, DatabaseId, Entry, Home, HomeError, HomeOptions, LogOptions, Sled, SledOptions, StateFound, Store,
};

fn options(boot_id: &str) -> HomeOptions {
    let boot_id = Some(boot_id.to_string()).filter(|id| !id.is_empty());
    HomeOptions { id_if_new: [7; 16], boot_id }
}

fn open(folder: &Path) -> Result<Home, HomeError> {
    Home::open(folder, options("boot one"))
}

fn refused(folder: &Path, want: Expect) {
    let before = listing(folder);
    let error = open(folder).map(|home| home.databases()).unwrap_err();
    want.assert_eq(&said(folder, &error));
    assert_eq!(listing(folder), before, "a refusal changes nothing");
}

fn said(folder: &Path, error: &HomeError) -> String {
    let text = error.to_string().replace(&folder.display().to_string(), "HOME");
    text.replace(&std::process::id().to_string(), "THIS").replace("; ", ";\n") + "\n"
}

/// Every file under a folder with its contents; the lock is nobody's content.
fn listing(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(listing(&path)),
            false if path.ends_with("LOCK") => {}
            false => found.push((path.display().to_string(), fs::read(&path).unwrap())),
        }
    }
    found.sort();
    found
}

fn create(home: &Home, project: &str) -> hearth_store::DatabaseRecord {
    home.create_database(project, "(default)", DatabaseId([project.len() as u8; 16]), 42).unwrap()
}

fn append(home: &Home, number: u32, version: u64) {
    let (mut log, _) = home.open_log(number, Version::ZERO, LogOptions::default()).unwrap();
    log.append(&[Entry { version: Version::from_micros(version), kind: 1, body: b"x".to_vec() }]).unwrap();
}

/// What the last process has left: a state that was written to.
fn use_state(home: &Home) {
    let store = Sled::open(&home.state_dir(), &SledOptions::default()).unwrap().store;
    let mut batch = Batch::new();
    batch.put(b"applied", b"1".to_vec());
    store.apply(batch).unwrap();
    store.close().unwrap();
}

fn has_state(home: &Home) -> bool {
    home.state_dir().exists()
}

#[test]
fn a_missing_or_empty_directory_is_made_and_found_again() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().to_path_buf(), folder.path().join("deep/inside")] {
        let home = open(&path).unwrap();
        assert_eq!(home.databases(), []);
        assert_eq!(home.default_project(), None);
        assert_eq!(home.state_found(), StateFound::Absent);
        drop(home);
        let again = Home::open(&path, HomeOptions { id_if_new: [9; 16], boot_id: None }).unwrap();
        assert_eq!(again.id(), [7; 16]);
        drop(again);
        fs::remove_dir_all(&path).unwrap();
    }
}

#[test]
fn databases_and_the_default_project_are_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let home = open(folder.path()).unwrap();
    let (a, bb) = (create(&home, "a"), create(&home, "bb"));
    assert_eq!((a.number, bb.number, a.epoch), (1, 2, 42));
    let error = home.create_database("a", "(default)", DatabaseId([3; 16]), 1).unwrap_err();
    assert!(matches!(error, HomeError::Exists { .. }), "{error}");
    home.set_default_project("bb").unwrap();
    home.set_epoch(2, 43).unwrap();
    assert!(matches!(home.set_epoch(3, 1), Err(HomeError::NoDatabase { number: 3 })));
    assert!(matches!(home.log_dir(3), Err(HomeError::NoDatabase { number: 3 })));
    append(&home, 2, 100);
    drop(home);

    let home = open(folder.path()).unwrap();
    let bb = hearth_store::DatabaseRecord { epoch: 43, ..bb };
    assert_eq!(home.databases(), [a, bb.clone()]);
    assert_eq!(home.database("bb", "(default)"), Some(bb));
    assert_eq!(home.database("bb", "other"), None);
    assert_eq!(home.default_project().as_deref(), Some("bb"));
    let (log, recovered) = home.open_log(2, Version::ZERO, LogOptions::default()).unwrap();
    assert_eq!((log.last().micros(), recovered.cut_bytes), (100, 0));
}

#[test]
fn a_folder_that_a_crash_has_left_of_a_database_is_never_used_again() {
    let folder = tempfile::tempdir().unwrap();
    let home = open(folder.path()).unwrap();
    fs::create_dir_all(folder.path().join("db/8/log")).unwrap();
    assert_eq!(create(&home, "a").number, 9);
}

#[test]
fn a_directory_is_held_by_one_process_until_it_lets_go() {
    let folder = tempfile::tempdir().unwrap();
    let home = open(folder.path()).unwrap();
    refused(
        folder.path(),
        expect![[r#"
            the data directory HOME is in use by another hearth (process THIS);
            nothing was changed: stop that one, or give this one another directory
        "#]],
    );
    drop(home);
    open(folder.path()).unwrap();
}

#[test]
fn somebody_elses_folder_is_refused_and_left_untouched() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("thesis.txt"), b"mine").unwrap();
    refused(
        folder.path(),
        expect![[r#"
            HOME holds "thesis.txt" but no CREATED file, so it is no data directory of hearth;
            nothing was changed: give a new or an empty directory, or bring the CREATED file back if it was lost
        "#]],
    );
    assert!(!folder.path().join("LOCK").exists());
}

#[test]
fn a_directory_whose_making_was_cut_short_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("lost+found")).unwrap();
    drop(open(folder.path()).unwrap());
    for left in [&["LOCK"][..], &["LOCK", "catalog"], &["LOCK", "catalog", "CREATED.new"], &["LOCK", "catalog.new"]] {
        let again = tempfile::tempdir().unwrap();
        for name in left {
            match *name {
                "catalog" => drop(fs::copy(folder.path().join(name), again.path().join(name)).unwrap() > 0),
                name => fs::write(again.path().join(name), b"half").unwrap(),
            }
        }
        open(again.path()).unwrap_or_else(|error| panic!("{left:?}: {error}"));
    }
}

#[test]
fn a_directory_with_databases_that_lost_its_marker_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    create(&open(folder.path()).unwrap(), "a");
    fs::remove_file(folder.path().join("CREATED")).unwrap();
    let error = open(folder.path()).unwrap_err();
    assert!(matches!(error, HomeError::NotOurs { .. }), "{error}");
    // Even where nothing but the catalog is left.
    fs::remove_dir_all(folder.path().join("db")).unwrap();
    fs::remove_file(folder.path().join("RUNNING")).unwrap();
    let error = open(folder.path()).unwrap_err();
    assert!(matches!(error, HomeError::NotOurs { .. }), "{error}");
}

#[test]
fn a_catalog_that_is_gone_damaged_or_newer_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    create(&open(folder.path()).unwrap(), "a");
    let path = folder.path().join("catalog");
    let whole = fs::read_to_string(&path).unwrap();
    fs::write(&path, whole.replace("(default)", "(default]")).unwrap();
    refused(
        folder.path(),
        expect![[r#"
            HOME/catalog is damaged;
            nothing was changed and nothing is served: bring it back, or restore a backup into another directory with `hearth restore BACKUP --data DIR`
        "#]],
    );
    fs::write(&path, whole.replace("hearth catalog 1", "hearth catalog 2")).unwrap();
    refused(
        folder.path(),
        expect![[r#"
            HOME/catalog has format 2, and this hearth reads format 1;
            nothing was changed: use the hearth that wrote it, or a newer one
        "#]],
    );
    fs::remove_file(&path).unwrap();
    refused(
        folder.path(),
        expect![[r#"
            HOME/catalog is missing, though HOME/CREATED says that it was made;
            nothing was changed and nothing is served: bring it back (is its disk mounted?), or restore a backup into another directory with `hearth restore BACKUP --data DIR`
        "#]],
    );
}

#[test]
fn a_directory_of_another_format_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()).unwrap());
    fs::write(folder.path().join("CREATED"), "hearth home 9\nwhatever that means\n").unwrap();
    refused(
        folder.path(),
        expect![[r#"
            HOME/CREATED has format 9, and this hearth reads format 1;
            nothing was changed: use the hearth that wrote it, or a newer one
        "#]],
    );
}

#[test]
fn a_database_whose_log_is_gone_or_anothers_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let home = open(folder.path()).unwrap();
    create(&home, "a");
    create(&home, "bb");
    let at = |name: &str| folder.path().join(name);
    let check = |want: Expect| {
        let error = home.open_log(1, Version::ZERO, LogOptions::default()).map(|(log, _)| log.last()).unwrap_err();
        want.assert_eq(&said(folder.path(), &error));
    };
    fs::remove_file(at("db/1/log/0000000001.seg")).unwrap();
    check(expect![[r#"
        HOME/db/1/log is missing, though HOME/db/1/CREATED says that it was made;
        nothing was changed and nothing is served: bring it back (is its disk mounted?), or restore a backup into another directory with `hearth restore BACKUP --data DIR`
    "#]]);
    fs::remove_dir(at("db/1/log")).unwrap();
    check(expect![[r#"
        HOME/db/1/log is missing, though HOME/db/1/CREATED says that it was made;
        nothing was changed and nothing is served: bring it back (is its disk mounted?), or restore a backup into another directory with `hearth restore BACKUP --data DIR`
    "#]]);
    fs::remove_dir_all(at("db/1")).unwrap();
    check(expect![[r#"
        HOME/db/1/CREATED is missing, though HOME/catalog says that it was made;
        nothing was changed and nothing is served: bring it back (is its disk mounted?), or restore a backup into another directory with `hearth restore BACKUP --data DIR`
    "#]]);
    fs::rename(at("db/2"), at("db/1")).unwrap();
    check(expect![[r#"
        HOME/db/1/CREATED belongs to another database than the catalog says (02020202020202020202020202020202 instead of 01010101010101010101010101010101);
        nothing was changed: put the folders of this data directory back as they were
    "#]]);
}

#[test]
fn a_log_that_ends_before_what_a_clean_stop_has_noted_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let home = open(folder.path()).unwrap();
    create(&home, "a");
    create(&home, "bb");
    let before = listing(&folder.path().join("db/1"));
    append(&home, 1, 100);
    append(&home, 2, 200);
    home.mark_clean(&[(1, Version::from_micros(100)), (2, Version::from_micros(200))]).unwrap();
    drop(home);
    for (path, bytes) in before {
        fs::write(path, bytes).unwrap();
    }
    let home = open(folder.path()).unwrap();
    assert_eq!(home.clean_version(1).micros(), 100);
    let error = home.open_log(1, Version::ZERO, LogOptions::default()).map(|(log, _)| log.last()).unwrap_err();
    assert!(error.to_string().contains("ends with version 0, but version 100 was durable"), "{error}");
    home.open_log(2, Version::ZERO, LogOptions::default()).unwrap();
}

#[test]
fn a_clean_stop_notes_databases_that_were_not_opened_again_too() {
    let folder = tempfile::tempdir().unwrap();
    let home = open(folder.path()).unwrap();
    home.mark_clean(&[(1, Version::from_micros(100)), (2, Version::from_micros(200))]).unwrap();
    drop(home);
    let home = open(folder.path()).unwrap();
    home.mark_clean(&[(2, Version::from_micros(300))]).unwrap();
    drop(home);
    let home = open(folder.path()).unwrap();
    assert_eq!((home.clean_version(1).micros(), home.clean_version(2).micros()), (100, 300));
}

#[test]
fn the_state_is_trusted_after_a_clean_stop_or_within_one_boot_and_removed_otherwise() {
    use StateFound::{CleanStop, RemovedAfterRestart, RemovedAsUnknown, SameBoot};
    // Whether the stop was clean, the boot before and the boot after.
    let cases = [
        (true, "one", "one", CleanStop),
        (true, "one", "two", CleanStop),
        (true, "", "", CleanStop),
        (false, "one", "one", SameBoot),
        (false, "one", "two", RemovedAfterRestart),
        (false, "one", "", RemovedAsUnknown),
        (false, "", "one", RemovedAsUnknown),
        (false, "", "", RemovedAsUnknown),
    ];
    for (is_clean, before, after, want) in cases {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(folder.path(), options(before)).unwrap();
        use_state(&home);
        if is_clean {
            home.mark_clean(&[]).unwrap();
        }
        drop(home);
        let home = Home::open(folder.path(), options(after)).unwrap();
        assert_eq!(home.state_found(), want, "{is_clean} {before:?} {after:?}");
        assert_eq!(home.trusts_state(), has_state(&home));
        assert_eq!(home.trusts_state(), matches!(want, CleanStop | SameBoot));
    }
}

#[test]
fn a_clean_stop_counts_for_one_start_only() {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::open(folder.path(), options("one")).unwrap();
    use_state(&home);
    home.mark_clean(&[]).unwrap();
    drop(home);
    assert!(Home::open(folder.path(), options("two")).unwrap().trusts_state());
    assert!(Home::open(folder.path(), options("two")).unwrap().trusts_state());
    assert!(!Home::open(folder.path(), options("three")).unwrap().trusts_state());
}

#[test]
fn a_damaged_note_of_a_clean_stop_or_of_the_boot_counts_as_none() {
    for name in ["CLEAN", "RUNNING"] {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(folder.path(), options("one")).unwrap();
        use_state(&home);
        if name == "CLEAN" {
            home.mark_clean(&[]).unwrap();
        }
        drop(home);
        fs::write(folder.path().join(name), b"hearth clean 1\nnonsense\n").unwrap();
        let boot = if name == "CLEAN" { "two" } else { "one" };
        let home = Home::open(folder.path(), options(boot)).unwrap();
        assert!(!home.trusts_state(), "{name}");
        assert!(!folder.path().join("CLEAN").exists());
    }
}

#[test]
fn a_directory_that_is_looked_at_is_not_changed() {
    let folder = tempfile::tempdir().unwrap();
    expect!["there is no data directory at HOME;\nnothing was changed: name the one that is meant\n"]
        .assert_eq(&said(folder.path(), &Home::look_at(folder.path(), None).unwrap_err()));
    let home = open(folder.path()).unwrap();
    create(&home, "a");
    append(&home, 1, 100);
    use_state(&home);
    assert!(matches!(Home::look_at(folder.path(), None), Err(HomeError::InUse { .. })));
    drop(home);
    for (boot_id, want) in [
        (Some("boot one"), StateFound::SameBoot),
        (Some("boot two"), StateFound::RemovedAfterRestart),
        (None, StateFound::RemovedAsUnknown),
    ] {
        let before = listing(folder.path());
        let view = Home::look_at(folder.path(), boot_id).unwrap();
        assert_eq!((view.state_found(), view.databases().len()), (want, 1));
        let (log, _) = view.open_log(1, Version::ZERO, LogOptions::default()).unwrap();
        assert_eq!(log.last().micros(), 100);
        drop(view);
        assert_eq!(listing(folder.path()), before);
    }
    assert_eq!(open(folder.path()).unwrap().state_found(), StateFound::SameBoot);
}
