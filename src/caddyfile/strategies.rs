//! Texts made of the words that matter, in any order. The targets in `fuzz/` draw theirs byte by byte.

use proptest::prelude::*;

/// What they call the only container of the app.
pub const OWN: &str = "app_web_1";

const WORDS: &[&str] = &[
    "/",
    "/a",
    "/a/b",
    "*.b",
    ".php",
    "!.html",
    "h.test",
    "http://i.test{uri}",
    "app_web_1",
    "app_web_1:80",
    "http://app_web_1:8080-8083",
    "https://app_web_1/x",
    "other:80",
    "127.0.0.1:8500",
    "unix//run/docker.sock",
    "srv://x",
    "301",
    "404",
    "meta",
    "not",
    "is",
    "has",
    "starts_with",
    "not_match",
    "or",
    "and",
    "10mb",
    "5s",
    "9999h",
    "1ns",
    "^/(.*)$",
    "(",
    "\\",
    "\\E",
    "\"a b\"",
    "'a b'",
    "\"a\\\"b\"",
    "`x y`",
    "{path}",
    "{>X-A}",
    "{~c}",
    "{label1}",
    "{1}",
    "{env.TOKEN}",
    "{$TOKEN}",
    "{%TOKEN%}",
    "{file./etc/passwd}",
    "{system.hostname}",
    "{",
    "}",
    "{{",
    "#x",
    "<<E",
    "@m",
    "é",
    "&(x)",
    "respond",
    "-Server",
    "+X-A",
    "X-A",
    "Content-Type",
    "self_signed",
    "off",
    "internal",
    "me@h.test",
    "body",
    "header",
];

const DIRECTIVES: &[&str] = &[
    "proxy",
    "redir",
    "rewrite",
    "header",
    "gzip",
    "tls",
    "basicauth",
    "limits",
    "mime",
    "status",
    "internal",
    "log",
    "errors",
    "timeouts",
    "root",
    "import",
    "reverse_proxy",
    "respond",
    "encode",
    "handle",
    "handle_path",
    "route",
    "@m",
    "file_server",
    "templates",
    "uri",
    "handle_errors",
    "request_body",
    "bind",
    "if",
    "if_op",
    "r",
    "to",
    "ext",
    "upstream",
    "policy",
    "without",
    "except",
    "header_upstream",
    "health_check",
    "transport",
    "body",
    "admin",
];

const KEYS: &[&str] = &[
    "http://h.test",
    "h.test",
    "*.h.test",
    "h.test/a",
    ":80",
    "a.test, b.test",
    "{$X}",
    "h.test:8443",
];

fn line() -> impl Strategy<Value = String> {
    let words = prop::collection::vec(prop::sample::select(WORDS), 0..5);
    (prop::sample::select(DIRECTIVES), words)
        .prop_map(|(name, words)| format!("{name} {}", words.join(" ")))
}

/// A line, or one with others in braces.
fn directive() -> impl Strategy<Value = String> {
    let block = prop::collection::vec(line(), 1..4);
    prop_oneof![
        3 => line(),
        1 => (line(), block).prop_map(|(line, block)| format!("{line} {{\n{}\n}}", block.join("\n"))),
    ]
}

/// Sites in either syntax, or in none: of known words, in an order that often makes no sense.
pub fn text() -> impl Strategy<Value = String> {
    let directives = prop::collection::vec(directive(), 0..5);
    let site = (prop::sample::select(KEYS), directives)
        .prop_map(|(key, lines)| format!("{key} {{\n{}\n}}\n", lines.join("\n")))
        .boxed();
    let service = "#-- CADDYFILE of the service web\n";
    let mark = prop::sample::select(vec!["", "", "# caddy 1\n", "# caddy 2\n", service]);
    let marked = (mark, site).prop_map(|(mark, site)| format!("{mark}{site}"));
    prop::collection::vec(marked, 1..3).prop_map(|sites| sites.concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::{lexing, translation};

    proptest! {
        #[test]
        fn what_is_taken_stays_in_its_place(text in text()) {
            prop_assert_eq!(lexing(&text), Ok(()), "{}", text);
            prop_assert_eq!(translation(&text, &|host| host == OWN), Ok(()), "{}", text);
        }
    }
}
