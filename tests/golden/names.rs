//! Names for what differs from run to run.

use std::collections::BTreeMap;

use regex::{Captures, Regex};

/// What has a name, in the order in which it is looked for: its kind, and where it stands. The first group is it.
const KINDS: [(&str, &str); 8] = [
    ("v", r"\b(1[0-9]{15})\b"),
    ("e", r#"(?m)^ETag: W/"([^"]+)"$"#),
    ("t", r#""token":"([\w-]+)""#),
    ("t", r"(?m)^id: ([\w-]{20,})$"),
    ("link", r#""link":"([\w-]+)""#),
    ("ticket", r#""ticket":"([\w.-]+)""#),
    ("id", r"/([A-Za-z0-9]{20})\b"),
    ("seconds", r"\b(1[0-9]{9})\b"),
];

/// The names of one run.
pub(crate) struct Names {
    kinds: Vec<(&'static str, Regex)>,
    time: Regex,
    hidden: Regex,
    source: String,
    given: BTreeMap<(&'static str, String), String>,
}

impl Names {
    /// None yet. What stands in the case itself needs no name.
    pub(crate) fn new(source: &str) -> Self {
        let regex = |text| Regex::new(text).expect("our own expressions are well formed");
        Self {
            kinds: KINDS.iter().map(|(kind, text)| (*kind, regex(text))).collect(),
            time: regex(r#""\$timestamp":"([^"]+)""#),
            hidden: regex(r#""(request|micros)":("[^"]*"|[0-9]+)"#),
            source: source.into(),
            given: BTreeMap::new(),
        }
    }

    /// The text of an answer, with names.
    pub(crate) fn give(&mut self, text: &str) -> String {
        let mut text = self.hidden.replace_all(text, r#""$1":"…""#).into_owned();
        let (kinds, time) = (std::mem::take(&mut self.kinds), self.time.clone());
        // What a kind has found before stands in other places too: in links, in messages for a person.
        for (kind, regex) in &kinds {
            text = self.replace(kind, regex, &text);
            for ((_, value), name) in self.given.iter().filter(|((known, value), _)| known == kind && value.len() >= 16)
            {
                text = text.replace(value.as_str(), name);
            }
        }
        self.kinds = kinds;
        self.replace("time", &time, &text)
    }

    fn replace(&mut self, kind: &'static str, regex: &Regex, text: &str) -> String {
        let replaced = regex.replace_all(text, |found: &Captures<'_>| {
            let value = &found[1];
            if self.source.contains(value) {
                return found[0].to_owned();
            }
            let next = self.given.keys().filter(|(known, _)| *known == kind).count() + 1;
            let name = self.given.entry((kind, value.to_owned())).or_insert_with(|| format!("{kind}{next}"));
            found[0].replace(value, name)
        });
        replaced.into_owned()
    }

    /// The text of a request, with the real things in place of `$` and their names.
    pub(crate) fn fill(&self, text: &str) -> String {
        let mut text = text.to_owned();
        let mut named: Vec<(&String, &String)> = self.given.iter().map(|((_, value), name)| (name, value)).collect();
        // `$v12` before `$v1`.
        named.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        for (name, value) in named {
            text = text.replace(&format!("${name}"), value);
        }
        text
    }
}
