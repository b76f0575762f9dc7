//! What is left after crashes, wipes and clocks that leap: snapshots, rebuilding, and the log that is dropped behind them.

use std::fs;
use std::path::PathBuf;

use std::collections::BTreeMap;

use expect_test::{Expect, expect};
use hearth_store::{Direction, KeyRange, Store};
use proptest::prelude::*;

use super::*;
use crate::DatabaseError;

/// Snapshots whenever one is asked for, and every other limit as usual.
fn eager() -> Limits {
    Limits { snapshot_log_bytes_min: 1, ..Limits::default() }
}

fn start(folder: &Path, clock: &Arc<ManualClock>, limits: Limits) -> Engine {
    let home = Home::open(folder, HomeOptions { id_if_new: [7; 16], boot_id: Some("boot".into()) }).unwrap();
    Engine::start(Backing::Disk(Box::new(home)), options(limits), clock.clone()).unwrap().0
}

async fn stop(engine: Engine) {
    tokio::task::spawn_blocking(move || engine.close()).await.unwrap();
}

/// Ends an engine and takes its state away, as after a power loss.
async fn lose_state(engine: Engine, folder: &Path) {
    stop(engine).await;
    fs::remove_dir_all(folder.join("state")).unwrap();
}

async fn snapshot(database: &Database) -> Version {
    let database = database.clone();
    tokio::task::spawn_blocking(move || database.snapshot()).await.unwrap().unwrap().unwrap()
}

async fn maintain(database: &Database) {
    let database = database.clone();
    tokio::task::spawn_blocking(move || database.maintain()).await.unwrap().unwrap();
}

/// A round of the keeper, to its end.
async fn keep(database: &Database) {
    maintain(database).await;
    let database = database.clone();
    tokio::task::spawn_blocking(move || database.settle()).await.unwrap();
}

fn large(at: &str, n: i64) -> Write {
    let text = Value::text(&"x".repeat(200_000));
    let fields = Map::from([("n".into(), Value::Integer(n)), ("text".into(), text)]);
    Write::build(path(at), Operation::Set(fields), Precondition::None, vec![]).unwrap()
}

async fn listed(database: &Database) -> Vec<String> {
    let answer = database.query(&asked(database, rooms()), None).await.unwrap();
    answer.docs.iter().map(|doc| Shown::line(doc)).collect()
}

async fn grouped(database: &Database) -> usize {
    let group = QuerySpec::all(Source::Group { below: None, id: Id::parse("rooms").unwrap() });
    database.query(&asked(database, group), None).await.unwrap().docs.len()
}

fn files(folder: &Path, part: &str) -> Vec<PathBuf> {
    let mut found: Vec<_> =
        fs::read_dir(folder.join("db/1").join(part)).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

fn damage(file: &Path, bit: u8) {
    let mut bytes = fs::read(file).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1 << bit;
    fs::write(file, bytes).unwrap();
}

fn refusal(engine: &Engine, folder: &Path, want: Expect) {
    let error = match engine.database(&DatabaseName::parse("p", DatabaseName::DEFAULT).unwrap()) {
        Err(error @ (DatabaseError::Damaged { .. } | DatabaseError::ClockBehind { .. })) => error.to_string(),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was opened"),
    };
    want.assert_eq(&(error.replace(&folder.display().to_string(), "HOME").replace("; ", ";\n") + "\n"));
}

fn keyed(key: &str, writes: Vec<Write>) -> CommitRequest {
    CommitRequest { key: Some(RequestKey { key: key.into(), request: 1 }), writes, ..CommitRequest::default() }
}

#[tokio::test]
async fn a_state_that_is_lost_is_rebuilt_from_snapshot_and_log() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at(NOW));
    let engine = start(folder.path(), &clock, eager());
    let database = main_database(&engine);
    commit(&database, (0..500).map(|n| set(&format!("rooms/r{n:03}"), n)).collect()).await;
    let first = request(&database, keyed("k", vec![set("rooms/a", 1), delete("rooms/r007")])).await.unwrap();
    let version = snapshot(&database).await;
    assert_eq!(version, first);
    let token = database.query(&asked(&database, rooms()), None).await.unwrap().token;
    let last = commit(&database, vec![set("rooms/a", 2), set("rooms/r007", 7), delete("rooms/r008")]).await;
    let (want, epoch) = (listed(&database).await, database.epoch());
    drop(database);
    lose_state(engine, folder.path()).await;

    let engine = start(folder.path(), &clock, eager());
    let database = main_database(&engine);
    assert_eq!((listed(&database).await, database.visible(), database.epoch()), (want, last, epoch));
    assert_eq!((database.history_start(), grouped(&database).await), (version, 500));
    let repeated = database.authorize_commit(&Caller::Anonymous, keyed("k", vec![set("rooms/a", 1)])).unwrap();
    let repeated = database.commit(repeated).await.unwrap();
    assert_eq!((repeated.version, repeated.replayed), (first, true));
    let Opening::Since(event) = database.since(&asked(&database, rooms()), &token).await.unwrap() else {
        panic!("a token at the snapshot is honoured")
    };
    assert_eq!(event.event.changes.len(), 3);
    let before = Version::from_micros(version.micros() - 1);
    let forgotten = database.query(&asked(&database, rooms()), Some(before)).await;
    assert!(matches!(forgotten, Err(ReadError::Forgotten { .. })));
    assert!(engine.opening().is_empty());
}

#[tokio::test]
async fn what_a_rebuild_has_left_half_done_does_not_show() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at(NOW));
    let engine = start(folder.path(), &clock, eager());
    let database = main_database(&engine);
    commit(&database, vec![set("rooms/a", 1)]).await;
    drop(database);
    lose_state(engine, folder.path()).await;
    // Something of the database, and nothing that says how far it goes.
    let state = folder.path().join("state");
    let store = hearth_store::Sled::open(&state, &hearth_store::SledOptions::default()).unwrap().store;
    let keyspace = crate::keyspace::Keyspace::new(1);
    let mut batch = hearth_store::Batch::new();
    let ghost = hearth_core::Document {
        path: path("rooms/ghost"),
        fields: Map::new(),
        created: Version::from_micros(1),
        updated: Version::from_micros(1),
    };
    let key = keyspace.document(&hearth_core::keys::doc(&ghost.path), Version::from_micros(1));
    batch.put(key, hearth_core::codec::encode_record(Some(&ghost)));
    store.apply(batch).unwrap();
    store.close().unwrap();
    let engine = start(folder.path(), &clock, eager());
    assert_eq!(listed(&main_database(&engine)).await, ["a 1"]);
}

#[tokio::test]
async fn the_log_goes_when_two_snapshots_and_the_history_are_past_it() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at(NOW));
    let engine = start(folder.path(), &clock, Limits::default());
    let database = main_database(&engine);
    for n in 0..80 {
        commit(&database, vec![large(&format!("rooms/r{}", n % 4), n)]).await;
    }
    let before = files(folder.path(), "log").len();
    assert!(before >= 4, "{before} segments");
    keep(&database).await;
    assert_eq!((files(folder.path(), "snapshots").len(), engine.metrics().snapshots.get()), (1, 1));
    // Not due again, and one snapshot is none to rely on.
    keep(&database).await;
    assert_eq!((files(folder.path(), "snapshots").len(), files(folder.path(), "log").len()), (1, before));
    for n in 80..110 {
        commit(&database, vec![large(&format!("rooms/r{}", n % 4), n)]).await;
    }
    snapshot(&database).await;
    // The history still needs it.
    commit(&database, vec![set("rooms/z", 0)]).await;
    assert!(files(folder.path(), "log").len() >= before);
    clock.pass(Duration::from_secs(7_200));
    while engine.metrics().log_bytes_dropped.get() == 0 {
        commit(&database, vec![set("rooms/z", 1)]).await;
        keep(&database).await;
    }
    assert!(files(folder.path(), "log").len() < before);
    let want = listed(&database).await;
    drop(database);
    lose_state(engine, folder.path()).await;

    // The newest is damaged: the older one is there, and the log behind it.
    let snapshots = files(folder.path(), "snapshots");
    assert_eq!(snapshots.len(), 2);
    damage(&snapshots[1], 0);
    let engine = start(folder.path(), &clock, Limits::default());
    let database = main_database(&engine);
    assert_eq!(listed(&database).await, want);
    // Another is written at once.
    keep(&database).await;
    assert_eq!(engine.metrics().snapshots.get(), 1);
    drop(database);
    lose_state(engine, folder.path()).await;

    let snapshots = files(folder.path(), "snapshots");
    for file in &snapshots {
        damage(file, 1);
    }
    let engine = start(folder.path(), &clock, Limits::default());
    let name = DatabaseName::parse("p", DatabaseName::DEFAULT).unwrap();
    let told = engine.database(&name).err().unwrap().to_string();
    assert!(told.contains("no snapshot can be used: the snapshot "), "{told}");
    assert!(told.contains("is safe in the log: bring back a whole snapshot, or restore"), "{told}");
    stop(engine).await;

    snapshots.iter().for_each(|file| fs::remove_file(file).unwrap());
    let engine = start(folder.path(), &clock, Limits::default());
    let told = engine.database(&name).err().unwrap().to_string();
    assert!(told.contains("and nothing else holds what lies before; "), "{told}");
}

#[tokio::test]
async fn a_state_that_is_whole_stands_for_snapshots_that_are_lost_until_there_is_another() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at(NOW));
    let limits = Limits { history: Duration::ZERO, ..eager() };
    let engine = start(folder.path(), &clock, limits.clone());
    let database = main_database(&engine);
    for n in 0..40 {
        commit(&database, vec![large("rooms/a", n)]).await;
        clock.pass(Duration::from_secs(1));
    }
    snapshot(&database).await;
    while engine.metrics().log_bytes_dropped.get() == 0 {
        commit(&database, vec![set("rooms/z", 1)]).await;
        keep(&database).await;
    }
    let want = listed(&database).await;
    drop(database);
    stop(engine).await;
    fs::remove_dir_all(folder.path().join("db/1/snapshots")).unwrap();
    let engine = start(folder.path(), &clock, limits.clone());
    let database = main_database(&engine);
    keep(&database).await;
    assert_eq!((listed(&database).await, engine.metrics().snapshots.get()), (want.clone(), 1));
    drop(database);
    lose_state(engine, folder.path()).await;
    let engine = start(folder.path(), &clock, limits);
    assert_eq!(listed(&main_database(&engine)).await, want);
}

#[tokio::test]
async fn a_snapshot_beyond_the_end_of_the_log_is_damage() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at(NOW));
    let engine = start(folder.path(), &clock, eager());
    let database = main_database(&engine);
    commit(&database, vec![set("rooms/a", 1)]).await;
    let log = files(folder.path(), "log").pop().unwrap();
    let earlier = fs::read(&log).unwrap();
    commit(&database, vec![set("rooms/a", 2)]).await;
    snapshot(&database).await;
    drop(database);
    lose_state(engine, folder.path()).await;
    fs::remove_file(folder.path().join("CLEAN")).unwrap();
    fs::write(&log, earlier).unwrap();
    let engine = start(folder.path(), &clock, eager());
    refusal(
        &engine,
        folder.path(),
        expect![[r#"
        the database cannot be served: the commit log is damaged: HOME/db/1/log/0000000001.seg, byte 141: the log ends with version 1700000000000000, but version 1700000000000001 was durable;
        what was written up to version 1700000000000000 is not touched by it;
        nothing was changed: keep a copy of the folder, then bring back the file, or restore a backup into another directory with `hearth restore BACKUP --data DIR`
    "#]],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_holds_one_version_however_much_is_written_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at(NOW));
    let engine = start(folder.path(), &clock, eager());
    let database = main_database(&engine);
    commit(&database, (0..3_000).map(|n| set(&format!("rooms/r{n:04}"), 0)).collect()).await;
    let writing = {
        let database = database.clone();
        tokio::spawn(async move {
            // Every commit writes all of a pair, so a torn snapshot shows.
            for n in 1..200_i64 {
                commit(
                    &database,
                    vec![set("rooms/r0000", n), set("rooms/r2999", n), delete(&format!("rooms/r{:04}", n))],
                )
                .await;
            }
        })
    };
    let mut versions = Vec::new();
    while !writing.is_finished() {
        versions.push(snapshot(&database).await);
    }
    writing.await.unwrap();
    let version = *versions.last().unwrap();
    let answer = database.query(&asked(&database, rooms()), Some(version)).await.unwrap();
    let want: Vec<String> = answer.docs.iter().map(|doc| Shown::line(doc)).collect();
    let number = engine.database_names().len() as u32;
    drop(database);
    stop(engine).await;
    let home = Home::open(folder.path(), HomeOptions { id_if_new: [7; 16], boot_id: None }).unwrap();
    let mut reader = home.snapshots(number).unwrap().read(version).unwrap();
    let mut found = Vec::new();
    while let Some(record) = reader.next_record().unwrap() {
        let path = hearth_core::keys::decode_doc(&record.key).unwrap();
        let document = hearth_core::codec::decode_record(&path, &record.value).unwrap().unwrap();
        found.push(Shown::line(&document));
    }
    assert_eq!(found, want);
    assert_eq!(found.first().unwrap().strip_prefix("r0000"), found.last().unwrap().strip_prefix("r2999"));
}

#[tokio::test]
async fn a_state_of_another_log_is_not_taken_for_ones_own() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let clock = Arc::new(ManualClock::at(NOW));
    let engine = start(folders[0].path(), &clock, eager());
    commit(&main_database(&engine), vec![set("rooms/both", 1)]).await;
    stop(engine).await;
    // A copy of the whole directory goes its own way.
    copy(folders[0].path(), folders[1].path());
    for (n, folder) in folders.iter().enumerate() {
        clock.pass(Duration::from_secs(1));
        let engine = start(folder.path(), &clock, eager());
        let database = main_database(&engine);
        commit(&database, vec![set(&format!("rooms/only{n}"), 1)]).await;
        clock.pass(Duration::from_secs(1));
        commit(&database, vec![set("rooms/both", 2)]).await;
        drop(database);
        stop(engine).await;
    }
    let state = folders[1].path().join("state");
    fs::remove_dir_all(&state).unwrap();
    copy(&folders[0].path().join("state"), &state);
    let engine = start(folders[1].path(), &clock, eager());
    assert_eq!(listed(&main_database(&engine)).await, ["both 2", "only1 1"]);
    stop(engine).await;

    // One of another directory altogether is refused.
    let other = tempfile::tempdir().unwrap();
    drop(Home::open(other.path(), HomeOptions { id_if_new: [8; 16], boot_id: Some("boot".into()) }).unwrap());
    copy(&state, &other.path().join("state"));
    let home = Home::open(other.path(), HomeOptions { id_if_new: [8; 16], boot_id: Some("boot".into()) }).unwrap();
    let refused = Engine::start(Backing::Disk(Box::new(home)), options(eager()), clock).err().unwrap();
    assert!(matches!(refused, crate::StartError::ForeignState { .. }), "{refused}");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        match path.is_dir() {
            true => copy(&path, &to),
            false => drop(fs::copy(&path, &to).unwrap()),
        }
    }
}

// ---- wiping

async fn wipe(database: &Database) -> Version {
    let wipe = database.authorize_wipe(&Caller::Anonymous).unwrap();
    database.wipe(&wipe).await.unwrap()
}

/// Keys that the state holds of documents, changes and idempotency records of a database.
fn keys_held(store: &dyn Store) -> usize {
    let range = KeyRange { from: vec![0, 0, 0, 1], to: vec![0, 0, 0, 2] };
    let page = store.scan(&range, Direction::Forward, 100_000).unwrap();
    page.iter().filter(|(key, _)| key[4] != b'm').count()
}

#[tokio::test]
async fn a_wipe_takes_everything_away_at_one_version_and_everybody_begins_anew() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at(NOW));
    let engine = start(folder.path(), &clock, eager());
    let database = main_database(&engine);
    request(&database, keyed("k", vec![set("rooms/a", 1), set("rooms/b", 2)])).await.unwrap();
    let outbox = Outbox::new(&engine);
    listen(&database, rooms(), &outbox, 1).await;
    let answer = database.query(&asked(&database, rooms()), None).await.unwrap();
    let (token, epoch) = (answer.token, database.epoch());
    let query = asked(&database, rooms());
    let (woken, version) = tokio::join!(database.changed(&query, &token), wipe(&database));
    assert_eq!(woken, Ok(()));
    assert_ne!(database.epoch(), epoch);
    assert_eq!((listed(&database).await, grouped(&database).await), (Vec::<String>::new(), 0));
    let roots = database.authorize_list(&Caller::Anonymous, None).unwrap();
    assert_eq!(database.collections(&roots, None).await.unwrap().1, []);

    // The open listener lags, and its catching up is a reset.
    let Delivery::Lagged(1) = tokio::time::timeout(Duration::from_secs(10), outbox.next()).await.unwrap() else {
        panic!("a listener of what was wiped lags")
    };
    let opening = database.catch_up(&outbox, 1).await.unwrap();
    let Opening::Whole { answer, reset: true } = opening else { panic!("a wipe resets") };
    assert_eq!((answer.docs.len(), answer.version), (0, version));
    // A token of the old epoch too, and one of the new is honoured.
    let anew = database.since(&asked(&database, rooms()), &token).await.unwrap();
    assert!(matches!(anew, Opening::Whole { reset: true, .. }));
    assert_eq!(database.unchanged(&asked(&database, rooms()), &token), None);
    commit(&database, vec![set("rooms/c", 3)]).await;
    let (_, events) = next(&outbox).await;
    assert_eq!((events[0].0, events[0].1.event.size), (1, 1));
    let anew = database.since(&asked(&database, rooms()), &answer.token).await.unwrap();
    assert!(matches!(anew, Opening::Since(_)));
    let before = Version::from_micros(version.micros() - 1);
    assert!(matches!(database.query(&asked(&database, rooms()), Some(before)).await, Err(ReadError::Forgotten { .. })));
    // The same idempotency key is a first time.
    let again = database.authorize_commit(&Caller::Anonymous, keyed("k", vec![set("rooms/a", 9)])).unwrap();
    assert!(!database.commit(again).await.unwrap().replayed);
    assert_eq!(listed(&database).await, ["a 9", "c 3"]);
}

#[tokio::test]
async fn a_wipe_holds_whatever_is_lost_afterwards() {
    for (with_state, with_snapshot) in [(true, false), (false, false), (false, true), (true, true)] {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(NOW));
        let engine = start(folder.path(), &clock, eager());
        let database = main_database(&engine);
        request(&database, keyed("k", vec![set("rooms/a", 1), set("rooms/b", 2)])).await.unwrap();
        snapshot(&database).await;
        commit(&database, vec![set("rooms/b", 3), delete("rooms/a")]).await;
        let version = wipe(&database).await;
        commit(&database, vec![set("rooms/b", 4)]).await;
        if with_snapshot {
            snapshot(&database).await;
            commit(&database, vec![set("others/o", 1)]).await;
            snapshot(&database).await;
            let number = |file: &PathBuf| file.file_stem().unwrap().to_str().unwrap().parse().unwrap();
            let micros: Vec<u64> = files(folder.path(), "snapshots").iter().map(number).collect();
            assert!(
                micros.iter().all(|micros| *micros >= version.micros()),
                "what was wiped goes when two are there without it"
            );
        }
        let epoch = database.epoch();
        drop(database);
        match with_state {
            true => stop(engine).await,
            false => lose_state(engine, folder.path()).await,
        }
        let engine = start(folder.path(), &clock, eager());
        let database = main_database(&engine);
        assert_eq!((listed(&database).await, database.epoch()), (vec!["b 4".to_string()], epoch));
        assert!(database.history_start() >= version);
        assert!(request(&database, keyed("k", vec![set("rooms/c", 1)])).await.unwrap() > version);
        assert_eq!((listed(&database).await.len(), grouped(&database).await), (2, 2));
        drop(database);
        stop(engine).await;
        let home = Home::open(folder.path(), HomeOptions { id_if_new: [7; 16], boot_id: None }).unwrap();
        assert_eq!(home.databases()[0].epoch, epoch, "the catalog follows the log");
    }
}

#[tokio::test]
async fn what_was_wiped_leaves_the_state_in_the_background() {
    let engine = in_memory(Limits { generation_bytes_max: 1, ..Limits::default() });
    let database = main_database(&engine);
    commit(&database, (0..3_000).map(|n| set(&format!("rooms/r{n}"), n)).collect()).await;
    request(&database, keyed("k", vec![set("rooms/kept", 1)])).await.unwrap();
    let reader = database.pin();
    wipe(&database).await;
    commit(&database, vec![set("rooms/kept", 2)]).await;
    keep(&database).await;
    let store = database.store();
    assert!(keys_held(&*store) > 3_000, "a reader still sees it");
    assert_eq!(database.seen_by(&reader, &path("rooms/r7")), Some(Version::from_micros(NOW)));
    drop(reader);
    while keys_held(&*store) > 3 {
        keep(&database).await;
    }
    assert_eq!((listed(&database).await, grouped(&database).await), (vec!["kept 2".to_string()], 1));
}

#[tokio::test]
async fn a_wipe_that_the_log_refuses_has_taken_nothing_away() {
    let failures = Arc::new(Mutex::new(VecDeque::new()));
    let (database, _) = on_failing(&failures);
    commit(&database, vec![set("rooms/a", 1)]).await;
    let epoch = database.epoch();
    failures.lock().unwrap().push_back(Some(full()));
    let asked_for = database.authorize_wipe(&Caller::Anonymous).unwrap();
    assert!(matches!(database.wipe(&asked_for).await, Err(CommitError::NotApplied { .. })));
    assert_eq!((listed(&database).await, database.epoch()), (vec!["a 1".to_string()], epoch));
    commit(&database, vec![set("rooms/b", 2)]).await;
    wipe(&database).await;
    assert_eq!(listed(&database).await, Vec::<String>::new());
}

#[test]
fn only_the_owner_of_the_server_may_wipe() {
    let closed = Access::Closed { signed_in: crate::SignedIn::Write };
    let user = hearth_auth::User { uid: "ada".into(), issuer: "i".into(), claims: Map::new(), expires_seconds: None };
    let may = |caller| closed.authorize(&caller, crate::authorize::Act::Administer, crate::Wipe).is_ok();
    assert_eq!([Caller::Anonymous, Caller::user(user), Caller::Admin].map(may), [false, false, true]);
}

// ---- history

#[tokio::test]
async fn superseded_data_is_bounded_in_bytes_and_the_count_comes_out_even() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at(NOW));
    let limits = Limits { history_bytes_max: 1_000_000, generation_bytes_max: 1, ..Limits::default() };
    let engine = start(folder.path(), &clock, limits.clone());
    let database = main_database(&engine);
    let mut last = Version::ZERO;
    for n in 0..20 {
        last = commit(&database, vec![large("rooms/a", n), set(&format!("rooms/b{n}"), n)]).await;
    }
    commit(&database, vec![delete("rooms/b3")]).await;
    database.apply_all();
    assert!(database.superseded_bytes() > 19 * 200_000);
    maintain(&database).await;
    let kept = database.superseded_bytes();
    assert!((600_000..1_000_000).contains(&kept), "{kept} bytes");
    assert!(database.history_start() < last);
    // A rebuild counts the same as what was counted while it was written.
    drop(database);
    lose_state(engine, folder.path()).await;
    let engine = start(folder.path(), &clock, limits);
    let database = main_database(&engine);
    assert!(database.superseded_bytes() > 19 * 200_000);
    maintain(&database).await;
    assert_eq!(database.superseded_bytes(), kept);
    // When all of the history is gone, nothing is left of the count.
    clock.pass(Duration::from_secs(7_200));
    commit(&database, vec![set("rooms/last", 1)]).await;
    database.apply_all();
    clock.pass(Duration::from_secs(7_200));
    maintain(&database).await;
    assert_eq!(database.superseded_bytes(), 0);
}

// ---- clocks

#[tokio::test]
async fn commits_do_not_follow_a_clock_that_leaps_ahead() {
    let clock = Arc::new(ManualClock::at(NOW));
    let engine = Engine::start(Backing::Memory, options(Limits::default()), clock.clone()).unwrap().0;
    let database = main_database(&engine);
    let day = 86_400_000_000;
    clock.leap_to(NOW + day);
    clock.pass(Duration::from_secs(1));
    let version = commit(&database, vec![set("rooms/a", 1)]).await;
    assert_eq!(version, Version::from_micros(NOW + 1_000_000));
    assert!(engine.is_clock_held());
    assert!(engine.metrics().render().contains("\nhearth_clock_held 1\n"));
    clock.leap_to(NOW + 2_000_000);
    let version = commit(&database, vec![set("rooms/a", 2)]).await;
    assert_eq!((version, engine.is_clock_held()), (Version::from_micros(NOW + 2_000_000), false));
}

#[tokio::test]
async fn how_far_an_opening_is_can_be_asked_while_it_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let engine = start(folder.path(), &Arc::new(ManualClock::at(NOW)), eager());
    let name = main_database(&engine).name().clone();
    engine.while_opening(&name, || {
        let opening = engine.opening();
        assert_eq!((opening.len(), &opening[0].0, opening[0].1.percent()), (1, &name, 0));
        assert_eq!(engine.read_only(), vec![], "it waits for nobody");
    });
    assert!(engine.opening().is_empty() && engine.disk_free_bytes().is_some());
}

#[tokio::test]
async fn a_clock_far_behind_the_newest_commit_is_to_be_accepted_by_a_person() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at(NOW));
    let engine = start(folder.path(), &clock, eager());
    let database = main_database(&engine);
    let last = commit(&database, vec![set("rooms/a", 1)]).await;
    drop(database);
    stop(engine).await;
    clock.set(NOW - 3_600_000_000);
    let engine = start(folder.path(), &clock, eager());
    refusal(
        &engine,
        folder.path(),
        expect![[r#"
        the newest commit of this database is 3600 s ahead of this machine's clock (version 1700000000000000);
        nothing was changed and all data is safe: if the clock is wrong, set it and start again;
        if it is right, start with --accept-clock, and new commits follow right behind that time until the clock has reached it
    "#]],
    );
    stop(engine).await;
    let accepted = Limits { clock_ahead_max: Duration::MAX, ..eager() };
    let engine = start(folder.path(), &clock, accepted);
    let database = main_database(&engine);
    assert_eq!(commit(&database, vec![set("rooms/a", 2)]).await.micros(), last.micros() + 1);
}

// ---- everything together

/// One thing that happens to a database.
#[derive(Clone, Debug)]
enum Step {
    Write {
        room: u8,
        is_large: bool,
    },
    Delete {
        room: u8,
    },
    Wipe,
    Snapshot,
    Keep,
    Pass {
        seconds: u64,
    },
    Restart,
    LoseState,
    /// The newest snapshot is damaged, and the state is lost.
    LoseStateAndSnapshot,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..6_u8, any::<bool>()).prop_map(|(room, is_large)| Step::Write { room, is_large }),
        3 => (0..6_u8).prop_map(|room| Step::Delete { room }),
        1 => Just(Step::Wipe),
        3 => Just(Step::Snapshot),
        3 => Just(Step::Keep),
        2 => (1..5_000_u64).prop_map(|seconds| Step::Pass { seconds }),
        1 => Just(Step::Restart),
        1 => Just(Step::LoseState),
        1 => Just(Step::LoseStateAndSnapshot),
    ]
}

async fn life(steps: Vec<Step>) {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at(NOW));
    let limits = Limits { history_bytes_max: 500_000, generation_bytes_max: 1_000, ..eager() };
    let mut engine = start(folder.path(), &clock, limits.clone());
    let mut database = main_database(&engine);
    let mut model = BTreeMap::new();
    let (mut last, mut epoch, mut damaged) = (Version::ZERO, database.epoch(), false);
    for (n, step) in (0..).zip(steps.into_iter().chain([Step::LoseState])) {
        let version = match step {
            Step::Write { room, is_large } => {
                let at = format!("rooms/r{room}");
                model.insert(format!("r{room}"), n);
                commit(&database, vec![if is_large { large(&at, n) } else { set(&at, n) }]).await
            }
            Step::Delete { room } => {
                model.remove(&format!("r{room}"));
                commit(&database, vec![delete(&format!("rooms/r{room}")), set("others/o", n)]).await
            }
            Step::Wipe => {
                model.clear();
                let version = wipe(&database).await;
                assert_ne!(database.epoch(), epoch);
                epoch = database.epoch();
                version
            }
            Step::Snapshot => {
                let version = snapshot(&database).await;
                damaged = false;
                assert_eq!(version, database.visible());
                continue;
            }
            Step::Keep => {
                keep(&database).await;
                continue;
            }
            Step::Pass { seconds } => {
                clock.pass(Duration::from_secs(seconds));
                continue;
            }
            Step::Restart | Step::LoseState | Step::LoseStateAndSnapshot => {
                drop(database);
                match step {
                    Step::Restart => stop(engine).await,
                    _ => lose_state(engine, folder.path()).await,
                }
                let snapshots = folder.path().join("db/1/snapshots");
                if matches!(step, Step::LoseStateAndSnapshot)
                    && !damaged
                    && snapshots.exists()
                    && let Some(newest) = files(folder.path(), "snapshots").last()
                {
                    damage(newest, 0);
                    damaged = true;
                }
                let options = crate::CheckOptions { boot_id: Some("boot".into()), scratch: None };
                let report = crate::check(folder.path(), &options, |_| {}).unwrap();
                let wrong = report.databases[0].findings.iter().map(ToString::to_string);
                for text in wrong.filter(|text| text.starts_with("wrong")) {
                    assert!(text.contains("snap is damaged"), "{text}");
                }
                engine = start(folder.path(), &clock, limits.clone());
                database = main_database(&engine);
                database.visible()
            }
        };
        assert!(version >= last, "versions never go back");
        last = version;
        let want: Vec<String> = model.iter().map(|(room, n)| format!("{room} {n}")).collect();
        assert_eq!(listed(&database).await, want, "after step {n}");
        assert_eq!((grouped(&database).await, database.epoch()), (model.len(), epoch), "after step {n}");
    }
    drop(database);
    stop(engine).await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn whatever_happens_the_documents_are_those_that_were_written(
        steps in prop::collection::vec(any_step(), 0..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(life(steps));
    }
}

// ---- checking

/// Every file under a folder with its contents, but for the lock.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(contents(&path)),
            false if path.ends_with("LOCK") => {}
            false => found.push((path.clone(), fs::read(&path).unwrap())),
        }
    }
    found.sort();
    found
}

fn checked(folder: &Path, want: Expect) -> bool {
    let scratch = tempfile::tempdir().unwrap();
    let options = crate::CheckOptions { boot_id: Some("boot".into()), scratch: Some(scratch.path().into()) };
    let before = contents(folder);
    let report = crate::check(folder, &options, |_| {}).unwrap();
    assert!(contents(folder) == before, "a check changes nothing");
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0, "the copy is removed");
    want.assert_eq(&report.to_string().replace(&folder.display().to_string(), "HOME").replace("; ", ";\n    "));
    report.is_sound()
}

#[tokio::test]
async fn a_check_holds_log_snapshots_and_state_against_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at(NOW));
    let engine = start(folder.path(), &clock, eager());
    let database = main_database(&engine);
    commit(&database, vec![set("rooms/gone", 1)]).await;
    wipe(&database).await;
    for n in 0..20 {
        commit(&database, vec![set(&format!("rooms/r{n}"), n), set("rooms/hot", n)]).await;
    }
    let first = snapshot(&database).await;
    commit(&database, vec![delete("rooms/r3"), set("rooms/r4", 40)]).await;
    let second = snapshot(&database).await;
    commit(&database, vec![set("rooms/r5", 50)]).await;
    drop(database);
    stop(engine).await;
    assert!(checked(
        folder.path(),
        expect![[r#"
        p/(default): 20 documents at version 1700000000000023
          read 24 entries of the log (3432 bytes) and 2 snapshots
          read the state, which is as the log says at version 1700000000000023
        everything is sound
    "#]]
    ));

    // A snapshot under the name and head of a later one holds what is no longer so.
    let home = Home::look_at(folder.path(), Some("boot")).unwrap();
    let snapshots = home.snapshots(1).unwrap();
    let (mut old, head) = (snapshots.read(first).unwrap(), snapshots.head(second).unwrap());
    let mut forged = snapshots.begin(head).unwrap();
    while let Some(record) = old.next_record().unwrap() {
        forged.put(record.section, &record.key, &record.value).unwrap();
    }
    forged.finish().unwrap();
    damage(&snapshots.path(first), 0);
    drop(home);
    // And the state lacks a document.
    let state = folder.path().join("state");
    let store = hearth_store::Sled::open(&state, &hearth_store::SledOptions::default()).unwrap().store;
    let key = hearth_core::keys::doc(&path("rooms/r7"));
    let range = crate::keyspace::Keyspace::new(1).document_since(&key, Version::MAX);
    let page = store.scan(&range, Direction::Forward, 10).unwrap();
    store.apply(page.into_iter().map(|(key, _)| (key, None)).collect()).unwrap();
    store.close().unwrap();
    assert!(!checked(
        folder.path(),
        expect![[r#"
            p/(default): 20 documents at version 1700000000000023
              read 24 entries of the log (3432 bytes) and 0 snapshots
              wrong: the snapshot HOME/db/1/snapshots/00001700000000000021.snap is damaged at byte 60: a block is damaged;
                it is not used, and what it held stands in the log or another snapshot unless more is said below: start hearth, which writes another
              wrong: the snapshot of version 1700000000000022 does not agree with the log: 2 of 20 documents are not as it says, rooms/r3 among them;
                the log is the truth: move HOME/db/1/snapshots/00001700000000000022.snap away, then start hearth
              wrong: the state does not agree with the log: 1 of 20 documents are missing;
                the log is the truth and nothing is lost: move the folder `state` of the data directory away, then start hearth, which rebuilds it
            something is wrong, see above;
                nothing was changed
        "#]]
    ));

    // The log is the truth: where it is damaged, nothing else is asked.
    damage(&files(folder.path(), "log")[0], 0);
    assert!(!checked(
        folder.path(),
        expect![[r#"
        p/(default): 0 documents at version 0
          read 0 entries of the log (0 bytes) and 0 snapshots
          wrong: the snapshot HOME/db/1/snapshots/00001700000000000021.snap is damaged at byte 60: a block is damaged;
            it is not used, and what it held stands in the log or another snapshot unless more is said below: start hearth, which writes another
          wrong: the commit log is damaged: HOME/db/1/log/0000000001.seg, byte 1696: a group of commits is damaged, and it is not the last thing that was written;
            what was written up to version 1700000000000011 is not touched by it;
            nothing was changed: keep a copy of the folder, then bring back the file, or restore a backup into another directory with `hearth restore BACKUP --data DIR`
        something is wrong, see above;
            nothing was changed
    "#]]
    ));
}
