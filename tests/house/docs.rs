//! What our Markdown promises about the repository: each link leads to a file, each script it names is there to be run.
//!
//! Whether a command prints what the text says is for the story tests: that needs a server.

use std::fs;
use std::path::Path;

use hearth_tests::repository;

use crate::tracked::texts;

/// The relative targets of the links in a Markdown text, without their `#fragment`.
fn links(text: &str) -> Vec<&str> {
    prose(text)
        .flat_map(|line| line.split("](").skip(1))
        .filter_map(|rest| rest.split(')').next())
        .filter(|target| !target.contains("://") && !target.starts_with(['#', '/']) && !target.starts_with("mailto:"))
        .filter_map(|target| target.split(['#', ' ']).next())
        .collect()
}

/// The scripts of the repository that a Markdown text has the reader run: `./test`, `.ci/run`.
fn scripts(text: &str) -> Vec<&str> {
    let mut found: Vec<&str> = commands(text)
        .flat_map(|command| command.split_whitespace())
        .map(|word| word.trim_matches(['`', '"', '\'', ';', ',', '(', ')']))
        .filter(|word| *word == ".ci/run" || word.strip_prefix("./").is_some_and(|name| !name.is_empty()))
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// The lines outside fenced blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// The lines of the blocks that are for a shell.
fn commands(text: &str) -> impl Iterator<Item = &str> {
    let mut shell = false;
    text.lines().filter(move |line| match line.trim_start().strip_prefix("```") {
        Some(kind) => {
            shell = !shell && ["sh", "bash", "console", "shell"].contains(&kind.trim());
            false
        }
        None => shell,
    })
}

#[test]
fn every_link_leads_to_a_file() {
    let mut dead = Vec::new();
    for (file, text) in texts().filter(|(file, _)| file.ends_with(".md")) {
        let folder = repository().join(&file).parent().map(Path::to_owned).expect("a file stands in a folder");
        dead.extend(links(&text).iter().filter(|to| !folder.join(to).exists()).map(|to| format!("{file}: {to}")));
    }
    assert_eq!(dead, Vec::<String>::new());
}

#[test]
fn every_script_that_the_documents_name_can_be_run() {
    use std::os::unix::fs::PermissionsExt;
    let mut missing = Vec::new();
    // Guides may show scripts of the reader's own; README and the documents at the root speak of this repository.
    for (file, text) in texts().filter(|(file, _)| file.ends_with(".md") && !file.contains('/')) {
        for script in scripts(&text) {
            let is_program = fs::metadata(repository().join(script))
                .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0);
            if !is_program {
                missing.push(format!("{file}: {script}"));
            }
        }
    }
    for script in ["./test", "./soak", ".ci/run"] {
        assert!(repository().join(script).is_file(), "{script} is gone: this test must follow");
    }
    assert_eq!(missing, Vec::<String>::new());
}

#[cfg(test)]
mod made_up {
    use super::*;

    #[test]
    fn links_are_found_outside_of_code() {
        let text = "see [a](docs/a.md#part), [b](https://host.example/b) and [c](#here)\n```sh\n[d](d.md)\n```\n![e](e.png \"x\")";
        assert_eq!(links(text), ["docs/a.md", "e.png"]);
    }

    #[test]
    fn scripts_are_found_in_shell_blocks_only() {
        let text = "run `./no`\n```sh\n./test && ./soak repeat 3   # not cargo\n.ci/run\n```\n```text\n./neither\n```\n```sh\n./last\n```";
        assert_eq!(scripts(text), ["./last", "./soak", "./test", ".ci/run"]);
    }
}
