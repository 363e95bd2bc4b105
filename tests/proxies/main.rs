//! What the golden files of `fixtures/proxy` hold, given to the real proxies: accepted, and answering
//! requests as Caddy 1 did. Run by `fixtures/with-proxies`, which says in PROXIES where they are.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "tests run the real binaries"
)]

mod address;
mod again;
mod caddy;
mod certificates;
mod echo;
mod given;
mod hold;
mod ipv6;
mod maintenance;
mod nodes;
mod round;
mod running;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use caddy::{Ask, Caddy};
use tandem::model::NodeName;
use tandem::proxy::caddy::AppRoutes;
use tandem::proxy::render::{AppSites, Templates, render};
use tandem::proxy::{ClusterView, ProxySettings};

/// The binary of a proxy.
fn binary(name: &str) -> PathBuf {
    let dir = std::env::var_os("PROXIES").expect("run this by fixtures/with-proxies");
    Path::new(&dir).join(name)
}

fn golden(dir: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/proxy").join(dir)
}

/// The files of a folder with an extension, except those of what is refused.
fn files(dir: &str, extension: &str) -> Vec<PathBuf> {
    let all = fs::read_dir(golden(dir)).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = all
        .filter(|path| path.extension().is_some_and(|known| known == extension))
        .filter(|path| !path.file_name().unwrap().to_str().unwrap().starts_with("bad-"))
        .collect();
    files.sort();
    files
}

#[test]
fn caddy_accepts_every_translation() {
    let texts = files("caddyfile", "out");
    assert!(texts.len() >= 60, "{} texts", texts.len());
    let binary = binary("caddy");
    for text in &texts {
        let home = tempfile::tempdir().unwrap();
        let output = Command::new(&binary)
            .args(["adapt", "--adapter", "caddyfile", "--validate", "--config"])
            .arg(text)
            .env_clear()
            .env("HOME", home.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{} {}: {said}", binary.display(), text.display());
    }
}

#[test]
fn haproxy_accepts_every_configuration() {
    let texts = files("haproxy", "cfg");
    assert!(texts.len() >= 8, "{} texts", texts.len());
    let binary = binary("haproxy");
    for path in &texts {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("haproxy");
        fs::create_dir(&data).unwrap();
        for name in [
            "http.map",
            "http-wild.map",
            "https.map",
            "https-wild.map",
            "held.map",
            "maintenance.html",
        ] {
            fs::write(data.join(name), "").unwrap();
        }
        let lua = Path::new(env!("CARGO_MANIFEST_DIR")).join("haproxy/hold.lua");
        fs::copy(lua, data.join("hold.lua")).unwrap();
        let text = fs::read_to_string(path).unwrap();
        let text = text.replace("/var/lib/tandem", dir.path().to_str().unwrap());
        let config = dir.path().join("haproxy.cfg");
        fs::write(&config, text).unwrap();
        let output = Command::new(&binary).args(["-c", "-f"]).arg(&config).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{} {}: {said}", binary.display(), path.display());
    }
}

/// All that is in it at once: the routes of an app, its door, the maintenance servers.
#[test]
fn caddy_accepts_a_whole_configuration() {
    let home = tempfile::tempdir().unwrap();
    let output = Command::new(binary("caddy"))
        .args(["validate", "--config"])
        .arg(golden("whole").join("caddy.json"))
        .env_clear()
        .env("HOME", home.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

/// What a policy adds passes the second look, at what Caddy makes of the text, and nothing else does.
#[test]
fn caddy_is_held_to_the_upstreams_of_the_policy() {
    let text = fs::read(golden("haproxy").join("policy.json")).unwrap();
    let entries: BTreeMap<String, serde_json::Value> = serde_json::from_slice(&text).unwrap();
    let entries: Vec<_> =
        entries.iter().map(|(key, value)| (key.as_str(), value.to_string().into_bytes())).collect();
    let entries = entries.iter().map(|(key, value)| (*key, value.as_slice()));
    let me = NodeName::parse("node1").unwrap();
    let (view, problems) = ClusterView::from_entries(me, BTreeMap::new(), entries);
    assert!(problems.is_empty(), "{problems:?}");
    let templates = Templates::built_in().unwrap();
    let settings = ProxySettings::default();
    let rendered = render(&view, &settings, &templates, &BTreeMap::new()).unwrap();
    let sites = rendered.caddy_sites.values().next().unwrap();
    assert!(sites.text.contains("https://Legacy.test:8000"), "{}", sites.text);
    let binary = binary("caddy");
    let home = tempfile::tempdir().unwrap();
    let adapted = maintenance::adapt(&binary, &sites.text, home.path());
    assert!(AppRoutes::take(&adapted, sites).is_ok());
    let narrow = AppSites { upstreams: BTreeSet::new(), ..AppSites::clone(sites) };
    let refused = AppRoutes::take(&adapted, &narrow).unwrap_err().to_string();
    assert!(refused.contains("is not a container of the app"), "{refused}");
}

/// What Caddy makes of each text has nothing in it that the list of what apps may have lacks.
#[test]
fn each_translation_passes_the_second_look() {
    let container = "appmain12345_web_1";
    let templates = Templates::built_in().unwrap();
    let settings = ProxySettings::default();
    for path in files("caddyfile", "caddyfile") {
        let text = fs::read_to_string(&path).unwrap().replace("$CONTAINER", container);
        let record = serde_json::json!({
            "repo_url": "https://git.test/app", "branch": "main", "deploy_id": "1", "master": "node1",
            "caddyfile": text, "ct": {"web": container},
        });
        let record = record.to_string().into_bytes();
        let entries = [("app/app_main.12345", record.as_slice())];
        let me = NodeName::parse("node1").unwrap();
        let (view, _) = ClusterView::from_entries(me, BTreeMap::new(), entries);
        let rendered = render(&view, &settings, &templates, &BTreeMap::new()).unwrap();
        let sites = rendered.caddy_sites.values().next().unwrap();
        let binary = binary("caddy");
        let home = tempfile::tempdir().unwrap();
        let adapted = maintenance::adapt(&binary, &sites.text, home.path());
        let taken = AppRoutes::take(&adapted, sites);
        assert!(taken.is_ok(), "{} {}: {taken:?}", binary.display(), path.display());
    }
}

/// A request and what has to come of it. Upstream answers 200 with the request in its body.
struct Expected {
    ask: &'static str,
    headers: &'static [&'static str],
    status: u16,
    /// In the answer, head or body.
    has: &'static [&'static str],
    lacks: &'static [&'static str],
}

const fn of(ask: &'static str, status: u16, has: &'static [&'static str]) -> Expected {
    Expected { ask, headers: &[], status, has, lacks: &[] }
}

impl Expected {
    const fn with(self, headers: &'static [&'static str]) -> Self {
        Self { headers, ..self }
    }

    const fn without(self, lacks: &'static [&'static str]) -> Self {
        Self { lacks, ..self }
    }
}

/// The accounts of `v1-basicauth-users`.
const FIRST: &str = "Authorization: Basic bWU6Zmlyc3Q=";
const SECOND: &str = "Authorization: Basic eW91OnNlY29uZCBvbmU=";
/// So long that Caddy compresses an answer that repeats it.
const LONG: &str = "X-Long: \
    aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
    aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
    aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
    aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
    aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
    aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// By golden file: the traps between Caddy 1 and Caddy 2.
const BEHAVIOUR: &[(&str, &str, &[Expected])] = &[
    (
        "v1-redirects",
        "a.test",
        &[
            of("GET /old", 302, &["location: https://b.test/old\r"]),
            of("GET /old/x", 301, &["location: https://b.test/old/x\r"]),
            of("GET /x?q", 307, &["location: /y\r"]),
            of("GET /z", 308, &["location: https://b.test/z\r"]),
            of("GET /", 301, &["location: https://b.test/\r"]),
        ],
    ),
    (
        "v1-redirect-if",
        "h.test",
        &[
            of("GET /a?b", 302, &["location: https://h.test/a?b\r"])
                .with(&["X-Forwarded-Proto: http"]),
            of("GET /a", 200, &[]),
            of("GET /a", 200, &[]).with(&["X-Forwarded-Proto: https"]),
            of("GET /.well-known/a", 200, &[]).with(&["X-Forwarded-Proto: http"]),
        ],
    ),
    (
        "v1-redirect-if-or",
        "h.test",
        &[
            of("GET /?a=1", 200, &[]),
            of("GET /", 301, &["location: https://i.test/\r"]),
            of("GET /?a=x", 301, &["location: https://i.test/?a=x\r"]),
            of("GET /the/admin?a=1", 301, &[]),
        ],
    ),
    ("v1-redirect-if-or", "www.h.test", &[of("GET /", 200, &[]).without(&["location"])]),
    (
        "v1-redirect-meta",
        "h.test",
        &[
            of("GET /page", 200, &["http-equiv", "/other"]),
            of("GET /gone", 308, &["location: http://i.test/gone\r"]),
            of("GET /any", 301, &["location: /always\r"]),
        ],
    ),
    (
        "v1-status",
        "h.test",
        &[
            of("GET /secret/x", 404, &[]),
            of("GET /ping", 204, &[]),
            of("GET /", 200, &["get / http"]),
        ],
    ),
    ("v1-internal", "h.test", &[of("GET /private/x", 404, &[]), of("GET /", 200, &[])]),
    (
        "v1-header-block",
        "h.test",
        &[
            of(
                "GET /",
                200,
                &[
                    "x-frame-options: up\r",
                    "content-type: text/plain; charset=utf-8\r",
                    "x-seen: h.test\r",
                    "cache-control: up\r",
                ],
            )
            .without(&["deny", "text/html", "max-age"]),
            of("GET /static/a", 200, &["cache-control: max-age=3600\r"])
                .without(&["cache-control: up"]),
        ],
    ),
    (
        "v1-mime",
        "h.test",
        &[
            of("GET /a/b.wasm", 200, &["content-type: application/wasm\r"]).without(&["text/html"]),
            of("GET /b.txt", 200, &["content-type: text/plain; charset=utf-8\r"]),
            of("GET /b.html", 200, &["content-type: text/html\r"]),
        ],
    ),
    (
        "v1-limits-by-path",
        "h.test",
        &[
            of("POST /upload/x 2000000", 200, &["2000000 bytes"]),
            of("POST /x 1000000", 200, &["1000000 bytes"]),
            of("POST /x 2000000", 413, &[]),
        ],
    ),
    (
        "v1-rewrite-not",
        "h.test",
        &[
            of("GET /static/a", 200, &["get /static/a http"]),
            of("GET /foo", 200, &["get /index.html http"]),
        ],
    ),
    (
        "v1-rewrite-block",
        "h.test",
        &[
            of("GET /user/me/a/b", 200, &["get /u?name=me&rest=a%2fb http"]),
            of("POST /user/me/a 0", 200, &["post /user/me/a http"]),
            of("GET /docs/a", 200, &["get /docs/a.html http"]),
            of("GET /docs/a.css", 200, &["get /docs/a.css http"]),
            of("GET /x.php", 200, &["get /gone http"]),
        ],
    ),
    (
        "v1-upstream-path",
        "h.test",
        &[of("GET /old/x?q", 200, &["get /new/old/x?q http"]), of("GET /", 404, &[])],
    ),
    ("v1-without", "h.test", &[of("GET /app/x", 200, &["get /x http"]), of("GET /", 404, &[])]),
    (
        "v1-except",
        "h.test",
        &[
            of("GET /static/x", 404, &[]),
            of("GET /x", 200, &["get /x http"]),
            of("GET /api/private/x", 200, &["get /api/private/x http"]),
        ],
    ),
    (
        "v1-basicauth-block",
        "h.test",
        &[
            of("GET /admin/x", 401, &["www-authenticate: basic realm=\"back\"\r"]),
            of("GET /admin/x", 200, &[]).with(&["Authorization: Basic bWU6YSBzZWNyZXQ="]),
            of("GET /metrics", 401, &[]).with(&["Authorization: Basic bWU6YSBzZWNyZXQ="]),
            of("GET /", 200, &[]),
        ],
    ),
    (
        "v1-proxy-headers",
        "h.test",
        &[of("GET /", 200, &["x-tenant: blue\r", "x-path: /b1\r", "x-served-by: tandem\r"])
            .with(&["X-Secret: hush", "X-Path: /a1", "X-Tenant: red"])
            .without(&["hush", "red\r", "server: up"])],
    ),
    (
        "v1-placeholders",
        "x.shop.test",
        &[
            of("GET /", 200, &["x-a: x-test\r"]),
            of("GET /r?q", 301, &["location: http://x.shop.test/r?q\r"]),
        ],
    ),
    ("v1-single-quotes", "h.test", &[of("GET /", 200, &["x-a: two words\r"])]),
    ("v1-nothing-serves", "a.test", &[of("GET /", 404, &[])]),
    ("v1-insecure-on-http", "h.test", &[of("GET /", 200, &["get / http"])]),
    (
        "v1-basicauth-users",
        "h.test",
        &[
            of("GET /both", 401, &["www-authenticate: basic realm=\"second\"\r"]),
            of("GET /both", 200, &[]).with(&[FIRST]),
            of("GET /both", 200, &[]).with(&[SECOND]),
            of("GET /yours", 401, &["realm=\"second\""]).with(&[FIRST]),
            of("GET /yours", 200, &[]).with(&[SECOND]),
            of("GET /both/mine", 200, &[]).with(&[FIRST]),
            of("GET /both/mine", 200, &[]).with(&["Authorization: Basic bWU6dGhpcmQ="]),
            of("GET /both", 401, &[]).with(&["Authorization: Basic bWU6dGhpcmQ="]),
            of("GET /both/mine", 401, &["realm=\"restricted\""]),
            of("OPTIONS /both", 200, &["options /both http"]),
            of("GET /", 200, &["get / http"]).without(&["www-authenticate"]),
        ],
    ),
    (
        "v1-rewrite-once",
        "h.test",
        &[
            of("GET /a/x", 200, &["get /b/x http"]),
            of("GET /b/x", 200, &["get /c http"]),
            of("GET /a/never", 200, &["get /b/never http"]),
            of("GET /docs/x.txt", 200, &["get /text/docs/x.txt http"]),
            of("GET /docs/x.php", 200, &["get /file/docs/x.php http"]),
            of("GET /docs/new/x.txt", 200, &["get /newest http"]),
            of("GET /docs/plain", 200, &["get /docs/plain http"]),
            of("GET /file/x", 200, &["get /last http"]),
        ],
    ),
    (
        "v1-rewrite-simple",
        "h.test",
        &[
            of("GET /blog/2026/a-b", 200, &["get /index.php?year=2026&name=a-b http"]),
            of("GET /blog/x/a", 200, &["get /blog/x/a http"]),
        ],
    ),
    (
        "v1-rewrite-no-ending",
        "h.test",
        &[
            of("GET /a/b", 200, &["get /page/a/b http"]),
            of("GET /a.d/b/", 200, &["get /page/a.d/b/ http"]),
            of("GET /a/b.css", 200, &["get /a/b.css http"]),
        ],
    ),
    (
        "v1-gzip",
        "h.test",
        &[
            of("GET /", 200, &["content-encoding: gzip\r"]).with(&["Accept-Encoding: gzip"]),
            of("GET /", 200, &["get / http"]).without(&["content-encoding: gzip"]),
        ],
    ),
    (
        "v2-encode-nested",
        "h.test",
        &[
            of("GET /packed/x", 200, &["content-encoding: gzip\r"])
                .with(&["Accept-Encoding: gzip"]),
            of("GET /x", 200, &["get /x http"])
                .with(&["Accept-Encoding: gzip", LONG])
                .without(&["content-encoding"]),
        ],
    ),
    (
        "v1-path-in-address",
        "h.test",
        &[
            of("GET /static/a", 200, &["x-part: static\r"]),
            of("GET /static", 200, &["x-part: static\r"]),
            of("GET /a", 200, &["x-part: whole\r"]),
        ],
    ),
    ("v1-tls-of-one-scheme", "h.test", &[of("GET /x", 200, &["get /x http"])]),
    ("v1-upstream-slash", "h.test", &[of("GET /a/b?c", 200, &["get /a/b?c http"])]),
    (
        "v1-status-block",
        "h.test",
        &[
            of("GET /secret/x", 404, &[]),
            of("GET /.git/config", 404, &[]),
            of("GET /secret/ping", 204, &[]),
            of("GET /", 200, &["get / http"]),
        ],
    ),
    (
        "v1-redirect-if-operators",
        "h.test",
        &[
            of("GET /a1?q", 302, &["location: https://i.test/a1?q\r"]),
            of("GET /ab", 200, &[]),
            of("POST /a1 0", 200, &[]),
            of("GET /x.old", 303, &["location: https://old.test/x.old\r"]),
            of("GET /keep.old", 200, &[]),
            of("GET /x.old", 200, &[]).with(&["X-Old: no"]),
        ],
    ),
    (
        "v1-request-placeholders",
        "h.test",
        &[of(
            "GET /from/a.b?q=1",
            200,
            &[
                "x-1: get http h.test h.test\r",
                "x-2: /from/a.b q=1 /from/a.b?q=1 /to/a.b /to/a.b?q=1\r",
                "x-3: /to/ a.b http/1.1 80\r",
                "x-4: 127.0.0.1:",
            ],
        )
        .without(&["{"])],
    ),
    ("services-of-both", "b.test", &[of("GET /x?q", 308, &["location: https://b.test/x?q\r"])]),
    ("services-of-both", "www.a.test", &[of("GET /x", 301, &["location: https://a.test/x\r"])]),
    ("services-of-one-host", "h.test", &[of("GET /x", 200, &["get /x http"])]),
    ("services-of-one-host", "m.test", &[of("GET /x", 302, &["location: https://n.test/x\r"])]),
];

#[test]
fn caddy_answers_as_caddy_1_did() {
    let upstream = echo::start();
    let mut wrong = Vec::new();
    let binary = binary("caddy");
    for (name, host, all) in BEHAVIOUR {
        let text = golden("caddyfile").join(format!("{name}.out"));
        let caddy = Caddy::start(&binary, &fs::read_to_string(&text).unwrap(), upstream);
        for expected in *all {
            let ask = Ask { line: expected.ask, host, headers: expected.headers };
            let (status, answer) = caddy.ask(ask);
            let answer = answer.to_lowercase();
            let is_right = status == expected.status
                && expected.has.iter().all(|part| answer.contains(part))
                && !expected.lacks.iter().any(|part| answer.contains(part));
            if !is_right {
                let shown: String = answer.chars().take(900).collect();
                wrong.push(format!("{} {name}, {}:\n{shown}", binary.display(), expected.ask));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
