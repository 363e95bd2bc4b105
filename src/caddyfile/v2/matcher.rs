//! Named matchers: those that look at the request.

use super::words;
use crate::CaddyfileError;
use crate::parser::Directive;
use crate::write::Line;

const MATCHERS: &[&str] = &[
    "path",
    "path_regexp",
    "method",
    "header",
    "header_regexp",
    "query",
    "protocol",
    "remote_ip",
    "host",
    "vars_regexp",
];

/// `@name matcher words…` or a block of them; `not` takes the same.
pub(super) fn named(directive: &Directive) -> Result<Vec<Line>, CaddyfileError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    let name = &directive.name[1..];
    if name.is_empty() || !name.chars().all(plain) {
        return Err(directive.error("is not a name for a matcher"));
    }
    match (&directive.block, directive.args.split_first()) {
        (Some(block), None) => {
            let inside = block.iter().map(condition).collect::<Result<_, _>>()?;
            Ok(vec![words(directive)?.with(inside)])
        }
        (None, Some((kind, _))) => {
            check_kind(directive, kind)?;
            Ok(vec![words(directive)?])
        }
        _ => Err(directive.error("is neither one matcher nor a block of them")),
    }
}

fn condition(directive: &Directive) -> Result<Line, CaddyfileError> {
    check_kind(directive, &directive.name)?;
    let inside = directive.block().iter();
    let inside = inside.map(condition).collect::<Result<Vec<_>, _>>()?;
    if !inside.is_empty() && directive.name != "not" {
        return Err(directive.error("has a block"));
    }
    Ok(words(directive)?.with(inside))
}

fn check_kind(directive: &Directive, kind: &str) -> Result<(), CaddyfileError> {
    let after_not = match kind {
        "not" => directive.args.iter().find(|arg| *arg != "not"),
        _ => None,
    };
    let kind = after_not.map_or(kind, String::as_str);
    if MATCHERS.contains(&kind) || (kind == "not" && directive.block.is_some()) {
        return Ok(());
    }
    Err(directive.error(format!("the matcher {kind:?} is not for apps")))
}
