//! The list of what an app's routes may hold. It looks at Caddy's own reading of the text, so it also catches what the
//! translation misread.

use caddyfile::check_placeholders;
use serde_json::{Map, Value};

use super::NotAllowed;

const MAX_DEPTH: usize = 32;
/// Ten minutes in nanoseconds: no duration of an app is longer.
const MAX_NUMBER: i64 = 600_000_000_000;
const MIN_INTERVAL: i64 = 1_000_000_000;

const MATCHERS: &[&str] = &[
    "header",
    "header_regexp",
    "host",
    "method",
    "not",
    "path",
    "path_regexp",
    "protocol",
    "query",
    "remote_ip",
    "vars_regexp",
];

/// Handlers and their fields.
const HANDLERS: &[(&str, &[&str])] = &[
    ("subroute", &["routes"]),
    ("static_response", &["status_code", "headers", "body", "close", "abort"]),
    ("headers", &["request", "response"]),
    (
        "rewrite",
        &[
            "method",
            "uri",
            "strip_path_prefix",
            "strip_path_suffix",
            "uri_substring",
            "path_regexp",
        ],
    ),
    ("encode", &["encodings", "prefer", "minimum_length", "match"]),
    ("authentication", &["providers"]),
    ("request_body", &["max_size"]),
    ("error", &["error", "status_code"]),
    (
        "reverse_proxy",
        &["upstreams", "headers", "load_balancing", "health_checks", "transport", "flush_interval"],
    ),
];
const TRANSPORT: &[&str] = &[
    "protocol",
    "compression",
    "dial_fallback_delay",
    "dial_timeout",
    "expect_continue_timeout",
    "keep_alive",
    "max_conns_per_host",
    "read_timeout",
    "response_header_timeout",
    "tls",
    "versions",
    "write_timeout",
];
const UPSTREAM_TLS: &[&str] = &["insecure_skip_verify", "server_name"];
const HEALTH: &[&str] = &["active", "passive"];

/// Checks a list of routes; `may_dial` says which upstreams are the app's.
pub(super) fn routes(
    value: &Value,
    may_dial: &dyn Fn(&str) -> bool,
    depth: usize,
) -> Result<(), NotAllowed> {
    if depth > MAX_DEPTH {
        return refuse("routes are nested too deep");
    }
    for route in array(value)? {
        let route = fields(route, &["match", "handle", "terminal", "group"], "a route")?;
        for matchers in route.get("match").map_or(Ok(&[][..]), array)? {
            self::matchers(matchers, depth)?;
        }
        for handler in route.get("handle").map_or(Ok(&[][..]), array)? {
            self::handler(handler, may_dial, depth)?;
        }
    }
    Ok(())
}

fn matchers(value: &Value, depth: usize) -> Result<(), NotAllowed> {
    if depth > MAX_DEPTH {
        return refuse("matchers are nested too deep");
    }
    for (name, inside) in fields(value, MATCHERS, "a matcher")? {
        if name == "not" {
            for inner in array(inside)? {
                matchers(inner, depth + 1)?;
            }
        } else {
            leaves(inside, depth)?;
        }
    }
    Ok(())
}

fn handler(value: &Value, may_dial: &dyn Fn(&str) -> bool, depth: usize) -> Result<(), NotAllowed> {
    let name = value.get("handler").and_then(Value::as_str).unwrap_or_default();
    let Some((_, known)) = HANDLERS.iter().find(|(known, _)| *known == name) else {
        return refuse(format!("the handler {name:?} is not for apps"));
    };
    let Some(all) = value.as_object() else {
        return refuse("a handler is not an object");
    };
    for (field, inside) in all {
        match field.as_str() {
            "handler" => {}
            "routes" if name == "subroute" => routes(inside, may_dial, depth + 1)?,
            field if !known.contains(&field) => {
                return refuse(format!("{name} has the field {field:?}, which is not for apps"));
            }
            _ => leaves(inside, depth)?,
        }
    }
    match name {
        "reverse_proxy" => reverse_proxy(all, may_dial),
        "authentication" => {
            let providers = all.get("providers").unwrap_or(&Value::Null);
            fields(providers, &["http_basic"], "authentication").map(|_| ())
        }
        _ => Ok(()),
    }
}

fn reverse_proxy(
    all: &Map<String, Value>,
    may_dial: &dyn Fn(&str) -> bool,
) -> Result<(), NotAllowed> {
    for upstream in all.get("upstreams").map_or(Ok(&[][..]), array)? {
        let fields = fields(upstream, &["dial", "max_requests"], "an upstream")?;
        let dial = fields.get("dial").and_then(Value::as_str).unwrap_or_default();
        if !may_dial(dial) {
            return refuse(format!("the upstream {dial:?} is not a container of the app"));
        }
    }
    if let Some(transport) = all.get("transport") {
        let transport = fields(transport, TRANSPORT, "the transport")?;
        if transport.get("protocol").and_then(Value::as_str) != Some("http") {
            return refuse("only the transport 'http' is for apps");
        }
        if let Some(tls) = transport.get("tls") {
            fields(tls, UPSTREAM_TLS, "the transport's tls")?;
        }
    }
    if let Some(health) = all.get("health_checks") {
        fields(health, HEALTH, "health_checks")?;
        interval(health.pointer("/active/interval"), MIN_INTERVAL)?;
    }
    let tries = all.get("load_balancing").and_then(|value| value.get("try_interval"));
    interval(tries, MIN_INTERVAL / 100)
}

fn interval(value: Option<&Value>, min: i64) -> Result<(), NotAllowed> {
    match value.and_then(Value::as_i64) {
        Some(number) if number < min => refuse("an interval is too short"),
        _ => Ok(()),
    }
}

/// Every text and name below a value, and every number.
fn leaves(value: &Value, depth: usize) -> Result<(), NotAllowed> {
    if depth > MAX_DEPTH {
        return refuse("values are nested too deep");
    }
    match value {
        Value::Null | Value::Bool(_) => Ok(()),
        Value::Number(number) => match number.as_i64() {
            Some(number) if number <= MAX_NUMBER => Ok(()),
            Some(_) => refuse(format!("the number {number} is too large")),
            // A fraction, as large as one likes, or more than 63 bits.
            None if number.as_f64().is_some_and(|number| number.abs() <= MAX_NUMBER as f64) => {
                Ok(())
            }
            None => refuse(format!("the number {number} is too large")),
        },
        Value::String(text) => placeholders(text),
        Value::Array(items) => items.iter().try_for_each(|item| leaves(item, depth + 1)),
        Value::Object(all) => all.iter().try_for_each(|(name, value)| {
            placeholders(name)?;
            leaves(value, depth + 1)
        }),
    }
}

fn placeholders(text: &str) -> Result<(), NotAllowed> {
    check_placeholders(text).map_err(NotAllowed)
}

pub(super) fn array(value: &Value) -> Result<&[Value], NotAllowed> {
    match value.as_array() {
        Some(items) => Ok(items),
        None => refuse("a list is something else"),
    }
}

pub(super) fn fields<'a>(
    value: &'a Value,
    known: &[&str],
    what: &str,
) -> Result<&'a Map<String, Value>, NotAllowed> {
    let Some(all) = value.as_object() else {
        return refuse(format!("{what} is not an object"));
    };
    match all.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => refuse(format!("{what} has {name:?}, which is not for apps")),
        None => Ok(all),
    }
}

pub(super) fn refuse<T>(what: impl Into<String>) -> Result<T, NotAllowed> {
    Err(NotAllowed(what.into()))
}
