//! Whatever an app or a key says, it stays in its place.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use caddyfile::strategies;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Rendered, Templates, render};
use crate::model::NodeName;
use crate::proxy::{ClusterView, ProxySettings, invariants};

/// Gives the apps all that there is to give.
const WIDE: &str = r#"{"repo": "https://g/x", "upstreams": ["mail.test:25"], "ports": [22, 8500],
    "haproxy_keywords": ["abortonclose", "compression", "http-buffer-request", "maxconn", "nolinger",
        "on-marked-down", "proto-h2", "protocol-checks", "rate-limit", "set-header"]}"#;

static TEMPLATES: LazyLock<Templates> = LazyLock::new(|| Templates::built_in().unwrap());

fn rendered(entries: &[(&str, Value)]) -> Rendered {
    let bytes: Vec<_> =
        entries.iter().map(|(key, value)| (*key, value.to_string().into_bytes())).collect();
    let me = NodeName::parse("node1").unwrap();
    let nodes = BTreeMap::from([(me.clone(), "10.0.0.1".to_owned())]);
    // What is widened stays in its place, too.
    let entries = bytes.iter().map(|(key, value)| (*key, value.as_slice()));
    let entries = entries.chain([("tandem/policy/x", WIDE.as_bytes())]);
    let (view, _) = ClusterView::from_entries(me, nodes, entries);
    render(&view, &ProxySettings::default(), &TEMPLATES, &BTreeMap::new()).unwrap()
}

/// Texts that are nearly right, and texts that are not.
fn text(good: &'static str) -> impl Strategy<Value = String> {
    let noise = "[\n\r\t \"'\\\\$#`{}%;,a-z0-9:*@é-]{0,12}";
    prop_oneof![
        3 => Just(good.to_owned()),
        1 => noise.prop_map(move |noise| format!("{good}{noise}")),
        1 => noise.prop_map(move |noise| format!("{noise}{good}")),
        1 => Just(format!("{good}\nbackend evil")),
        1 => noise,
    ]
}

prop_compose! {
    fn haproxy()(
        config in text("ssh"), mode in text("tcp"), bind in text("*:2222"), option in text("option tcplog"),
        name in text("ssh-service"), condition in text("if { req_ssl_sni -i a.test }"), port in text("22"),
        server in text("check inter 3s"), line in text("option tcp-check"), ct in text("appmain12345_web_1"),
    ) -> Value {
        json!({config: {
            "frontend": {"mode": mode, "bind": [bind], "options": [option]},
            "backends": [{"name": name, "use_backend_option": condition, "port": port, "peer_port": "2222",
                "server_option": server, "options": [line], "ct": ct}],
        }})
    }
}

/// What the text adds to the configuration of a cluster without apps.
fn added(rendered: &Rendered) -> String {
    let (base, whole) = (without_fingerprint(&self::rendered(&[])), without_fingerprint(rendered));
    whole.strip_prefix(base.trim_end()).expect("the base stays as it is").to_owned()
}

/// The configuration but for the line that tells it from any other.
fn without_fingerprint(rendered: &Rendered) -> String {
    let lines = rendered.haproxy_cfg.lines();
    let lines = lines.filter(|line| !line.starts_with("    description tandem-"));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_value_that_is_right_comes_behind_what_is_there() {
    let value = json!({"ssh": {
        "frontend": {"mode": "tcp", "bind": ["*:2222"], "options": ["option tcplog"]},
        "backends": [{"name": "ssh-service", "port": "22", "peer_port": "2222", "ct": "appmain12345_web_1"}],
    }});
    let rendered = rendered(&[("swarm/ssh", json!({"haproxy": value}))]);
    assert!(rendered.problems.is_empty(), "{:?}", rendered.problems);
    assert!(added(&rendered).contains("bind *:2222"), "{}", added(&rendered));
}

proptest! {
    #[test]
    fn a_haproxy_value_opens_no_section_of_its_own(value in haproxy(), key in text("swarm-key")) {
        prop_assert_eq!(invariants::haproxy(&value), Ok(()), "{}", value);
        let rendered = rendered(&[(&format!("swarm/k{key}"), json!({"haproxy": value}))]);
        for line in added(&rendered).lines() {
            let inside = line.strip_prefix("# ").unwrap_or(line);
            prop_assert!(!inside.contains(['"', '\'', '\\', '$', '#', '`', '\t', '\r']), "{}", line);
        }
    }

    #[test]
    fn map_files_hold_a_host_and_a_target_a_line(domains in proptest::collection::vec(text("a.test"), 0..5)) {
        let rendered = rendered(&[("swarm/x", json!({"domains": domains}))]);
        for line in rendered.maps.values().flat_map(|text| text.lines()) {
            let words: Vec<_> = line.split(' ').collect();
            prop_assert_eq!((words.len(), words[1]), (2, "swarm"));
            prop_assert!(words[0].chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)));
        }
    }

    #[test]
    fn what_is_taken_of_a_caddyfile_stays_in_its_place(text in strategies::text()) {
        let text = text.replace(strategies::OWN, invariants::CONTAINER);
        prop_assert_eq!(invariants::caddyfile(&text), Ok(()), "{}", text);
    }

    #[test]
    fn no_caddyfile_makes_it_panic(
        site in text("http://a.test"), name in "(proxy|redir|header|rewrite|respond|@m|tls|handle|reverse_proxy)",
        args in text("/ appmain12345_web_1:80"), inside in text("policy random"),
    ) {
        let text = format!("{site} {{\n {name} {args} {{\n {inside}\n }}\n {name} {args}\n}}\n");
        prop_assert_eq!(invariants::caddyfile(&text), Ok(()), "{}", text);
    }
}
