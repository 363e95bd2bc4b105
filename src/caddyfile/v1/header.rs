//! `header` of Caddy 1.

use super::prefix;
use crate::CaddyfileError;
use crate::parser::Directive;
use crate::site::Scope;
use crate::write::Line;

/// Of these the site's value wins in Caddy 1; of all others the app's, hence the `?`.
const OVER_THE_APP: &[&str] = &[
    "accept-ranges",
    "cache-control",
    "content-disposition",
    "content-type",
    "expires",
    "set-cookie",
];

/// `header PATH NAME VALUE` or a block of them.
pub(super) fn header(
    directive: &Directive,
    scope: &mut Scope<'_>,
    rank: u8,
) -> Result<(), CaddyfileError> {
    let args = directive.args();
    let Some((path, rest)) = args.split_first() else {
        return Err(directive.error("is not 'header PATH NAME VALUE'"));
    };
    let matcher = prefix(directive, path)?.unwrap_or_else(|| "*".to_owned());
    let mut add = |source: &Directive, name: &str, value: &[&str]| {
        let line = one(source, scope, &matcher, (name, value))?;
        scope.lines.push((rank, line));
        Ok(())
    };
    match (rest, &directive.block) {
        ([name, value @ ..], None) => add(directive, name, value),
        ([], Some(block)) => {
            block.iter().try_for_each(|entry| add(entry, &entry.name, &entry.args()))
        }
        _ => Err(directive.error("is not 'header PATH NAME VALUE'")),
    }
}

fn one(
    directive: &Directive,
    scope: &Scope<'_>,
    matcher: &str,
    (name, value): (&str, &[&str]),
) -> Result<Line, CaddyfileError> {
    let (sign, bare) = match name.split_at_checked(1) {
        Some((sign @ ("+" | "-"), bare)) => (sign, bare),
        _ => ("?", name),
    };
    if !is_header(bare) {
        return Err(directive.error(format!("{name:?} is not a header's name")));
    }
    let name = format!("{sign}{bare}");
    match (sign, value) {
        ("-", []) => Ok(Line::new(["header", matcher, &name], directive.line)),
        ("?" | "+", [value]) => {
            let value = scope.word(directive, value, None)?;
            if sign == "?" && OVER_THE_APP.contains(&bare.to_ascii_lowercase().as_str()) {
                return Ok(replace(directive, matcher, bare, &value));
            }
            Ok(Line::new(["header", matcher, &name, &value], directive.line))
        }
        _ => Err(directive.error(format!("{name:?} needs one value, or none to be removed"))),
    }
}

/// Sets a field last, so that what the app sent is replaced rather than sent besides.
pub(super) fn replace(directive: &Directive, matcher: &str, name: &str, value: &str) -> Line {
    let block = [Line::new([name, value], directive.line), Line::new(["defer"], directive.line)];
    Line::new(["header", matcher], directive.line).with(block.into())
}

pub(super) fn is_header(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    (1..=64).contains(&name.len()) && name.chars().all(plain)
}
