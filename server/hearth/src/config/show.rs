//! The effective configuration for people (as TOML that could be read again) and for scripts. Secrets are never shown.

use serde_json::json;

use super::known::{KNOWN, Kind};
use super::{Config, Held, Value};

/// What stands in place of a secret.
const HIDDEN: &str = "(hidden)";

impl Config {
    /// As TOML: what is set, each with where it came from; what is absent, as a comment.
    pub(crate) fn to_toml(&self) -> String {
        let mut lines = Vec::new();
        for known in KNOWN.iter() {
            match self.get(known.key) {
                None => lines.push((format!("# {} =", known.key), "not set".to_string())),
                Some(held) if known.kind == Kind::Secret => {
                    lines.push((format!("# {} = {HIDDEN}", known.key), held.origin.to_string()));
                }
                Some(held) => lines.push((format!("{} = {}", known.key, toml_of(held)), held.origin.to_string())),
            }
        }
        let width = lines.iter().map(|(line, _)| line.chars().count()).max().unwrap_or(0).min(60);
        let mut out: String = lines.iter().map(|(line, origin)| format!("{line:width$}  # {origin}\n")).collect();
        for issuer in &self.issuers {
            let text = |text: &str| toml::Value::from(text).to_string();
            let audiences: Vec<String> = issuer.audiences.iter().map(|one| text(one)).collect();
            out += &format!("\n[[issuers]]  # {}\nissuer = {}\n", issuer.origin, text(&issuer.issuer));
            out += &format!("audience = [{}]\nalgorithm = {}\n", audiences.join(", "), text(&issuer.algorithm));
            out += &format!("key = {{ {} = {} }}\n", issuer.key.name(), text(&issuer.key.to_string()));
            if let Some(claim) = &issuer.uid_claim {
                out += &format!("uid_claim = {}\n", text(claim));
            }
            if let Some(seconds) = issuer.leeway_seconds {
                out += &format!("leeway_seconds = {seconds}\n");
            }
        }
        out
    }

    /// As JSON: `{"file", "settings": {key: {"value", "from", "variable"}}, "issuers"}`.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        let setting = |known: &super::known::Known| {
            let held = self.get(known.key);
            let value = match held {
                None => json!(null),
                Some(_) if known.kind == Kind::Secret => json!(HIDDEN),
                Some(held) => json_of(held),
            };
            let from = held.map(|held| held.origin.to_string());
            (known.key.to_string(), json!({"value": value, "from": from, "variable": known.variable()}))
        };
        let settings: serde_json::Map<_, _> = KNOWN.iter().map(setting).collect();
        let issuers: Vec<_> = self
            .issuers
            .iter()
            .map(|issuer| {
                json!({
                    "issuer": issuer.issuer, "audience": issuer.audiences, "algorithm": issuer.algorithm,
                    "key": {issuer.key.name(): issuer.key.to_string()}, "uid_claim": issuer.uid_claim,
                    "leeway_seconds": issuer.leeway_seconds, "from": issuer.origin.to_string(),
                })
            })
            .collect();
        json!({"file": self.file, "settings": settings, "issuers": issuers})
    }
}

fn toml_of(held: &Held) -> String {
    match &held.value {
        Value::Text(text) => toml::Value::from(text.as_str()).to_string(),
        Value::Flag(flag) => flag.to_string(),
        Value::Count(count) => count.to_string(),
        Value::List(list) => toml::Value::from(list.clone()).to_string(),
    }
}

fn json_of(held: &Held) -> serde_json::Value {
    match &held.value {
        Value::Text(text) => json!(text),
        Value::Flag(flag) => json!(flag),
        Value::Count(count) => json!(count),
        Value::List(list) => json!(list),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn what_is_shown_reads_back_to_the_same_and_hides_secrets() {
        let file = "project = \"a\"\n[[issuers]]\nissuer = \"i\"\naudience = \"x\\\"y\"\nalgorithm = \"HS256\"\n\
                    key = { secret_file = \"/s\" }";
        let environment = [("HEARTH_ADMIN_KEY".to_string(), "hidden-key".to_string())];
        let config = Config::build(Some((Path::new("/c/hearth.toml"), file)), environment, vec![]).unwrap();
        let shown = config.to_toml();
        assert!(!shown.contains("hidden-key") && !config.to_json().to_string().contains("hidden-key"), "{shown}");
        assert!(shown.contains("# HEARTH_ADMIN_KEY") && shown.contains("# /c/hearth.toml:1"), "{shown}");
        let again = Config::build(Some((Path::new("/c/hearth.toml"), &shown)), [], vec![]).unwrap();
        let values = |config: &Config| -> Vec<_> {
            let secret = |key: &str| key == "admin_key";
            config.held.iter().filter(|(key, _)| !secret(key)).map(|(key, held)| (*key, held.value.clone())).collect()
        };
        // The default folder is relative to the file once it stands in one.
        assert_eq!(values(&again).len(), values(&config).len());
        assert_eq!(again.get("project").unwrap().value, Value::Text("a".into()));
        assert_eq!(again.issuers[0].audiences, ["x\"y"]);
    }
}
