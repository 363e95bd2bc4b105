//! Caddy 2: what apps may write passes through, word by word; the rest is refused by policy.

mod matcher;
mod proxy;
mod value;

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;

use super::CaddyfileError;
use super::parser::Directive;
use super::placeholder::check_v2;
use super::site::{Scope, TlsWish};
use super::write::Line;

type Pass = fn(&Directive, &mut Scope<'_>) -> Result<Vec<Line>, CaddyfileError>;

/// How a directive is treated.
enum Rule {
    /// As it is, if its words are allowed; the block holds options of the directive, of this list.
    Words(&'static [&'static str]),
    /// As it is; the block holds directives.
    Nested,
    Through(Pass),
    Ignored(&'static str),
    Refused(&'static str),
}

use Rule::{Ignored, Nested, Refused, Through, Words};

const FILES: &str = "apps have no files in the proxy; serve them from a container";
const GLOBAL: &str = "would reach beyond the app";

const RULES: &[(&str, Rule)] = &[
    ("reverse_proxy", Through(proxy::reverse_proxy)),
    ("redir", Words(&[])),
    ("respond", Words(&["body", "close"])),
    ("error", Words(&["message"])),
    ("encode", Words(&["gzip", "zstd", "minimum_length"])),
    ("header", Through(header)),
    ("rewrite", Words(&[])),
    ("uri", Words(&[])),
    ("method", Words(&[])),
    ("request_body", Words(&["max_size"])),
    ("request_header", Words(&[])),
    ("basicauth", Through(basicauth)),
    ("basic_auth", Through(basicauth)),
    ("handle", Nested),
    ("handle_path", Nested),
    ("route", Nested),
    ("handle_errors", Nested),
    ("tls", Through(tls)),
    ("abort", Words(&[])),
    ("log", Ignored("there is one access log for all sites")),
    ("log_skip", Ignored("there is one access log for all sites")),
    ("skip_log", Ignored("there is one access log for all sites")),
    ("file_server", Refused(FILES)),
    ("root", Refused(FILES)),
    ("try_files", Refused(FILES)),
    ("php_fastcgi", Refused(FILES)),
    ("templates", Refused("templates read the environment and files of the proxy")),
    ("import", Refused("files of the host and snippets are not read")),
    ("bind", Refused("the node chooses where it listens")),
    ("forward_auth", Refused("is not for apps yet")),
    ("map", Refused("is not for apps yet")),
    ("vars", Refused("is not for apps yet")),
    ("metrics", Refused(GLOBAL)),
    ("acme_server", Refused(GLOBAL)),
    ("invoke", Refused(GLOBAL)),
    ("tracing", Refused(GLOBAL)),
];

/// What Caddy 1 has numbers for.
const REDIRECTS: &[&str] = &["permanent", "temporary", "html"];

/// Directives that Caddy 1 lacks.
const OWN: &[&str] = &[
    "reverse_proxy",
    "encode",
    "respond",
    "handle",
    "handle_path",
    "handle_errors",
    "route",
    "file_server",
    "php_fastcgi",
    "request_body",
    "request_header",
    "uri",
    "basic_auth",
    "error",
    "try_files",
    "forward_auth",
    "acme_server",
    "metrics",
    "vars",
    "map",
    "method",
    "abort",
    "log_skip",
    "skip_log",
];

pub(super) fn is_own(name: &str, args: &[String]) -> bool {
    let first = args.first().map(String::as_str);
    OWN.contains(&name)
        || name.starts_with('@')
        || (name == "tls" && first == Some("internal"))
        || (name == "redir" && args.iter().skip(1).any(|arg| REDIRECTS.contains(&arg.as_str())))
        // In Caddy 1 there is a path first.
        || (name == "header" && !first.is_some_and(|first| first.starts_with('/')))
}

pub(super) fn site(directives: &[Directive], scope: &mut Scope<'_>) -> Result<(), CaddyfileError> {
    if !encodes(directives) {
        scope.lines.push((0, Line::new(["encode", "gzip"], 0)));
    }
    for line in nested(directives, scope)? {
        scope.lines.push((0, line));
    }
    Ok(())
}

/// Whether the site says itself what is compressed, be it for a part of it.
fn encodes(directives: &[Directive]) -> bool {
    let mut all = directives.iter();
    all.any(|directive| directive.name == "encode" || encodes(directive.block()))
}

fn nested(directives: &[Directive], scope: &mut Scope<'_>) -> Result<Vec<Line>, CaddyfileError> {
    let mut lines = Vec::new();
    for directive in directives {
        lines.extend(one(directive, scope)?);
    }
    Ok(lines)
}

fn one(directive: &Directive, scope: &mut Scope<'_>) -> Result<Vec<Line>, CaddyfileError> {
    if directive.name.starts_with('@') {
        return matcher::named(directive);
    }
    let rule = RULES.iter().find(|(name, _)| *name == directive.name);
    match rule.map(|(_, rule)| rule) {
        Some(Words(options)) => {
            let block = directive.block().iter();
            let block = block.map(|option| match options.contains(&option.name.as_str()) {
                true => words(option),
                false => Err(option.error(format!("is not an option of {}", directive.name))),
            });
            let block = block.collect::<Result<_, _>>()?;
            Ok(vec![words(directive)?.with(block)])
        }
        Some(Nested) => {
            let inside = nested(directive.block(), scope)?;
            match inside.is_empty() {
                true => Err(directive.error("has nothing in its braces")),
                false => Ok(vec![words(directive)?.with(inside)]),
            }
        }
        Some(Through(pass)) => pass(directive, scope),
        Some(Ignored(why)) => {
            scope.ignore(directive, why);
            Ok(Vec::new())
        }
        Some(Refused(why)) => Err(directive.error(*why)),
        None => Err(directive.error("is not a directive that apps may use")),
    }
}

/// The directive's own line, its placeholders checked.
fn words(directive: &Directive) -> Result<Line, CaddyfileError> {
    let name = std::iter::once(&directive.name);
    let words = name
        .chain(&directive.args)
        .map(|word| check_v2(word).map_err(|what| directive.error(what)))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Line::new(words, directive.line))
}

fn header(directive: &Directive, _: &mut Scope<'_>) -> Result<Vec<Line>, CaddyfileError> {
    let block = directive.block().iter().map(|field| match &field.block {
        None => words(field),
        Some(_) => Err(field.error("is not a header field")),
    });
    let block = block.collect::<Result<_, _>>()?;
    Ok(vec![words(directive)?.with(block)])
}

fn basicauth(directive: &Directive, _: &mut Scope<'_>) -> Result<Vec<Line>, CaddyfileError> {
    let accounts = directive.block().iter().map(|account| {
        let hash = match account.args().as_slice() {
            [hash] => plain_hash(hash),
            _ => None,
        };
        let wrong = || account.error("is not a user and a bcrypt hash of a cost up to 14");
        let hash = hash.ok_or_else(wrong)?;
        words(&Directive { args: vec![hash], ..account.clone() })
    });
    let accounts = accounts.collect::<Result<Vec<_>, _>>()?;
    let mut plain = directive.clone();
    // The name that every version knows.
    plain.name = "basicauth".to_owned();
    Ok(vec![words(&plain)?.with(accounts)])
}

/// A bcrypt hash of bounded cost; earlier releases had it in base64.
fn plain_hash(text: &str) -> Option<String> {
    let hash = match text.starts_with('$') {
        true => text.to_owned(),
        false => String::from_utf8(BASE64.decode(text).ok()?).ok()?,
    };
    has_bounded_cost(&hash).then_some(hash)
}

fn has_bounded_cost(hash: &str) -> bool {
    let cost = ["$2a$", "$2b$", "$2y$"]
        .iter()
        .find_map(|prefix| hash.strip_prefix(prefix)?.get(..2)?.parse::<u8>().ok());
    let plain = |c: char| c.is_ascii_alphanumeric() || "$./".contains(c);
    hash.len() == 60 && hash.chars().all(plain) && cost.is_some_and(|cost| cost <= 14)
}

fn tls(directive: &Directive, scope: &mut Scope<'_>) -> Result<Vec<Line>, CaddyfileError> {
    match directive.args().as_slice() {
        ["internal"] if directive.block.is_none() => scope.tls = TlsWish::Internal,
        _ => scope.choose_email(directive)?,
    }
    Ok(Vec::new())
}
