//! Which crate may know which, from `cargo metadata`: the table in the architecture document, §1.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use hearth_tests::repository;
use serde_json::Value;

/// A crate and what it must not know. A name that ends in `*` stands for all that begin so.
struct Fence {
    /// The crate.
    of: &'static str,
    /// Not even through others: these must be nowhere below it.
    below: &'static [&'static str],
    /// Not by itself; what it depends on may.
    direct: &'static [&'static str],
}

const FENCES: &[Fence] = &[
    Fence {
        of: "hearth-core",
        below: &[
            "tokio*",
            "axum",
            "hyper",
            "tonic*",
            "prost*",
            "sled",
            "serde_json",
            "tracing*",
            "log",
            "rand",
            "rand_core",
            "getrandom",
            "fastrand",
            "chrono",
            "time",
            "jiff",
            "uuid",
            "tempfile",
        ],
        direct: &[],
    },
    Fence { of: "hearth-auth", below: &["sled", "hearth-store", "hearth-engine", "hearth-native"], direct: &[] },
    Fence {
        of: "hearth-store",
        below: &["serde_json", "axum", "hyper", "http", "tonic*", "prost*", "hearth-auth", "hearth-engine"],
        direct: &[],
    },
    Fence { of: "hearth-engine", below: &["axum", "tonic*", "prost*"], direct: &[] },
];

/// What no door may name itself. Other doors are added by what stands in `server/doors/`.
const DOOR_DIRECT: [&str; 2] = ["hearth-store", "sled"];

/// The normal and build dependencies between packages, by name.
struct Graph {
    below: BTreeMap<String, BTreeSet<String>>,
    /// Our crates and the folder of each, from the root of the repository.
    ours: BTreeMap<String, String>,
}

impl Graph {
    fn read(metadata: &Value) -> Self {
        let root = metadata["workspace_root"].as_str().expect("metadata has a root");
        let mut names = BTreeMap::new();
        let mut ours = BTreeMap::new();
        for package in metadata["packages"].as_array().expect("metadata has packages") {
            let (id, name) = (package["id"].as_str().expect("an id"), package["name"].as_str().expect("a name"));
            names.insert(id, name);
            let manifest = package["manifest_path"].as_str().expect("a path");
            if let Some(inside) = manifest.strip_prefix(root)
                && package["source"].is_null()
            {
                let folder = inside.trim_start_matches('/').trim_end_matches("Cargo.toml").trim_end_matches('/');
                ours.insert(name.to_owned(), folder.to_owned());
            }
        }
        let mut below: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for node in metadata["resolve"]["nodes"].as_array().expect("metadata is resolved") {
            let name = names[node["id"].as_str().expect("an id")];
            let into = below.entry(name.to_owned()).or_default();
            for dep in node["deps"].as_array().expect("a list") {
                let kinds = dep["dep_kinds"].as_array().expect("a list");
                if kinds.iter().any(|kind| kind["kind"] != "dev") {
                    into.insert(names[dep["pkg"].as_str().expect("an id")].to_owned());
                }
            }
        }
        Self { below, ours }
    }

    fn direct(&self, of: &str) -> BTreeSet<&str> {
        self.below.get(of).into_iter().flatten().map(String::as_str).collect()
    }

    /// A way from `of` to each crate below it.
    fn ways(&self, of: &str) -> BTreeMap<String, String> {
        let mut ways = BTreeMap::new();
        let mut open = vec![(of.to_owned(), of.to_owned())];
        while let Some((at, way)) = open.pop() {
            for next in self.direct(&at) {
                if !ways.contains_key(next) {
                    let way = format!("{way} → {next}");
                    ways.insert(next.to_owned(), way.clone());
                    open.push((next.to_owned(), way));
                }
            }
        }
        ways
    }

    fn doors(&self) -> Vec<&str> {
        let is_door = |folder: &String| folder.starts_with("server/doors/");
        self.ours.iter().filter(|(_, folder)| is_door(folder)).map(|(name, _)| name.as_str()).collect()
    }
}

/// Every arrow that points where none may.
fn broken(graph: &Graph) -> Vec<String> {
    let doors = graph.doors();
    let mut broken = Vec::new();
    for fence in FENCES.iter().filter(|fence| graph.ours.contains_key(fence.of)) {
        let inner = ["hearth-core", "hearth-auth", "hearth-store", "hearth-engine"].contains(&fence.of);
        for (name, way) in graph.ways(fence.of) {
            if fence.below.iter().any(|pattern| matches(pattern, &name)) || (inner && doors.contains(&name.as_str())) {
                broken.push(way);
            }
        }
        for name in graph.direct(fence.of) {
            if fence.direct.iter().any(|pattern| matches(pattern, name)) {
                broken.push(format!("{} → {name}", fence.of));
            }
        }
    }
    // The core stands on nothing of ours.
    broken.extend(
        graph
            .direct("hearth-core")
            .into_iter()
            .filter(|name| graph.ours.contains_key(*name))
            .map(|name| format!("hearth-core → {name}")),
    );
    for door in &doors {
        for name in graph.direct(door) {
            if DOOR_DIRECT.contains(&name) || doors.contains(&name) {
                broken.push(format!("{door} → {name}"));
            }
        }
    }
    for ours in graph.ours.keys() {
        if graph.direct(ours).contains("hearth") {
            broken.push(format!("{ours} → hearth"));
        }
    }
    broken.sort();
    broken.dedup();
    broken
}

fn matches(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |start| name.starts_with(start))
}

#[test]
fn every_arrow_points_inward() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--all-features"])
        .current_dir(repository())
        .output()
        .expect("cargo can be started");
    assert!(output.status.success(), "cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr));
    let graph = Graph::read(&serde_json::from_slice(&output.stdout).expect("cargo prints JSON"));
    for name in ["hearth-core", "hearth-auth", "hearth-store", "hearth-engine", "hearth-native", "hearth"] {
        assert!(graph.ours.contains_key(name), "{name} is gone or has another name: the table here must follow");
    }
    assert!(graph.doors().contains(&"hearth-native"), "no door is found: {:?}", graph.ours);
    assert_eq!(broken(&graph), Vec::<String>::new());
}

#[cfg(test)]
mod made_up {
    use super::*;
    use expect_test::{Expect, expect};

    /// Arrows as `a > b`; all but `lib` packages are ours, doors are those that begin with `hearth-door`.
    fn check(arrows: &[&str], want: Expect) {
        let mut below: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut ours = BTreeMap::new();
        for arrow in arrows {
            let (from, to) = arrow.split_once(" > ").unwrap();
            below.entry(from.into()).or_default().insert(to.into());
            for name in [from, to].into_iter().filter(|name| name.starts_with("hearth")) {
                let folder = if name.starts_with("hearth-door") { "server/doors/x" } else { "server/x" };
                ours.insert(name.to_owned(), folder.to_owned());
            }
        }
        want.assert_eq(&broken(&Graph { below, ours }).join("\n"));
    }

    #[test]
    fn the_way_things_are_meant_breaks_nothing() {
        check(
            &[
                "hearth > hearth-door-a",
                "hearth > hearth-store",
                "hearth-door-a > hearth-engine",
                "hearth-engine > hearth-store",
                "hearth-store > sled",
                "hearth-store > hearth-core",
                "hearth > axum",
                "hearth-door-a > axum",
                "hearth-core > thiserror",
            ],
            expect![""],
        );
    }

    #[test]
    fn a_fence_is_broken_through_others_too() {
        check(
            &["hearth-core > nice", "nice > log", "hearth-engine > client", "client > tonic-build"],
            expect![[r#"
                hearth-core → nice → log
                hearth-engine → client → tonic-build"#]],
        );
    }

    #[test]
    fn a_door_knows_neither_another_door_nor_the_store() {
        check(
            &["hearth-door-a > hearth-door-b", "hearth-door-b > hearth-store", "hearth-engine > hearth-door-a"],
            expect![[r#"
                hearth-door-a → hearth-door-b
                hearth-door-b → hearth-store
                hearth-engine → hearth-door-a
                hearth-engine → hearth-door-a → hearth-door-b"#]],
        );
    }

    #[test]
    fn nothing_knows_the_program_and_the_core_knows_nobody() {
        check(
            &["hearth-tests > hearth", "hearth-core > hearth-auth"],
            expect![[r#"
                hearth-core → hearth-auth
                hearth-tests → hearth"#]],
        );
    }
}
