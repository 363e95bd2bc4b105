//! `HAPROXY` values made of the words that matter, in any place: whatever is taken is one line of harmless words.
//! `make fuzz` draws more.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Keyword, parse_all};

const TEXTS: &[&str] = &[
    "ssh",
    "*:2222",
    "*:443",
    "1.2.3.4:70",
    "unix@/x",
    "fd@3",
    "tcp",
    "http",
    "22",
    "0",
    "99999",
    "+10",
    "22 send-proxy",
    "option tcplog",
    "option tcp-check",
    "option tcp-check\"",
    "option httpchk GET /",
    "timeout client 5s",
    "timeout client 15mn",
    "balance leastconn",
    "backend z",
    "listen z",
    "global",
    "lua-load x",
    "stats enable",
    "errorfile 503 /etc/passwd",
    "http-request return file /etc/passwd",
    "use_backend x",
    "bind *:1",
    "a#b",
    "a\nb",
    "a\rbackend z",
    "\"${X}\"",
    "send_proxy",
    "send-proxy check inter 3s",
    "check addr 10.0.0.1",
    "ssl verify none",
    "if { req_ssl_sni -i a.test }",
    "if { hdr(host) a.test }",
    "if TRUE",
    "if { path_beg -f /etc/passwd }",
    "",
    "if { req.hdr(host) -i a.test } { path_beg /x } || { path_beg /y }",
    "é",
    " ",
    "retries 3",
    "maxconn 9",
    "compression algo gzip",
    "rate-limit sessions 9",
    "http-request redirect scheme https code 301",
    "http-request set-header X-A b",
    "http-request set-header X-A %[env(X)]",
    "option pgsql-check user x",
    "port 9 proto h2",
    "ssl verify required ca-file /etc/passwd",
    "app_web_1",
];

/// What would open a section, or read or bind something that is not the app's.
const NEVER: &[&str] =
    &["/etc", "backend ", "listen ", "global", "lua", "unix@", "fd@", "errorfile", "stats"];

fn text() -> impl Strategy<Value = Value> {
    prop_oneof![
        8 => prop::sample::select(TEXTS).prop_map(Value::from),
        1 => any::<u32>().prop_map(Value::from),
        1 => Just(Value::Null),
        1 => "[ -~\n\t]{0,20}".prop_map(Value::from),
    ]
}

fn list() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => prop::collection::vec(text(), 0..2).prop_map(Value::from),
        1 => text(),
    ]
}

/// Mostly what is right there, so that what is not gets its chance elsewhere.
fn mostly(
    right: Value,
    else_: impl Strategy<Value = Value> + 'static,
) -> impl Strategy<Value = Value> {
    prop_oneof![6 => Just(right), 1 => else_]
}

fn backend() -> impl Strategy<Value = Value> {
    let names = (mostly("a".into(), text()), mostly("app_web_1".into(), text()));
    let ports = (mostly(22.into(), text()), mostly("2222".into(), text()));
    let condition = mostly("if { req_ssl_sni -i a.test }".into(), text());
    let server = mostly("send-proxy".into(), text());
    let options = mostly(json!(["option tcp-check"]), list());
    (names, ports, condition, server, options).prop_map(
        |((name, ct), (port, peer), condition, server, options)| {
            json!({"name": name, "use_backend_option": condition, "port": port, "peer_port": peer,
                "server_option": server, "options": options, "ct": ct})
        },
    )
}

fn value() -> impl Strategy<Value = Value> {
    let config = prop::sample::select(&["ssh", "http-in", "https-in", "a b", "", "x\ny"][..]);
    let mode = mostly("tcp".into(), text());
    let bind = mostly(json!(["*:2222"]), list());
    let options = mostly(json!(["option tcplog"]), list());
    (config, mode, bind, options, prop::collection::vec(backend(), 1..3)).prop_map(
        |(config, mode, bind, options, backends)| {
            let frontend = json!({"mode": mode, "bind": bind, "options": options});
            json!({config: {"frontend": frontend, "backends": backends}})
        },
    )
}

fn is_harmless(line: &str) -> bool {
    line.chars().all(|c| (' '..='~').contains(&c) && !"\"'\\$#`%;".contains(c))
}

proptest! {
    #[test]
    fn what_is_taken_stays_in_its_line(value in value()) {
        let Ok(declarations) = parse_all(value.as_object().unwrap(), &Keyword::ALL.into()) else {
            return Ok(());
        };
        for declaration in &declarations {
            // Names get a prefix of ours; what they say is free.
            let mut names = vec![&declaration.name];
            let mut lines = Vec::new();
            if let Ok(frontend) = &declaration.place {
                lines.extend(frontend.options.iter().cloned());
                lines.extend(frontend.binds.iter().map(ToString::to_string));
            }
            for backend in &declaration.backends {
                names.extend([&backend.name, &backend.ct]);
                lines.push(backend.server.join(" "));
                lines.extend(backend.options.iter().cloned());
                lines.extend(backend.condition.iter().map(ToString::to_string));
            }
            for name in names {
                prop_assert!(is_harmless(name) && !name.contains(' '), "{value}: {name:?}");
            }
            for line in lines {
                prop_assert!(is_harmless(&line), "{value}: {line:?}");
                for never in NEVER {
                    prop_assert!(!line.contains(never), "{value}: {line:?}");
                }
            }
        }
    }
}
