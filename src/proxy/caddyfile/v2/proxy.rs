//! `reverse_proxy`: to the app's own containers, with options of a list.

use super::words;
use crate::proxy::caddyfile::CaddyfileError;
use crate::proxy::caddyfile::parser::Directive;
use crate::proxy::caddyfile::site::Scope;
use crate::proxy::caddyfile::v1::{forwarded, own_upstream};
use crate::proxy::caddyfile::write::Line;

const OPTIONS: &[&str] = &[
    "lb_policy",
    "lb_try_duration",
    "lb_try_interval",
    "lb_retries",
    "health_uri",
    "health_port",
    "health_interval",
    "health_timeout",
    "health_status",
    "fail_duration",
    "max_fails",
    "unhealthy_status",
    "unhealthy_latency",
    "unhealthy_request_count",
    "flush_interval",
    "header_up",
    "header_down",
];
const TRANSPORT: &[&str] = &[
    "dial_timeout",
    "dial_fallback_delay",
    "response_header_timeout",
    "expect_continue_timeout",
    "read_timeout",
    "write_timeout",
    "keepalive",
    "keepalive_interval",
    "keepalive_idle_conns",
    "keepalive_idle_conns_per_host",
    "tls",
    "tls_insecure_skip_verify",
    "tls_server_name",
    "compression",
    "versions",
    "max_conns_per_host",
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
            name if OPTIONS.contains(&name) && option.block.is_none() => {
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

fn transport(option: &Directive) -> Result<Line, CaddyfileError> {
    if option.args != ["http"] {
        return Err(option.error("only the transport 'http' is for apps"));
    }
    let inside = option.block().iter();
    let inside = inside.map(|line| match TRANSPORT.contains(&line.name.as_str()) {
        true => words(line),
        false => Err(line.error("is not an option of the transport that apps may use")),
    });
    let inside = inside.collect::<Result<_, _>>()?;
    Ok(words(option)?.with(inside))
}
