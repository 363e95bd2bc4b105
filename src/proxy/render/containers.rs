//! Which names are an app's containers: the only places that the proxies go to for it.

use std::collections::BTreeSet;

use crate::model::{AppName, AppRecord};

/// Whether a name is one of an app's containers: one that its record lists, or one of its project.
pub(super) fn is_container(app: &AppName, record: &AppRecord, name: &str) -> bool {
    let project = app.project();
    let is_listed = record.ct.values().any(|container| container == name) && !is_address(name);
    is_listed || ["_", "-"].iter().any(|end| is_of_project(&format!("{project}{end}"), name))
}

/// The names that may be dialled: what the record lists, and what the project's name begins.
pub(super) fn dialled(app: &AppName, record: &AppRecord) -> Vec<String> {
    let project = app.project();
    let listed = record.ct.values().filter(|name| !is_address(name)).cloned();
    let begins = ["_", "-"].iter().map(|end| format!("{project}{end}"));
    listed.chain(begins).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Whether a name begins as a project's containers do, and is a container's: with a dot in it, it would be a domain, and
/// lead to wherever that one's owner says.
pub(in crate::proxy) fn is_of_project(start: &str, name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    name.strip_prefix(start).is_some_and(|rest| !rest.is_empty()) && name.chars().all(is_plain)
}

/// Docker takes `127.0.0.1` and `0x7f.1` as names; what dials them does not ask Docker.
fn is_address(name: &str) -> bool {
    let is_number = |label: &str| match label.strip_prefix("0x").or(label.strip_prefix("0X")) {
        Some(hex) => hex.chars().all(|c| c.is_ascii_hexdigit()),
        None => label.chars().all(|c| c.is_ascii_digit()),
    };
    name.eq_ignore_ascii_case("localhost") || name.split('.').all(is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_containers_are_containers() {
        let app = AppName::parse("app_main.12345").unwrap();
        let listed = ["named", "my.named", "127.0.0.1", "0x7f.1", "2130706433", "localhost", ""];
        let ct: serde_json::Map<_, _> =
            listed.iter().map(|name| (format!("s{name}"), (*name).into())).collect();
        let record: AppRecord = serde_json::from_value(serde_json::json!({
            "repo_url": "https://git.test/app", "branch": "main", "deploy_id": "1", "master": "node1", "ct": ct,
        }))
        .unwrap();
        for own in ["named", "my.named", "appmain12345_web_1", "appmain12345-web-2"] {
            assert!(is_container(&app, &record, own), "{own}");
        }
        for foreign in [
            "127.0.0.1",
            "0x7f.1",
            "2130706433",
            "localhost",
            "",
            "other",
            "named.evil.test",
            "appmain12345",
            "appmain12345_",
            "appmain123456_web_1",
            "appmain12345_web_1.evil.test",
            "appmain12345_web_1{env.X}",
            "appmain12345_web_1@other",
            "appmain12345_web_1/..",
        ] {
            assert!(!is_container(&app, &record, foreign), "{foreign}");
        }
        let dialled = dialled(&app, &record);
        assert_eq!(dialled, ["appmain12345-", "appmain12345_", "my.named", "named"]);
    }
}
