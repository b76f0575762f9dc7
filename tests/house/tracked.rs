//! Rules over all files that git has, or would take: opening lines, places of one machine, lock files.

use std::fs;
use std::process::Command;

use hearth_tests::repository;
use serde_json::Value;

/// The files of the repository, those not yet added among them, by their path from its root.
fn files() -> Vec<String> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(repository())
        .output()
        .expect("git can be started");
    assert!(output.status.success(), "git ls-files failed: {}", String::from_utf8_lossy(&output.stderr));
    let list = String::from_utf8(output.stdout).expect("our file names are UTF-8");
    let mut files: Vec<String> = list.split_terminator('\0').map(str::to_owned).collect();
    files.sort();
    files.dedup();
    // What is deleted and not yet committed is still listed.
    files.retain(|file| repository().join(file).is_file());
    assert!(files.iter().any(|file| file == "Cargo.toml"), "git lists none of our files");
    files
}

/// The texts among them; pictures and the like are passed over.
pub(crate) fn texts() -> impl Iterator<Item = (String, String)> {
    files().into_iter().filter_map(|file| {
        let text = String::from_utf8(fs::read(repository().join(&file)).expect("a readable file")).ok()?;
        Some((file, text))
    })
}

/// Whether a Rust file opens with what it is.
fn opens_with_its_idea(source: &str) -> bool {
    source.lines().next().is_some_and(|line| line.strip_prefix("//! ").is_some_and(|idea| !idea.trim().is_empty()))
}

/// The places of one machine, and the hosts of package registries, that `text` names: line and what.
fn places(text: &str) -> Vec<String> {
    // Put together here, so that this file does not name them.
    let machine = ["work", "root"].map(|name| format!("/{name}/"));
    let target = ["/tmp/", "target-"].concat();
    let hosts = [
        ["registry.", "npmjs.org"],
        ["registry.", "yarnpkg.com"],
        ["static.", "crates.io"],
        ["index.", "crates.io"],
        ["pypi", ".org"],
        ["files.", "pythonhosted.org"],
        ["deb.", "debian.org"],
    ]
    .map(|parts| parts.concat());
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let mut note = |what: &str| found.push(format!("{}: {what}", number + 1));
        for folder in &machine {
            let is_start = |at: usize| !line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-~}/".contains(c));
            if line.match_indices(folder.as_str()).any(|(at, _)| is_start(at)) {
                note(folder);
            }
        }
        if line.contains(&target) {
            note(&target);
        }
        for home in ["/home/", "/Users/", "C:\\Users\\"] {
            if line.split(home).skip(1).any(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase())) {
                note(home);
            }
        }
        for host in &hosts {
            if line.contains(host.as_str()) {
                note(host);
            }
        }
    }
    found
}

/// What is wrong with an npm lock file: where it says from which address a package came.
fn npm_lock_faults(text: &str) -> Vec<String> {
    let lock: Value = match serde_json::from_str(text) {
        Ok(lock) => lock,
        Err(error) => return vec![error.to_string()],
    };
    let Some(packages) = lock["packages"].as_object() else { return vec!["no packages".into()] };
    packages
        .iter()
        .filter(|(_, package)| package["resolved"].as_str().is_some_and(|from| from.contains("://")))
        .map(|(name, _)| format!("{name} has a resolved address"))
        .collect()
}

/// What is wrong with `Cargo.lock`: a package from elsewhere than crates.io or the workspace.
fn cargo_lock_faults(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| line.strip_prefix("source = "))
        .filter(|source| *source != "\"registry+https://github.com/rust-lang/crates.io-index\"")
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_rust_file_opens_with_its_idea() {
    let silent: Vec<String> = texts()
        .filter(|(file, text)| file.ends_with(".rs") && !opens_with_its_idea(text))
        .map(|(file, _)| file)
        .collect();
    assert_eq!(silent, Vec::<String>::new(), "these do not open with //! and what they are");
}

#[test]
fn no_file_names_a_place_of_one_machine_or_the_host_of_a_registry() {
    let found: Vec<String> = texts()
        .flat_map(|(file, text)| places(&text).into_iter().map(move |place| format!("{file}:{place}")))
        .collect();
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn lock_files_are_committed_and_name_no_address() {
    let files = files();
    assert!(files.iter().any(|file| file == "Cargo.lock"), "Cargo.lock is not committed");
    let text = fs::read_to_string(repository().join("Cargo.lock")).expect("a readable file");
    assert_eq!(cargo_lock_faults(&text), Vec::<String>::new());
    for package in files.iter().filter(|file| file.ends_with("package.json")) {
        let json: Value =
            serde_json::from_str(&fs::read_to_string(repository().join(package)).expect("a readable file"))
                .unwrap_or_else(|error| panic!("{package}: {error}"));
        if json["dependencies"].is_null() && json["devDependencies"].is_null() {
            continue;
        }
        let lock = package.replace("package.json", "package-lock.json");
        assert!(files.contains(&lock), "{lock} is not committed");
        let text = fs::read_to_string(repository().join(&lock)).expect("a readable file");
        assert_eq!(npm_lock_faults(&text), Vec::<String>::new(), "{lock}");
    }
}

#[cfg(test)]
mod made_up {
    use super::*;

    #[test]
    fn a_file_without_its_idea_is_found() {
        assert!(opens_with_its_idea("//! What it is.\nuse x;"));
        for bad in ["", "//!\n", "//! ", "use x;\n//! late", "// a comment", "\n//! What it is."] {
            assert!(!opens_with_its_idea(bad), "{bad:?}");
        }
    }

    #[test]
    fn places_are_found() {
        for bad in [
            format!("cd /{}/main", "work"),
            format!("\"/{}/.cargo\"", "root"),
            format!("see /{}/ada/x", "home"),
            format!("=/tmp/{}-x", "target"),
            format!("https://registry.{}/x", "npmjs.org"),
        ] {
            assert_eq!(places(&format!("fine\n{bad}")).len(), 1, "{bad}");
        }
    }

    #[test]
    fn what_only_looks_like_a_place_is_left_alone() {
        for fine in ["a/work/b", "~/work/", "https://host.example/work/1", "/workspace/", "/home/ADDRESS", "crates.io"]
        {
            assert_eq!(places(fine), Vec::<String>::new(), "{fine}");
        }
    }

    #[test]
    fn a_lock_file_with_addresses_is_found() {
        let lock = r#"{"packages": {"": {}, "node_modules/a": {"resolved": "https://host.example/a.tgz"}, "b": {"resolved": "../b"}}}"#;
        assert_eq!(npm_lock_faults(lock), ["node_modules/a has a resolved address"]);
        assert_eq!(npm_lock_faults("{").len(), 1);
        assert_eq!(cargo_lock_faults("source = \"git+https://host.example/x\"\n").len(), 1);
    }
}
