//! `redir`, `rewrite`, `status` and `internal` of Caddy 1.

use super::condition::Conditions;
use super::{expression, prefix};
use crate::proxy::caddyfile::CaddyfileError;
use crate::proxy::caddyfile::parser::Directive;
use crate::proxy::caddyfile::site::Scope;
use crate::proxy::caddyfile::write::Line;

const CODES: &[&str] = &["300", "301", "302", "303", "304", "305", "307", "308", "meta"];

/// `redir [FROM] TO [CODE]`, also as lines of a block whose first line may give the code of all, and which may have
/// conditions.
pub(super) fn redir(
    directive: &Directive,
    scope: &mut Scope<'_>,
    rank: u8,
) -> Result<(), CaddyfileError> {
    let none = Conditions::default();
    let Some(block) = &directive.block else {
        return one(directive, scope, rank, (&directive.args(), "301"), &none);
    };
    let code = match directive.args().as_slice() {
        [] => "301",
        [code] if CODES.contains(code) => code,
        _ => return Err(directive.error("has arguments and a block")),
    };
    let mut conditions = none;
    let mut entries = Vec::new();
    for entry in block {
        if !conditions.take(entry, scope)? {
            entries.push(entry);
        }
    }
    for entry in entries {
        let words: Vec<_> = std::iter::once(entry.name.as_str()).chain(entry.args()).collect();
        one(entry, scope, rank, (&words, code), &conditions)?;
    }
    Ok(())
}

fn one(
    directive: &Directive,
    scope: &mut Scope<'_>,
    rank: u8,
    (words, default): (&[&str], &str),
    conditions: &Conditions,
) -> Result<(), CaddyfileError> {
    let (from, to, code) = match words {
        [to] => ("/", to, default),
        [to, code] if CODES.contains(code) => ("/", to, *code),
        [from, to] => (*from, to, default),
        [from, to, code] if CODES.contains(code) => (*from, to, *code),
        _ => return Err(directive.error("is not 'redir [FROM] TO [CODE]'")),
    };
    // FROM is a prefix in no case: Caddy 1 compares the whole path, and takes `/` for all.
    let path = prefix(directive, from)?.map(|_| from);
    let to = scope.word(directive, to, None)?;
    let code = if code == "meta" { "html" } else { code };
    let matcher = match conditions.is_empty() {
        true => path.unwrap_or("*").to_owned(),
        false => {
            let path = path.map(|path| Line::new(["path", path], directive.line));
            named(directive, scope, rank, path.into_iter().chain(conditions.lines()))
        }
    };
    let line = Line::new(["redir", &matcher, &to, code], directive.line);
    scope.lines.push((rank, line));
    Ok(())
}

/// Adds a named matcher; returns its name.
fn named(
    directive: &Directive,
    scope: &mut Scope<'_>,
    rank: u8,
    lines: impl Iterator<Item = Line>,
) -> String {
    let name = format!("@{}", scope.fresh("if"));
    let matcher = Line::new([&name], directive.line).with(lines.collect());
    scope.lines.push((rank, matcher));
    name
}

/// `rewrite [not] REGEXP TO`, or `rewrite [PATH]` with a block.
pub(super) fn rewrite(
    directive: &Directive,
    scope: &mut Scope<'_>,
    rank: u8,
) -> Result<(), CaddyfileError> {
    match (directive.args().as_slice(), &directive.block) {
        ([regexp, to], None) => {
            let name = scope.fresh("w");
            let condition =
                Line::new(["path_regexp", &name, expression(directive, regexp)?], directive.line);
            rewritten(directive, scope, rank, (to, Some(&name)), vec![condition])
        }
        (["not", regexp, to], None) => {
            let condition =
                Line::new(["not", "path_regexp", expression(directive, regexp)?], directive.line);
            rewritten(directive, scope, rank, (to, None), vec![condition])
        }
        ([], Some(block)) => rewrite_block(directive, "/", block, scope, rank),
        ([path], Some(block)) => rewrite_block(directive, path, block, scope, rank),
        _ => Err(directive.error("is not 'rewrite [not] REGEXP TO' or a block")),
    }
}

fn rewrite_block(
    directive: &Directive,
    base: &str,
    block: &[Directive],
    scope: &mut Scope<'_>,
    rank: u8,
) -> Result<(), CaddyfileError> {
    let name = scope.fresh("w");
    let base = prefix(directive, base)?;
    let (mut capture, mut to) = (None, None);
    let mut conditions = Conditions::default();
    let mut lines: Vec<_> =
        base.iter().map(|base| Line::new(["path", base], directive.line)).collect();
    for entry in block {
        if conditions.take(entry, scope)? {
            continue;
        }
        match (entry.name.as_str(), entry.args().as_slice()) {
            ("r" | "regexp", [regexp]) if base.is_none() && capture.is_none() => {
                let words = ["path_regexp", &name, expression(entry, regexp)?];
                lines.push(Line::new(words, entry.line));
                capture = Some(name.as_str());
            }
            ("r" | "regexp", [_]) => {
                return Err(entry.error("only one, and without a path after 'rewrite'"));
            }
            ("ext", extensions) if !extensions.is_empty() => {
                lines.push(extension(entry, extensions, base.is_some())?);
            }
            ("to", [single]) => to = Some(*single),
            ("to", _) => return Err(entry.error("looks for files, which apps have none of")),
            _ => return Err(entry.error("is no part of rewrite")),
        }
    }
    let to = to.ok_or_else(|| directive.error("lacks 'to'"))?;
    lines.extend(conditions.lines());
    rewritten(directive, scope, rank, (to, capture), lines)
}

/// `ext .php !.html`: paths with an ending, or without.
fn extension(
    directive: &Directive,
    extensions: &[&str],
    has_path: bool,
) -> Result<Line, CaddyfileError> {
    let is_not = extensions.iter().all(|extension| extension.starts_with('!'));
    let mut words: Vec<String> =
        if is_not { vec!["not".into(), "path".into()] } else { vec!["path".into()] };
    for extension in extensions {
        let plain = extension.strip_prefix('!').unwrap_or(extension);
        let is_mixed = is_not != extension.starts_with('!');
        let is_known = plain == "/"
            || plain.strip_prefix('.').is_some_and(|rest| {
                !rest.is_empty() && rest.chars().all(|c| c.is_ascii_alphanumeric())
            });
        // Several `path` of a block are alternatives in Caddy 2.
        if is_mixed || !is_known || (has_path && !is_not) {
            let what = "takes endings like .php, or all of them with '!', and those without '!' only without a path";
            return Err(directive.error(what));
        }
        words.push(format!("*{plain}"));
    }
    Ok(Line::new(words, directive.line))
}

fn rewritten(
    directive: &Directive,
    scope: &mut Scope<'_>,
    rank: u8,
    (to, capture): (&str, Option<&str>),
    conditions: Vec<Line>,
) -> Result<(), CaddyfileError> {
    let to = scope.word(directive, to, capture)?;
    let matcher = match conditions.is_empty() {
        true => "*".to_owned(),
        false => {
            let name = capture.map_or_else(|| scope.fresh("w"), str::to_owned);
            let matcher = format!("@{name}");
            scope.lines.push((rank, Line::new([&matcher], directive.line).with(conditions)));
            matcher
        }
    };
    scope.lines.push((rank, Line::new(["rewrite", &matcher, &to], directive.line)));
    Ok(())
}

/// `status CODE PATH`.
pub(super) fn status(
    directive: &Directive,
    scope: &mut Scope<'_>,
    rank: u8,
) -> Result<(), CaddyfileError> {
    let args = directive.args();
    let ([code, path], None) = (args.as_slice(), &directive.block) else {
        return Err(directive.error("is not 'status CODE PATH'"));
    };
    if !code.parse::<u16>().is_ok_and(|code| (200..600).contains(&code)) {
        return Err(directive.error(format!("{code:?} is not a status")));
    }
    let matcher = prefix(directive, path)?.unwrap_or_else(|| "*".to_owned());
    let line = Line::new(["respond", &matcher, code], directive.line);
    scope.lines.push((rank, line));
    Ok(())
}

/// `internal PATH`: not for clients.
pub(super) fn internal(
    directive: &Directive,
    scope: &mut Scope<'_>,
    rank: u8,
) -> Result<(), CaddyfileError> {
    let args = directive.args();
    let [path] = args.as_slice() else {
        return Err(directive.error("is not 'internal PATH'"));
    };
    let matcher = prefix(directive, path)?.unwrap_or_else(|| "*".to_owned());
    let line = Line::new(["respond", &matcher, "404"], directive.line);
    scope.lines.push((rank, line));
    Ok(())
}
