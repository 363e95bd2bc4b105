//! A `HAPROXY` value as the nodes' HAProxys get it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{APP, Broken, CONTAINER, broken, is_own, rendered};
use crate::model::AppName;
use crate::model::manifest::Manifest;
use crate::proxy::haproxy::invariants::{declarations, harmless};
use crate::proxy::haproxy::{Declaration, collect, parse_all};
use crate::proxy::{Policy, ProxySettings};

/// What a line of an app's own section begins with.
const KEYWORDS: &[&str] = &[
    "balance",
    "bind",
    "http-check",
    "mode",
    "option",
    "retries",
    "server",
    "tcp-request",
    "timeout",
    "use_backend",
];
const SWARM: &str = "swarm/key";
/// What keeps requests while the app is handed over: ours, wherever an app's own parts are.
const WAITS: &[&str] = &[
    "http-request set-var(txn.app) str(app_main.12345)",
    "http-request set-var(txn.held) var(txn.app),map_str(/var/lib/tandem/haproxy/held.map)",
    "http-request track-sc0 var(txn.app) table held-clients if { var(txn.held) -m str hold }",
    "http-request track-sc1 var(txn.app) table held-clients if { var(txn.held) -m str hold }",
    "http-request set-var(txn.held) str(over) if { var(txn.held) -m str hold } { sc0_conn_cur gt 1024 }",
    "http-request set-var(txn.held) str(over) if { var(txn.held) -m str hold } { sc1_conn_cur gt 1024 }",
    "http-request lua.hold-app-http if { var(txn.held) -m str hold }",
    "use_backend http-maint if { var(txn.held) -m str over }",
    "tcp-request inspect-delay 18s",
    "tcp-request content set-var(sess.app) str(app_main.12345)",
    "tcp-request content set-var(sess.held) var(sess.app),map_str(/var/lib/tandem/haproxy/held.map)",
    "tcp-request content track-sc0 var(sess.app) table held-clients if { var(sess.held) -m str hold }",
    "tcp-request content track-sc1 var(sess.app) table held-clients if { var(sess.held) -m str hold }",
    "tcp-request content set-var(sess.held) str(over) if { var(sess.held) -m str hold } { sc0_conn_cur gt 1024 }",
    "tcp-request content set-var(sess.held) str(over) if { var(sess.held) -m str hold } { sc1_conn_cur gt 1024 }",
    "tcp-request content lua.hold-app-tcp if { var(sess.held) -m str hold }",
    "tcp-request content reject if { var(sess.held) -m str over }",
];

/// A variable's text, read as a compose file's and merged as an app's record holds it.
pub fn haproxy_text(text: &str) -> Result<(), Broken> {
    let Ok(app) = AppName::parse("app_main.12345") else {
        return broken("the app has no name");
    };
    let config = json!({"services": {"web": {"environment": {"HAPROXY": text}}}});
    let Ok(manifest) = Manifest::parse(&config, &app.project(), &[]) else {
        return Ok(());
    };
    let service = manifest.services.get("web");
    let Some(value) = service.and_then(|service| service.haproxy.as_ref()) else {
        return Ok(());
    };
    haproxy(value)?;
    match collect([(CONTAINER, value)], &Policy::DEFAULT) {
        Ok(merged) => haproxy(&Value::Object(merged)),
        Err(_) => Ok(()),
    }
}

/// A value, of an app and of a key of the swarm, on the master and elsewhere: it is refused with a reason, or adds its
/// own sections behind what is there, and conditions where conditions belong.
pub fn haproxy(value: &Value) -> Result<(), Broken> {
    let Some(configs) = value.as_object() else {
        return Ok(());
    };
    declarations(configs)?;
    let app = json!({
        "repo_url": "https://git.test/app", "branch": "main", "deploy_id": "1", "master": "node1", "ip": "10.0.0.1",
        "haproxy": value, "ct": {"web": CONTAINER},
    });
    let swarm = json!({"haproxy": value});
    for (source, entry, prefix) in [(APP, &app, ""), (SWARM, &swarm, "swarm-")] {
        for me in ["node1", "node2"] {
            let rendered = rendered(me, &[(source, entry)])?;
            let is_taken = rendered.haproxy_parts.contains_key(source);
            if !is_taken && rendered.problems.is_empty() && !configs.is_empty() {
                return broken("the value was left out without a word");
            }
            let declared = match is_taken {
                true => parse_all(configs, Policy::DEFAULT.keywords()).unwrap_or_default(),
                false => Vec::new(),
            };
            added(me, &rendered.haproxy_cfg, prefix, &declared)
                .map_err(|Broken(what)| Broken(format!("{source} on {me}: {what}")))?;
        }
    }
    Ok(())
}

/// Holds a configuration against the one without apps: nothing of that is gone or changed, and what is new is where
/// apps may add something.
fn added(me: &str, text: &str, prefix: &str, declared: &[Declaration]) -> Result<(), Broken> {
    let base = rendered(me, &[])?.haproxy_cfg;
    // The fingerprint of the text is in it.
    let is_same = |line: &&str| !line.starts_with("    description tandem-");
    let mut lines = text.lines().filter(is_same);
    for known in base.lines().filter(is_same) {
        loop {
            match lines.next() {
                Some(line) if line == known => break,
                Some(line) => condition(line, known, prefix)?,
                None => return broken(format!("the line {known:?} is gone")),
            }
        }
    }
    let rest: Vec<_> = lines.collect();
    let mut sections = BTreeSet::new();
    for (index, line) in rest.iter().enumerate() {
        let inside = line.strip_prefix("# ").filter(|_| index < 2).unwrap_or(line);
        harmless(inside)?;
        match line.split_once(' ') {
            None if line.is_empty() => {}
            Some(("#", _)) if index < 2 => {}
            Some(("", line)) => own_line(line.trim_start(), prefix)?,
            Some((kind @ ("frontend" | "backend"), name)) => {
                if !sections.insert((kind, name.to_owned())) {
                    return broken(format!("{kind} {name} is there twice"));
                }
            }
            _ => return broken(format!("the line {line:?} was added")),
        }
    }
    match sections == expected(prefix, declared) {
        true => Ok(()),
        false => broken(format!("the sections {sections:?} were added")),
    }
}

fn expected(prefix: &str, declared: &[Declaration]) -> BTreeSet<(&'static str, String)> {
    let mut sections = BTreeSet::new();
    for declaration in declared {
        if declaration.place.is_ok() {
            sections.insert(("frontend", format!("{prefix}front-{}", declaration.name)));
        }
        let names = declaration.backends.iter().map(|backend| declaration.backend_name(backend));
        sections.extend(names.map(|name| ("backend", format!("{prefix}{name}"))));
    }
    sections
}

/// A line that was added inside the skeleton, in front of `known`.
fn condition(line: &str, known: &str, prefix: &str) -> Result<(), Broken> {
    let is_place = ["http", "https"]
        .iter()
        .any(|kind| known.starts_with(&format!("    use_backend {kind}-%[")));
    if prefix.is_empty() && is_wait(line.trim_start()) {
        return harmless(line);
    }
    let start = format!("    use_backend {prefix}backend.");
    // Without a condition it would take everybody's requests.
    if !is_place || !line.starts_with(&start) || !line.contains(" if ") {
        return broken(format!("the line {line:?} stands before {known:?}"));
    }
    harmless(line)
}

/// One of [`WAITS`], behind which an app's condition may stand where that says for which requests.
fn is_wait(line: &str) -> bool {
    WAITS.iter().any(|wait| match line.strip_prefix(wait) {
        Some(rest) => rest.is_empty() || rest.starts_with(" if "),
        None => false,
    })
}

fn own_line(line: &str, prefix: &str) -> Result<(), Broken> {
    if prefix.is_empty() && WAITS.contains(&line) {
        return Ok(());
    }
    let words: Vec<_> = line.split(' ').collect();
    if !KEYWORDS.contains(&words[0]) {
        return broken(format!("the keyword {:?} was added", words[0]));
    }
    let place = words.get(2).and_then(|place| place.rsplit_once(':'));
    let is_right = match words.as_slice() {
        ["server", name, ..] if prefix.is_empty() => {
            let peer = if *name == "node1" { "10.0.0.1" } else { "10.0.0.2" };
            ["node1", "node2"].contains(name)
                && place.is_some_and(|(host, _)| is_own(host) || host == peer)
        }
        ["server", name, ..] => *name == "swarm_service" && place.is_some(),
        ["bind", place, ..] => {
            let port = place.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
            port.is_some_and(|port| !ProxySettings::default().is_reserved(port))
        }
        ["use_backend", name, ..] => name.starts_with(&format!("{prefix}backend-")),
        ["mode", mode] => ["tcp", "http"].contains(mode),
        _ => true,
    };
    match is_right {
        true => Ok(()),
        false => broken(format!("the line {line:?} was added")),
    }
}
