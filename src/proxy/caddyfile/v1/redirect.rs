//! `redir`, `rewrite`, `status` and `internal` of Caddy 1.

use super::prefix;
use crate::proxy::caddyfile::CaddyfileError;
use crate::proxy::caddyfile::parser::Directive;
use crate::proxy::caddyfile::placeholder::from_v1;
use crate::proxy::caddyfile::site::Scope;
use crate::proxy::caddyfile::write::Line;

const CODES: &[&str] = &["300", "301", "302", "303", "304", "305", "307", "308", "meta"];

/// `redir [FROM] TO [CODE]`, also as lines of a block whose first line may give the code of all.
pub(super) fn redir(
    directive: &Directive,
    scope: &mut Scope<'_>,
    rank: u8,
) -> Result<(), CaddyfileError> {
    let Some(block) = &directive.block else {
        let line = one(directive, &directive.args(), "301")?;
        scope.lines.push((rank, line));
        return Ok(());
    };
    let code = match directive.args().as_slice() {
        [] => "301",
        [code] if CODES.contains(code) => code,
        _ => return Err(directive.error("has arguments and a block")),
    };
    for entry in block {
        if matches!(entry.name.as_str(), "if" | "if_op") {
            return Err(directive.error("'if' has no translation yet"));
        }
        let words: Vec<_> = std::iter::once(entry.name.as_str()).chain(entry.args()).collect();
        let line = one(entry, &words, code)?;
        scope.lines.push((rank, line));
    }
    Ok(())
}

fn one(directive: &Directive, words: &[&str], default: &str) -> Result<Line, CaddyfileError> {
    let (from, to, code) = match words {
        [to] => ("/", to, default),
        [to, code] if CODES.contains(code) => ("/", to, *code),
        [from, to] => (*from, to, default),
        [from, to, code] if CODES.contains(code) => (*from, to, *code),
        _ => return Err(directive.error("is not 'redir [FROM] TO [CODE]'")),
    };
    // FROM is a prefix in no case: Caddy 1 compares the whole path, and takes `/` for all.
    let matcher = match from {
        "/" => "*",
        path if prefix(directive, path)?.is_some() => path,
        _ => "*",
    };
    let to = from_v1(to, None).map_err(|what| directive.error(what))?;
    let code = if code == "meta" { "html" } else { code };
    Ok(Line::new(["redir", matcher, &to, code], directive.line))
}

/// `rewrite REGEXP TO`.
pub(super) fn rewrite(
    directive: &Directive,
    scope: &mut Scope<'_>,
    rank: u8,
) -> Result<(), CaddyfileError> {
    let args = directive.args();
    let ([regexp, to], None) = (args.as_slice(), &directive.block) else {
        return Err(directive.error("only 'rewrite REGEXP TO' has a translation yet"));
    };
    if regexp.contains(['{', '}']) || regexp.len() > 200 {
        return Err(directive.error("the expression has braces or is too long"));
    }
    let name = scope.fresh("w");
    let to = from_v1(to, Some(&name)).map_err(|what| directive.error(what))?;
    let matcher = format!("@{name}");
    let lines = [
        Line::new([&matcher, "path_regexp", &name, *regexp], directive.line),
        Line::new(["rewrite", &matcher, &to], directive.line),
    ];
    scope.lines.extend(lines.map(|line| (rank, line)));
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
