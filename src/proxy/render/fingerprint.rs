//! A mark in `haproxy.cfg` that the running process tells again: so it is known whether it runs what is in the file.
//! Which server of a backend is enabled does not count: that changes in the running process, without a reload.

use std::collections::BTreeMap;

use md5::{Digest, Md5};

const SECTION: &str = "global\n";
const DISABLED: &str = " disabled\n";
const LINE: &str = "    description tandem-";

/// Puts a mark made from the text into its `global` section, as HAProxy's `description`.
pub(super) fn mark(text: &str) -> String {
    let digest = Md5::digest(plain(text));
    let hash: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    text.replacen(SECTION, &format!("{SECTION}{LINE}{hash}\n"), 1)
}

/// A text with these states of its servers, by backend and server.
pub(in crate::proxy) fn with_states(
    text: &str,
    servers: &BTreeMap<(String, String), bool>,
) -> String {
    let mut backend = "";
    let mut lines = String::with_capacity(text.len());
    for line in text.lines() {
        backend = line.strip_prefix("backend ").unwrap_or(backend);
        let server = line.strip_prefix("    server ").and_then(|rest| rest.split(' ').next());
        let state = server.and_then(|name| servers.get(&(backend.to_owned(), name.to_owned())));
        match state {
            Some(is_enabled) => {
                let word = DISABLED.trim_end();
                lines.push_str(line.strip_suffix(word).unwrap_or(line));
                lines.push_str(if *is_enabled { "" } else { word });
            }
            None => lines.push_str(line),
        }
        lines.push('\n');
    }
    lines
}

/// A text without the servers' states.
pub(in crate::proxy) fn plain(text: &str) -> String {
    text.replace(DISABLED, "\n")
}

/// The mark in a text, if it has one.
pub(in crate::proxy) fn of(text: &str) -> Option<&str> {
    let line = text.lines().find(|line| line.starts_with(LINE))?;
    line.trim_start().strip_prefix("description ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_follows_the_text() {
        let (one, other) = (mark("global\n    a\n"), mark("global\n    b\n"));
        assert!(of(&one).is_some_and(|mark| mark.starts_with("tandem-")));
        assert_ne!(of(&one), of(&other));
        let (on, off) = (mark("global\n    server a\n"), mark("global\n    server a disabled\n"));
        assert_eq!(of(&on), of(&off));
        let text =
            "backend a\n    server x 1:1\n    server y 2:2 disabled\nbackend b\n    server x 1:1\n";
        let name = |server: &str| ("a".to_owned(), server.to_owned());
        let flipped = with_states(text, &[(name("x"), false), (name("y"), true)].into());
        let wanted =
            "backend a\n    server x 1:1 disabled\n    server y 2:2\nbackend b\n    server x 1:1\n";
        assert_eq!(flipped, wanted);
        assert_eq!(with_states(&flipped, &[(name("x"), true), (name("y"), false)].into()), text);
        assert_eq!(of("global\n    description of mine\n"), None);
    }
}
