//! The files of the checkout that Docker mounts as secrets and configurations: without one no container is made, and that
//! would be found out when the former version does not run any more.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

pub(super) fn required(config: &Value) -> BTreeMap<PathBuf, String> {
    let mut files = BTreeMap::new();
    for (section, kind) in [("secrets", "the secret"), ("configs", "the config")] {
        let entries = config.get(section).and_then(Value::as_object).into_iter().flatten();
        for (name, entry) in entries.filter(|(name, _)| is_used(config, section, name)) {
            if let Some(file) = entry.get("file").and_then(Value::as_str) {
                files.insert(super::text::unescape(file).into(), format!("{kind} {name}"));
            }
        }
    }
    files
}

/// Whether a service asks for it.
fn is_used(config: &Value, section: &str, name: &str) -> bool {
    let services = config.get("services").and_then(Value::as_object).into_iter().flatten();
    let asked = services.filter_map(|(_, service)| service.get(section)?.as_array()).flatten();
    asked.into_iter().any(|asked| asked.get("source").unwrap_or(asked).as_str() == Some(name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_service_asks_for_has_to_be_a_file() {
        let config = json!({
            "services": {"web": {"secrets": [{"source": "key"}], "configs": ["conf"]}},
            "secrets": {"key": {"file": "/a/key$$1"}, "other": {"file": "/a/other"}, "env": {"environment": "X"}},
            "configs": {"conf": {"file": "/a/conf"}, "text": {"content": "x"}},
        });
        let found = required(&config);
        let told = [("/a/conf", "the config conf"), ("/a/key$1", "the secret key")];
        assert_eq!(found, told.map(|(path, what)| (path.into(), what.to_owned())).into());
        assert!(required(&json!({})).is_empty());
    }
}
