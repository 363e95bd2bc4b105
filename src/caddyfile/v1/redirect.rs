//! `redir`, `status` and `internal` of Caddy 1.

use super::condition::Conditions;
use super::prefix;
use crate::CaddyfileError;
use crate::parser::Directive;
use crate::site::Scope;
use crate::write::Line;

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

/// `status CODE PATH`, or `status CODE` with paths in a block: the longest path decides.
pub(super) fn status(
    directives: &[&Directive],
    scope: &mut Scope<'_>,
    rank: u8,
) -> Result<(), CaddyfileError> {
    let mut rules: Vec<(&Directive, &str, &str)> = Vec::new();
    for &directive in directives {
        match (directive.args().as_slice(), directive.block.as_deref()) {
            ([code, path], None) => rules.push((directive, *code, *path)),
            ([code], Some(block @ [_, ..])) => {
                for entry in block {
                    if !entry.args.is_empty() || entry.block.is_some() {
                        return Err(entry.error("is not a path on a line of its own"));
                    }
                    rules.push((entry, *code, entry.name.as_str()));
                }
            }
            _ => return Err(directive.error("is not 'status CODE PATH', or a block of paths")),
        }
    }
    rules.sort_by_key(|(_, _, path)| std::cmp::Reverse(path.len()));
    for (directive, code, path) in rules {
        if !code.parse::<u16>().is_ok_and(|code| (200..600).contains(&code)) {
            return Err(directive.error(format!("{code:?} is not a status")));
        }
        let matcher = prefix(directive, path)?.unwrap_or_else(|| "*".to_owned());
        let line = Line::new(["respond", &matcher, code], directive.line);
        scope.lines.push((rank, line));
    }
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
