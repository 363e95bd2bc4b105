//! `reverse_proxy`: to the app's own containers, with options of a list and within bounds: a check of what Caddy makes of
//! it begins to do what it says.

use super::value::Fit;
use super::value::Value::{self, Number, Time, TimeOr, Words};
use super::words;
use crate::CaddyfileError;
use crate::duration::{CAPPED, TEN_MINUTES};
use crate::parser::Directive;
use crate::site::Scope;
use crate::v1::{forwarded, own_upstream, says_real_ip};
use crate::write::Line;

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
            "to" => {
                check(option, &option.args, scope)?;
                inside.push(words(option)?);
            }
            "transport" => inside.push(transport(option, scope)?),
            name => {
                let line = known(option, OPTIONS, scope)?.filter(|_| option.block.is_none());
                let line = line.ok_or_else(|| {
                    option.error("is not an option of reverse_proxy that apps may use")
                })?;
                if let ("header_up", [field, values @ ..]) = (name, option.args.as_slice()) {
                    has_real_ip |= says_real_ip(field, values.len());
                }
                inside.push(line);
            }
        }
    }
    inside.extend(forwarded(directive.line, has_real_ip));
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

/// The line of an option that is on a list, and whose value is what the list says.
fn known(
    option: &Directive,
    list: &[(&str, Value)],
    scope: &mut Scope<'_>,
) -> Result<Option<Line>, CaddyfileError> {
    let Some((_, value)) = list.iter().find(|(name, _)| *name == option.name) else {
        return Ok(None);
    };
    match value.check(&option.args()).map_err(|what| option.error(what))? {
        Fit::Whole => words(option).map(Some),
        Fit::Capped => {
            scope.ignore(option, CAPPED);
            Ok(Some(Line::new([option.name.as_str(), TEN_MINUTES], option.line)))
        }
    }
}

fn transport(option: &Directive, scope: &mut Scope<'_>) -> Result<Line, CaddyfileError> {
    if option.args != ["http"] {
        return Err(option.error("only the transport 'http' is for apps"));
    }
    let mut inside = Vec::new();
    for line in option.block() {
        let known = known(line, TRANSPORT, scope)?;
        inside
            .push(known.ok_or_else(|| {
                line.error("is not an option of the transport that apps may use")
            })?);
    }
    Ok(words(option)?.with(inside))
}
