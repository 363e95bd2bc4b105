//! `basicauth` of Caddy 1.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::prefix;
use crate::proxy::caddyfile::CaddyfileError;
use crate::proxy::caddyfile::parser::Directive;
use crate::proxy::caddyfile::site::Scope;
use crate::proxy::caddyfile::write::Line;

/// `basicauth [PATH] USER PASSWORD`, or with the paths in a block.
///
/// Caddy 2 wants a bcrypt hash, whose salt would make each rendering different; the password stands in the compose
/// file in clear anyway. So the expected header is compared as it is.
pub(super) fn basicauth(
    directive: &Directive,
    scope: &mut Scope<'_>,
    rank: u8,
) -> Result<(), CaddyfileError> {
    let args = directive.args();
    let (mut paths, user, password) = match args.as_slice() {
        [user, password] => (Vec::new(), user, password),
        [path, user, password] => (vec![*path], user, password),
        _ => return Err(directive.error("is not 'basicauth [PATH] USER PASSWORD'")),
    };
    let mut realm = "Restricted";
    for entry in directive.block() {
        match (entry.name.as_str(), entry.args().as_slice()) {
            ("realm", [_]) => realm = &entry.args[0],
            (path, []) => paths.push(path),
            _ => return Err(entry.error("is neither a path nor 'realm NAME'")),
        }
    }
    if password.starts_with("htpasswd=") {
        return Err(directive.error("files of passwords are not read"));
    }
    if user.is_empty() || user.contains(':') || realm.contains(['"', '\\', '{', '}']) {
        return Err(directive.error("the user or realm has a character that it may not have"));
    }
    let name = scope.fresh("auth");
    let expected = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
    let mut conditions =
        vec![Line::new(["not", "header", "Authorization", &expected], directive.line)];
    let mut matchers = Vec::new();
    for path in paths {
        matchers.extend(prefix(directive, path)?);
    }
    if !matchers.is_empty() {
        matchers.insert(0, "path".to_owned());
        conditions.push(Line::new(matchers, directive.line));
    }
    let matcher = format!("@{name}");
    let challenge = format!("Basic realm=\"{realm}\"");
    let lines = [
        Line::new([&matcher], directive.line).with(conditions),
        Line::new(["header", &matcher, "WWW-Authenticate", &challenge], directive.line),
        Line::new(["respond", &matcher, "401"], directive.line),
    ];
    scope.lines.extend(lines.map(|line| (rank, line)));
    Ok(())
}
