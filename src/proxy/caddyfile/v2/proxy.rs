//! `reverse_proxy`: to the app's own containers, with options of a list and within bounds: a check of what Caddy makes of
//! it begins to do what it says.

use super::value::Value::{self, Number, Time, TimeOr, Words};
use super::words;
use crate::proxy::caddyfile::CaddyfileError;
use crate::proxy::caddyfile::parser::Directive;
use crate::proxy::caddyfile::site::Scope;
use crate::proxy::caddyfile::v1::{forwarded, own_upstream};
use crate::proxy::caddyfile::write::Line;

const OPTIONS: &[(&str, Value)] = &[
    ("lb_policy", Words),
    ("lb_try_duration", Time(0)),
    ("lb_try_interval", Time(10)),
    ("lb_retries", Number(100)),
    ("health_uri", Words),
    ("health_port", Number(65_535)),
    ("health_interval", Time(1000)),
    ("health_timeout", Time(0)),
    ("health_status", Words),
    ("fail_duration", Time(0)),
    ("max_fails", Number(65_535)),
    ("unhealthy_status", Words),
    ("unhealthy_latency", Time(0)),
    ("unhealthy_request_count", Number(65_535)),
    ("flush_interval", TimeOr("-1")),
    ("header_up", Words),
    ("header_down", Words),
];
const TRANSPORT: &[(&str, Value)] = &[
    ("dial_timeout", Time(0)),
    ("dial_fallback_delay", Time(0)),
    ("response_header_timeout", Time(0)),
    ("expect_continue_timeout", Time(0)),
    ("read_timeout", Time(0)),
    ("write_timeout", Time(0)),
    ("keepalive", TimeOr("off")),
    ("keepalive_interval", Time(0)),
    ("keepalive_idle_conns", Number(65_535)),
    ("keepalive_idle_conns_per_host", Number(65_535)),
    ("tls", Words),
    ("tls_insecure_skip_verify", Words),
    ("tls_server_name", Words),
    ("compression", Words),
    ("versions", Words),
    ("max_conns_per_host", Number(65_535)),
];

pub(super) fn reverse_proxy(
    directive: &Directive,
    scope: &mut Scope<'_>,
) -> Result<Vec<Line>, CaddyfileError> {
    let upstreams = match directive.args.split_first() {
        Some((matcher, rest)) if matcher.starts_with(['/', '@', '*']) => rest,
        _ => &directive.args[..],
    };
    check(directive, upstreams, scope)?;
    let mut inside = Vec::new();
    let mut has_real_ip = false;
    for option in directive.block() {
        match option.name.as_str() {
            "to" => check(option, &option.args, scope)?,
            "transport" => {
                inside.push(transport(option)?);
                continue;
            }
            name if is_known(option, OPTIONS)? && option.block.is_none() => {
                let field = option.args.first().map(|name| name.to_ascii_lowercase());
                has_real_ip |= name == "header_up" && field.as_deref() == Some("x-real-ip");
            }
            _ => return Err(option.error("is not an option of reverse_proxy that apps may use")),
        }
        inside.push(words(option)?);
    }
    let forwarded = forwarded(scope, directive.line);
    if !(has_real_ip && forwarded.has_word("X-Real-IP")) {
        inside.push(forwarded);
    }
    Ok(vec![words(directive)?.with(inside)])
}

fn check(
    directive: &Directive,
    upstreams: &[String],
    scope: &Scope<'_>,
) -> Result<(), CaddyfileError> {
    for upstream in upstreams {
        own_upstream(upstream, scope.may_dial).map_err(|what| directive.error(what))?;
    }
    Ok(())
}

/// Whether an option is on a list; if so its value has to be what the list says.
fn is_known(option: &Directive, known: &[(&str, Value)]) -> Result<bool, CaddyfileError> {
    match known.iter().find(|(name, _)| *name == option.name) {
        Some((_, value)) => {
            value.check(&option.args()).map_err(|what| option.error(what)).map(|()| true)
        }
        None => Ok(false),
    }
}

fn transport(option: &Directive) -> Result<Line, CaddyfileError> {
    if option.args != ["http"] {
        return Err(option.error("only the transport 'http' is for apps"));
    }
    let inside = option.block().iter();
    let inside = inside.map(|line| match is_known(line, TRANSPORT)? {
        true => words(line),
        false => Err(line.error("is not an option of the transport that apps may use")),
    });
    let inside = inside.collect::<Result<_, _>>()?;
    Ok(words(option)?.with(inside))
}
