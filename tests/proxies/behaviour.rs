//! What each translation answers, where Caddy 1 and Caddy 2 differ.

use std::fs;

use crate::caddy::{Ask, Caddy};
use crate::{binary, echo, golden};

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
