//! `limits` and `mime` of Caddy 1.

use super::header::replace;
use super::prefix;
use crate::CaddyfileError;
use crate::parser::Directive;
use crate::site::Scope;
use crate::write::Line;

/// `limits SIZE`, or a block of `body [PATH] SIZE` and `header SIZE`: the longest path decides.
pub(super) fn limits(
    directive: &Directive,
    scope: &mut Scope<'_>,
    rank: u8,
) -> Result<(), CaddyfileError> {
    let mut limits: Vec<(&str, u64)> = Vec::new();
    match (directive.args().as_slice(), directive.block()) {
        ([size], []) => limits.push(("/", bytes(directive, size)?)),
        ([], [_, ..]) => {
            for entry in directive.block() {
                match (entry.name.as_str(), entry.args.as_slice()) {
                    ("header", [_]) => scope.ignore(entry, "the limit is that of the node"),
                    ("body", [size]) => limits.push(("/", bytes(entry, size)?)),
                    ("body", [path, size]) => limits.push((path, bytes(entry, size)?)),
                    _ => return Err(entry.error("is not 'body [PATH] SIZE' or 'header SIZE'")),
                }
            }
        }
        _ => return Err(directive.error("is not 'limits SIZE' or a block of limits")),
    }
    limits.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
    let mut longer: Vec<String> = Vec::new();
    for (path, size) in limits {
        let path = prefix(directive, path)?;
        let matcher = limited(directive, scope, rank, path.as_deref(), &longer);
        let max_size = Line::new(["max_size", &size.to_string()], directive.line);
        let words = std::iter::once("request_body".to_owned()).chain(matcher);
        scope.lines.push((rank, Line::new(words, directive.line).with(vec![max_size])));
        longer.extend(path);
    }
    Ok(())
}

/// The matcher of a limit. Caddy 2 would apply all that fit, so the paths that have their own are taken out.
fn limited(
    directive: &Directive,
    scope: &mut Scope<'_>,
    rank: u8,
    path: Option<&str>,
    longer: &[String],
) -> Option<String> {
    if longer.is_empty() {
        return path.map(str::to_owned);
    }
    let name = format!("@{}", scope.fresh("b"));
    let not = ["not".to_owned(), "path".to_owned()].into_iter().chain(longer.iter().cloned());
    let mut conditions = vec![Line::new(not, directive.line)];
    conditions.extend(path.map(|path| Line::new(["path", path], directive.line)));
    scope.lines.push((rank, Line::new([&name], directive.line).with(conditions)));
    Some(name)
}

/// A size in bytes: `10mb`, where a kilobyte has 1024.
fn bytes(directive: &Directive, text: &str) -> Result<u64, CaddyfileError> {
    let lower = text.to_ascii_lowercase();
    let split = lower.find(|c: char| !c.is_ascii_digit()).unwrap_or(lower.len());
    let (number, unit) = lower.split_at(split);
    let factor = match unit {
        "" | "b" => Some(1),
        "kb" => Some(1 << 10),
        "mb" => Some(1 << 20),
        "gb" => Some(1 << 30),
        _ => None,
    };
    let size = factor.and_then(|factor| number.parse::<u64>().ok()?.checked_mul(factor));
    size.filter(|size| (1..=64 << 30).contains(size))
        .ok_or_else(|| directive.error(format!("{text:?} is not a size like 10mb, up to 64gb")))
}

/// `mime EXTENSION TYPE`, or a block of them.
pub(super) fn mime(
    directive: &Directive,
    scope: &mut Scope<'_>,
    rank: u8,
) -> Result<(), CaddyfileError> {
    match (directive.args().as_slice(), directive.block()) {
        ([extension, kind], []) => one(directive, scope, rank, extension, kind),
        ([], block @ [_, ..]) => block.iter().try_for_each(|entry| match entry.args().as_slice() {
            [kind] => one(entry, scope, rank, &entry.name, kind),
            _ => Err(entry.error("is not 'EXTENSION TYPE'")),
        }),
        _ => Err(directive.error("is not 'mime EXTENSION TYPE'")),
    }
}

fn one(
    directive: &Directive,
    scope: &mut Scope<'_>,
    rank: u8,
    extension: &str,
    kind: &str,
) -> Result<(), CaddyfileError> {
    let is_extension = extension
        .strip_prefix('.')
        .is_some_and(|rest| !rest.is_empty() && rest.chars().all(|c| c.is_ascii_alphanumeric()));
    let is_kind = kind.contains('/')
        && kind.chars().all(|c| c.is_ascii_alphanumeric() || "/+.-;= _".contains(c));
    if !is_extension || !is_kind {
        let what = format!("{extension:?} {kind:?} is not an extension and its type");
        return Err(directive.error(what));
    }
    let matcher = format!("@{}", scope.fresh("m"));
    let path = format!("*{extension}");
    let lines = [
        Line::new([&matcher, "path", &path], directive.line),
        replace(directive, &matcher, "Content-Type", kind),
    ];
    scope.lines.extend(lines.map(|line| (rank, line)));
    Ok(())
}
