//! Texts made of the words that matter, in any order: whatever is taken stays in its place. `make fuzz` draws more.

use proptest::prelude::*;

use super::lexer::tokens;
use super::parser::{Directive, blocks};
use super::{Dialect, translate};

/// The only container of the app.
const OWN: &str = "app_web_1";
/// What must not come through, wherever it stood.
const NEVER: &[&str] = &["{env.", "{$", "{file.", "{system.", "{%"];

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

fn text() -> impl Strategy<Value = String> {
    let directives = prop::collection::vec(directive(), 0..5);
    let site = (prop::sample::select(KEYS), directives)
        .prop_map(|(key, lines)| format!("{key} {{\n{}\n}}\n", lines.join("\n")))
        .boxed();
    let marked = prop::sample::select(&["", "# caddy 1\n", "# caddy 2\n"][..]);
    (marked, prop::collection::vec(site, 1..3))
        .prop_map(|(mark, sites)| format!("{mark}{}", sites.concat()))
}

/// The hosts that a site's directives dial.
fn dialled(directives: &[Directive]) -> Vec<String> {
    let mut hosts = Vec::new();
    for directive in directives {
        match directive.name.as_str() {
            "reverse_proxy" => {
                let lines = directive.block().iter().filter(|line| line.name == "to");
                let places = lines.flat_map(|line| &line.args).chain(&directive.args);
                let places = places.filter(|word| !word.starts_with(['/', '@', '*']));
                hosts.extend(places.map(|place| host_of(place)));
            }
            "route" | "handle" | "handle_path" | "handle_errors" => {
                hosts.extend(dialled(directive.block()));
            }
            _ => {}
        }
    }
    hosts
}

fn host_of(place: &str) -> String {
    let place = place.split_once("://").map_or(place, |(_, place)| place);
    place.split(':').next().unwrap_or_default().to_owned()
}

proptest! {
    #[test]
    fn what_is_taken_stays_in_its_place(text in text()) {
        let Ok(translation) = translate(&text, &|host, _| host == OWN) else {
            return Ok(());
        };
        for site in &translation.sites {
            prop_assert!(crate::proxy::text::host(&site.url.host).is_ok(), "{text}\n{}", site.url);
            let Ok(out) = site.text(1) else {
                continue;
            };
            let whole = format!("http://h.test {{\n{out}\n}}");
            let read = tokens(&whole, Dialect::V2).and_then(|tokens| blocks(&tokens));
            let read = read.unwrap_or_default();
            prop_assert_eq!(read.len(), 1, "one site, and nothing behind it: {}\n{}", text, out);
            for never in NEVER {
                prop_assert!(!out.contains(never), "{never}: {text}\n{out}");
            }
            for host in dialled(&read[0].directives) {
                prop_assert_eq!(&host, OWN, "{}\n{}", text, out);
            }
        }
    }
}
