//! Caddy 1: a table of directives, each with its place in Caddy 1's order and its translation.

mod auth;
mod body;
mod condition;
mod header;
mod proxy;
mod redirect;
mod rewrite;
mod upstream;

use super::CaddyfileError;
use super::parser::Directive;
use super::placeholder::repetition;
use super::site::{Scope, TlsWish};
use super::write::Line;

pub(super) use upstream::{forwarded, own_upstream, says_real_ip};

type Translate = fn(&Directive, &mut Scope<'_>, u8) -> Result<(), CaddyfileError>;
type Gather = fn(&[&Directive], &mut Scope<'_>, u8) -> Result<(), CaddyfileError>;

/// How a directive is treated.
enum Rule {
    Becomes(Translate),
    /// All of the name at once: what one does depends on the others.
    Together(Gather),
    /// Accepted; Tandem or Caddy 2 does it anyway, or it means nothing any more.
    Ignored(&'static str),
    Refused(&'static str),
}

use Rule::{Becomes, Ignored, Refused, Together};

const FILES: &str = "apps have no files in the proxy; serve them from a container";

/// In the order in which Caddy 1 runs them.
const RULES: &[(&str, Rule)] = &[
    ("tls", Becomes(tls)),
    ("timeouts", Ignored("the timeouts are those of the node")),
    ("request_id", Ignored("Caddy 2 has {http.request.uuid}")),
    ("realip", Ignored("the client's address is passed on already")),
    ("proxyprotocol", Ignored("the node's proxies do this between them")),
    ("log", Ignored("there is one access log for all sites")),
    ("limits", Becomes(body::limits)),
    ("rewrite", Together(rewrite::rewrite)),
    ("ext", Refused(FILES)),
    ("gzip", Becomes(gzip)),
    ("header", Becomes(header::header)),
    ("errors", Ignored("there are no files for error pages")),
    ("basicauth", Together(auth::basicauth)),
    ("redir", Becomes(redirect::redir)),
    ("status", Together(redirect::status)),
    ("mime", Becomes(body::mime)),
    ("internal", Becomes(redirect::internal)),
    ("push", Ignored("browsers no longer take pushed resources")),
    ("proxy", Becomes(proxy::proxy)),
    ("root", Refused(FILES)),
    ("index", Refused(FILES)),
    ("browse", Refused(FILES)),
    ("templates", Refused(FILES)),
    ("markdown", Refused(FILES)),
    ("fastcgi", Refused("run the web server of the app in a container")),
    ("import", Refused("files of the host are not read")),
    ("bind", Refused("the node chooses where it listens")),
    ("startup", Refused("commands are not run")),
    ("shutdown", Refused("commands are not run")),
    ("on", Refused("commands are not run")),
];

/// Directives that Caddy 2 lacks or means differently enough to tell the two apart.
const OWN: &[&str] = &[
    "proxy",
    "gzip",
    "timeouts",
    "limits",
    "errors",
    "browse",
    "ext",
    "status",
    "internal",
    "mime",
    "markdown",
    "websocket",
    "startup",
    "shutdown",
    "request_id",
    "realip",
    "proxyprotocol",
    "index",
];

pub(super) fn is_own(name: &str, args: &[String]) -> bool {
    let first = args.first().map(String::as_str);
    OWN.contains(&name)
        || matches!((name, first), ("tls", Some("off" | "self_signed")))
        || (name == "log"
            && first.is_some_and(|arg| arg.starts_with('/') || arg.starts_with("std")))
}

pub(super) fn site(directives: &[Directive], scope: &mut Scope<'_>) -> Result<(), CaddyfileError> {
    for (at, directive) in directives.iter().enumerate() {
        let found = RULES.iter().position(|(name, _)| *name == directive.name);
        let rank = found.unwrap_or(RULES.len());
        match found.and_then(|rank| RULES.get(rank)) {
            Some((_, Becomes(translate))) => translate(directive, scope, rank as u8)?,
            Some((_, Together(translate))) => {
                let same = |other: &&Directive| other.name == directive.name;
                if !directives[..at].iter().any(|earlier| same(&earlier)) {
                    let all: Vec<_> = directives.iter().filter(same).collect();
                    translate(&all, scope, rank as u8)?;
                }
            }
            Some((_, Ignored(why))) => scope.ignore(directive, why),
            Some((_, Refused(why))) => return Err(directive.error(*why)),
            None => return Err(directive.error("has no equivalent in Caddy 2")),
        }
    }
    let rank = rank_of("gzip");
    if !scope.lines.iter().any(|(known, _)| *known == rank) {
        scope.lines.push((rank, Line::new(["encode", "gzip"], 0)));
    }
    // Caddy 1 answers 404 where nothing serves, Caddy 2 an empty 200.
    if !scope.lines.iter().any(|(_, line)| line.takes_all()) {
        scope.lines.push((u8::MAX, Line::new(["respond", "404"], 0)));
    }
    Ok(())
}

fn rank_of(name: &str) -> u8 {
    let found = RULES.iter().position(|(known, _)| *known == name);
    found.unwrap_or(RULES.len()) as u8
}

/// Options of `tls` that the node decides for all sites.
const TLS_OF_THE_NODE: &[&str] = &["alpn", "ciphers", "curves", "key_type", "protocols"];

fn tls(directive: &Directive, scope: &mut Scope<'_>, _: u8) -> Result<(), CaddyfileError> {
    for option in directive.block() {
        match option.name.as_str() {
            name if TLS_OF_THE_NODE.contains(&name) => {
                scope.ignore(option, "is the same for all sites of a node");
            }
            "ca" | "load" | "clients" => {
                return Err(option.error("the node chooses whom it trusts"));
            }
            _ => return Err(option.error("has no equivalent in Caddy 2 as it is installed")),
        }
    }
    match directive.args().as_slice() {
        ["off"] => Ok(()),
        [] if directive.block.is_some() => Ok(()),
        ["self_signed"] => {
            scope.tls = TlsWish::Internal;
            Ok(())
        }
        _ => scope.choose_email(&Directive { block: None, ..directive.clone() }),
    }
}

fn gzip(directive: &Directive, scope: &mut Scope<'_>, rank: u8) -> Result<(), CaddyfileError> {
    let mut level = None;
    let mut block = Vec::new();
    for option in directive.block() {
        match (option.name.as_str(), option.args().as_slice()) {
            ("level", [number]) => level = Some(small(option, number, 9)?),
            ("min_length", [number]) => {
                let length = small(option, number, 1 << 20)?.to_string();
                block.push(Line::new(["minimum_length", &length], option.line));
            }
            ("ext" | "not", _) => scope.ignore(option, "Caddy 2 looks at the type of the answer"),
            _ => return Err(option.error("is not an option of gzip")),
        }
    }
    let line = match (level, block.is_empty()) {
        (None, true) => Line::new(["encode", "gzip"], directive.line),
        _ => {
            let level = level.unwrap_or(5).to_string();
            block.insert(0, Line::new(["gzip", &level], directive.line));
            Line::new(["encode"], directive.line).with(block)
        }
    };
    scope.lines.push((rank, line));
    Ok(())
}

/// A number with an upper bound.
fn small(directive: &Directive, text: &str, max: u32) -> Result<u32, CaddyfileError> {
    let number = text.parse().ok().filter(|number| *number <= max);
    number.ok_or_else(|| directive.error(format!("{text:?} is not a number up to {max}")))
}

/// A regular expression of the app's. Braces would be placeholders, unless they say how often something is repeated.
fn expression<'a>(directive: &Directive, text: &'a str) -> Result<&'a str, CaddyfileError> {
    match has_braces(text) || text.len() > 200 {
        true => Err(directive.error("the expression has braces or is too long")),
        false => Ok(text),
    }
}

fn has_braces(expression: &str) -> bool {
    match expression.split_once(['{', '}']) {
        None => false,
        Some((before, _)) => match repetition(&expression[before.len()..]) {
            Some(repetition) => has_braces(&expression[before.len() + repetition.len()..]),
            None => true,
        },
    }
}

/// A regular expression that matches a text as it stands.
fn literally(directive: &Directive, text: &str) -> Result<String, CaddyfileError> {
    if text.contains("\\E") {
        return Err(directive.error(format!("{text:?} has \\E in it")));
    }
    expression(directive, text).map(|text| format!("\\Q{text}\\E"))
}

/// A path of Caddy 1, which is a prefix: the matcher that it becomes, or none where it is everything.
fn prefix(directive: &Directive, path: &str) -> Result<Option<String>, CaddyfileError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._~-".contains(c);
    if !path.starts_with('/') || !path.chars().all(plain) {
        return Err(directive.error(format!("{path:?} is not a plain path")));
    }
    Ok((path != "/").then(|| format!("{path}*")))
}
