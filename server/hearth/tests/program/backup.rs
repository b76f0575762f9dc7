//! Backups of a server under load, and what is restored from them, held against a model of every commit.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use hearth_store::{Home, HomeOptions};
use serde_json::{Value as Json, json};

use crate::run::{Server, fail, folder, hearth, succeed};

const WRITERS: u64 = 3;
/// How long anything may take that this waits for.
const PATIENCE: Duration = Duration::from_secs(120);

/// What was acknowledged at a version.
enum Done {
    /// Each path, and what it holds since then.
    Commit(Vec<(String, Option<u64>)>),
    Wipe,
}

/// Every commit that a server has acknowledged, by version.
#[derive(Default)]
struct Model {
    done: Mutex<BTreeMap<u64, Done>>,
    more: Condvar,
}

impl Model {
    fn note(&self, answer: &str, done: Done) {
        let answer: Json = serde_json::from_str(answer).unwrap();
        let version = answer["version"].as_str().unwrap().parse().unwrap();
        assert!(self.done.lock().unwrap().insert(version, done).is_none(), "one version, one commit");
        self.more.notify_all();
    }

    /// Waits until so many more commits were acknowledged.
    fn await_more(&self, count: usize) {
        let done = self.done.lock().unwrap();
        let wanted = done.len() + count;
        let (_done, late) = self.more.wait_timeout_while(done, PATIENCE, |done| done.len() < wanted).unwrap();
        assert!(!late.timed_out(), "the writers have stopped");
    }

    /// The documents at a version.
    fn at(&self, version: u64) -> BTreeMap<String, u64> {
        let mut documents = BTreeMap::new();
        for done in self.done.lock().unwrap().range(..=version).map(|(_, done)| done) {
            match done {
                Done::Wipe => documents.clear(),
                Done::Commit(changes) => {
                    for (path, n) in changes {
                        match n {
                            Some(n) => drop(documents.insert(path.clone(), *n)),
                            None => drop(documents.remove(path)),
                        }
                    }
                }
            }
        }
        documents
    }

    /// Some version between two commits, or of one.
    fn version_at(&self, part: usize, of: usize) -> u64 {
        let done = self.done.lock().unwrap();
        *done.keys().nth(done.len() * part / of).unwrap()
    }
}

/// Commits sets and deletes of a few documents until it is told to stop. All is determined by `writer` but the order.
fn write(server: &Server, model: &Model, writer: u64, life: u64, stop: &AtomicBool) {
    let mut seed = writer * 1_000 + life + 1;
    let mut next = |bound: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % bound
    };
    while !stop.load(Ordering::SeqCst) {
        let mut changes = Vec::new();
        for place in 0..=next(3) {
            let at = next(12);
            let path =
                if at % 3 == 0 { format!("b/none{writer}/c/{place}-{at}") } else { format!("a/{writer}-{place}-{at}") };
            changes.push((path, (next(4) > 0).then(|| next(1_000_000))));
        }
        let writes: Vec<Json> = changes
            .iter()
            .map(|(path, n)| match n {
                Some(n) => json!({ "set": path, "data": { "n": n, "fill": "x".repeat(300) } }),
                None => json!({ "delete": path }),
            })
            .collect();
        let (status, answer) = server.ask("POST /db HTTP/1.1", &json!({ "writes": writes }).to_string());
        assert_eq!(status, 200, "{answer}");
        model.note(&answer, Done::Commit(changes));
    }
}

/// Runs `work` while writers write.
fn under_load<T>(server: &Server, model: &Model, life: u64, work: impl FnOnce() -> T) -> T {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let stop = &stop;
            scope.spawn(move || write(server, model, writer, life, stop));
        }
        // Also where `work` fails, or the writers would go on for ever.
        let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        stop.store(true, Ordering::SeqCst);
        worked.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn start(path: &Path, data: &str) -> Server {
    let mut command = hearth(path, &["dev", "--listen", "127.0.0.1:0", "--data", data, "--project", "demo"]);
    // A snapshot at every start, so that there are several.
    command.env("HEARTH_LIMITS_SNAPSHOT_LOG_BYTES_MIN", "1");
    Server::spawn(command)
}

fn backup(path: &Path, args: &[&str]) -> Json {
    serde_json::from_str(&succeed(path, &[&["backup", "--json"], args].concat())).unwrap()
}

/// What a data directory holds.
fn exported(path: &Path, data: &str) -> BTreeMap<String, u64> {
    let lines = succeed(path, &["export", "--data", data]);
    let document = |line: &str| {
        let json: Json = serde_json::from_str(line).unwrap();
        (json["path"].as_str().unwrap().to_string(), json["data"]["n"].as_u64().unwrap())
    };
    lines.lines().map(document).collect()
}

/// The files of a backup, oldest first, but for the marker.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false if path.ends_with("hearth-backup") => {}
            false => found.push(path),
        }
    }
    found.sort();
    found
}

fn number(json: &Json) -> u64 {
    json.as_str().unwrap().parse().unwrap()
}

#[test]
fn what_is_restored_is_what_was_committed_up_to_that_version() {
    let folder = folder();
    let path = folder.path();
    let model = Model::default();
    let server = start(path, "d");
    let url = format!("http://{}", server.address);
    let mut taken = Vec::new();
    under_load(&server, &model, 1, || {
        for incremental in [false, true] {
            model.await_more(60);
            let done = backup(path, &["--server", &url, "backups"]);
            assert!(!incremental || done["files"] == 1, "only the log since the last one: {done}");
            taken.push(number(&done["taken"]));
        }
        model.await_more(20);
    });
    assert_eq!(server.stop(), Some(0));

    let server = start(path, "d");
    let url = format!("http://{}", server.address);
    await_snapshots(&server, 1);
    under_load(&server, &model, 2, || {
        model.await_more(40);
        taken.push(number(&backup(path, &["--server", &url, "backups"])["taken"]));
        let (status, wiped) = server.ask("DELETE /db?wipe HTTP/1.1", "");
        assert_eq!(status, 200, "{wiped}");
        model.note(&wiped, Done::Wipe);
        model.await_more(60);
        taken.push(number(&backup(path, &["--server", &url, "backups"])["taken"]));
        model.await_more(20);
        // All over again, now from a snapshot.
        let done = backup(path, &["--server", &url, "--full", "backups"]);
        assert!(done["files"] == 2, "{done}");
        taken.push(number(&done["taken"]));
        model.await_more(20);
    });
    let done = backup(path, &["--server", &url, "backups"]);
    taken.push(number(&done["taken"]));
    let token: Json = serde_json::from_str(&server.get("/db/a").1).unwrap();
    let token = token["token"].as_str().unwrap();

    let mut versions = taken.clone();
    versions.extend((1..8).map(|part| model.version_at(part, 8)));
    let listed: Json = serde_json::from_str(&succeed(path, &["restore", "backups", "--list", "--json"])).unwrap();
    // Where the server had a snapshot already, the first backup began with it.
    let oldest = number(&listed[0]["oldest"]);
    versions.push(model.version_at(0, 1).max(oldest + 1) - 1);
    versions.retain(|version| *version >= oldest);
    if oldest > 0 {
        let error = fail(path, 1, &["restore", "backups", "--data", "r", "--at", &(oldest - 1).to_string()]);
        assert!(error.contains("goes back to 20") && error.contains("--list") && !path.join("r").exists(), "{error}");
    }
    for (n, version) in versions.iter().enumerate() {
        let data = format!("r{n}");
        succeed(path, &["restore", "backups", "--data", &data, "--at", &version.to_string()]);
        assert_eq!(exported(path, &data), model.at(*version), "as of version {version}");
    }
    succeed(path, &["restore", "backups", "--data", "newest"]);
    assert_eq!(exported(path, "newest"), model.at(u64::MAX));
    assert!(succeed(path, &["check", "--data", "newest"]).contains("everything is sound"));

    // Another life: what was heard of the old one does not go on in it, and neither does its backup.
    let restored = start(path, "newest");
    let page = restored.get(&format!("/db/a?since={token}")).1;
    assert!(page.contains("\"reset\":true"), "{page}");
    assert_eq!(restored.ask("PUT /db/a/new HTTP/1.1", "{\"n\":7}").0, 201);
    let of_restored = backup(path, &["--server", &format!("http://{}", restored.address), "backups"]);
    succeed(path, &["restore", "backups", "--data", "again"]);
    let mut want = model.at(u64::MAX);
    want.insert("a/new".into(), 7);
    assert_eq!(exported(path, "again"), want);
    let last = taken.last().unwrap();
    succeed(path, &["restore", "backups", "--data", "old", "--at", &last.to_string()]);
    assert_eq!(exported(path, "old"), model.at(*last));
    let listed: Json = serde_json::from_str(&succeed(path, &["restore", "backups", "--list", "--json"])).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), taken.len() + 1);

    let after = (number(&of_restored["taken"]) + 1_000_000_000).to_string();
    let late = fail(path, 1, &["restore", "backups", "--data", "late", "--at", &after]);
    assert!(
        late.contains("the newest backup in backups was taken at 20") && late.contains("nothing was changed"),
        "{late}"
    );
}

/// Waits until a server has so many snapshots.
fn await_snapshots(server: &Server, count: usize) {
    let deadline = Instant::now() + PATIENCE;
    while server.get("/p/demo/backup").1.matches("\"bytes\"").count() < count {
        assert!(Instant::now() < deadline, "no snapshot is written");
    }
}

#[test]
fn no_moment_is_lost_between_a_backup_and_a_full_one_behind_it() {
    let folder = folder();
    let path = folder.path();
    let put = |server: &Server, n: u64| {
        let (_, answer) = server.ask("PUT /db/a/it HTTP/1.1", &json!({ "n": n }).to_string());
        number(&serde_json::from_str::<Json>(&answer).unwrap()["updated"])
    };
    let mut versions = Vec::new();
    for life in 0..3 {
        let server = start(path, "d");
        let url = format!("http://{}", server.address);
        // The snapshot of this start, with which a backup could begin.
        await_snapshots(&server, life);
        versions.push(put(&server, 10 * life as u64));
        match life {
            0 => {}
            1 => drop(backup(path, &["--server", &url, "backups"])),
            _ => drop(backup(path, &["--server", &url, "--full", "backups"])),
        }
        if life < 2 {
            versions.extend([1, 2].map(|n| put(&server, 10 * life as u64 + n)));
        }
        assert_eq!(server.stop(), Some(0));
    }
    // What the first backup holds last, what came between the two, and what the second holds last.
    for (version, n) in versions[3..].iter().zip([10, 11, 12, 20]) {
        let data = format!("r{n}");
        succeed(path, &["restore", "backups", "--data", &data, "--at", &version.to_string()]);
        assert_eq!(exported(path, &data), BTreeMap::from([("a/it".into(), n)]), "as of version {version}");
    }
}

/// A data directory and a backup of it, in three steps.
fn backed_up(path: &Path) {
    for n in 0..3 {
        let lines: String = (0..50).map(|at| format!("{{\"path\":\"a/{at}\",\"data\":{{\"n\":{n}}}}}\n")).collect();
        fs::write(path.join("in.ndjson"), lines).unwrap();
        succeed(path, &["import", "--data", "d", "in.ndjson"]);
        let done = backup(path, &["--data", "d", "backups"]);
        assert_eq!(done["files"], 1, "{done}");
    }
}

#[test]
fn a_damaged_backup_is_refused_whatever_is_damaged() {
    let folder = folder();
    let path = folder.path();
    backed_up(path);
    let all = files(&path.join("backups"));
    assert_eq!(all.len(), 6, "three manifests and three parts of the log: {all:?}");
    let newest_manifest = &all[2];
    for file in all.iter().filter(|file| file.extension().unwrap() == "seg" || *file == newest_manifest) {
        let whole = fs::read(file).unwrap();
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 4;
        for (damage, bytes) in
            [("a bit", Some(&flipped[..])), ("the end", Some(&whole[..whole.len() - 1])), ("it", None)]
        {
            match bytes {
                Some(bytes) => fs::write(file, bytes).unwrap(),
                None => fs::remove_file(file).unwrap(),
            }
            if bytes.is_none() && file == newest_manifest {
                // Without its manifest there is no such backup, and the one before it is the newest.
                fs::write(file, &whole).unwrap();
                continue;
            }
            let error = fail(path, 1, &["restore", "backups", "--data", "r"]);
            let name = file.file_name().unwrap().to_str().unwrap();
            assert!(error.contains("the backup is damaged") && error.contains(name), "{damage} of {name}: {error}");
            assert!(error.contains("nothing was restored") && error.contains("--list"), "{error}");
            assert!(!path.join("r").exists() || fs::read_dir(path.join("r")).unwrap().next().is_none(), "{damage}");
        }
        fs::write(file, &whole).unwrap();
    }
    // What stands behind the damage is not needed for what lies before it.
    fs::write(all.last().unwrap(), "").unwrap();
    let first: u64 = newest(&all[0]);
    succeed(path, &["restore", "backups", "--data", "r", "--at", &first.to_string()]);
    assert_eq!(exported(path, "r").values().copied().collect::<Vec<_>>(), vec![0; 50]);
}

/// The moment of a manifest.
fn newest(manifest: &Path) -> u64 {
    manifest.file_stem().unwrap().to_str().unwrap().parse().unwrap()
}

#[test]
fn backups_go_where_nothing_else_is_and_come_back_where_nothing_is() {
    let folder = folder();
    let path = folder.path();
    backed_up(path);
    fs::create_dir(path.join("full")).unwrap();
    fs::write(path.join("full/thesis.txt"), "mine").unwrap();
    let error = fail(path, 1, &["backup", "--data", "d", "full"]);
    assert!(error.contains("thesis.txt") && error.contains("nothing was changed"), "{error}");
    assert!(fail(path, 3, &["restore", "backups", "--data", "full"]).contains("thesis.txt"));
    assert!(fail(path, 3, &["restore", "backups", "--data", "d"]).contains("a new or an empty directory only"));
    assert!(fail(path, 1, &["restore", "full", "--data", "r"]).contains("no backups of hearth"));
    assert!(fail(path, 2, &["backup", "--data", "d", "ftp://x"]).contains("s3://BUCKET/PREFIX"));
    assert!(fail(path, 3, &["backup", "--data", "nowhere", "x"]).contains("no data directory"));

    let options = HomeOptions { id_if_new: [7; 16], boot_id: None };
    drop(Home::begin_restore(&path.join("half"), options).unwrap());
    for command in [
        &["dev", "--listen", "127.0.0.1:0", "--data", "half"][..],
        &["restore", "backups", "--data", "half"],
        &["check", "--data", "half"],
    ] {
        let error = fail(path, 3, command);
        assert!(error.contains("did not come to its end") && error.contains("hearth restore BACKUP"), "{error}");
    }
    fs::create_dir(path.join("empty")).unwrap();
    succeed(path, &["restore", "backups", "--data", "empty"]);
    assert_eq!(exported(path, "empty").len(), 50);
}

#[test]
fn a_backup_is_for_admins_and_of_what_is_on_disk() {
    let folder = folder();
    let path = folder.path();
    let key = succeed(path, &["token", "--admin-key"]);
    fs::write(path.join("key"), &key).unwrap();
    let serve = ["serve", "--listen", "127.0.0.1:0", "--admin-key-file", "key", "--project", "demo", "--data", "d"];
    let server = Server::spawn(hearth(path, &serve));
    let key = key.trim();
    assert_eq!(server.ask(&format!("PUT /db/a/b HTTP/1.1\r\nAuthorization: Bearer {key}"), "{\"n\":1}").0, 201);
    for address in ["/backup", "/p/demo/backup", "/p/demo/backup/log?after=0&upto=1&segment=1"] {
        assert_eq!(server.get(address).0, 401, "{address}");
    }
    let url = format!("http://{}", server.address);
    assert!(fail(path, 1, &["backup", "--server", &url, "backups"]).contains("HEARTH_ADMIN_KEY"));
    let done = hearth(path, &["backup", "--server", &url, "backups"]).env("HEARTH_ADMIN_KEY", key).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    succeed(path, &["restore", "backups", "--data", "r"]);
    assert_eq!(exported(path, "r"), BTreeMap::from([("a/b".into(), 1)]));
    let error = fail(path, 2, &["dev", "--listen", "127.0.0.1:0", "--data", "r", "--expose=unsafe"]);
    assert!(error.contains("hearth serve has used"), "what it was used for is restored as well: {error}");

    let memory = Server::start(path, &["--ephemeral"]);
    assert_eq!(memory.ask("PUT /db/a/b HTTP/1.1", "{}").0, 201);
    let url = format!("http://{}", memory.address);
    assert!(fail(path, 1, &["backup", "--server", &url, "none"]).contains("--ephemeral"));
}
