//! `HAPROXY` values made of the words that matter, in any place: whatever is taken is one line of harmless words.
//! The targets in `fuzz/` draw their texts byte by byte.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::proxy::invariants::haproxy;

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
    "appmain12345_web_1",
];

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
    let names = (mostly("a".into(), text()), mostly("appmain12345_web_1".into(), text()));
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

proptest! {
    #[test]
    fn what_is_taken_stays_in_its_line(value in value()) {
        prop_assert_eq!(haproxy(&value), Ok(()), "{}", value);
    }
}
