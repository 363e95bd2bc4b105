//! `basicauth` of Caddy 1.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::prefix;
use crate::CaddyfileError;
use crate::parser::Directive;
use crate::site::Scope;
use crate::write::Line;

/// One directive: who is let in, and where.
struct Account<'a> {
    /// Matchers of the paths; none for all of them.
    paths: Vec<String>,
    /// The header that a client of the account sends.
    authorization: String,
    realm: &'a str,
    line: u32,
}

/// `basicauth [PATH] USER PASSWORD`, or with the paths in a block, all of a site: whoever has one of the accounts of a
/// path is let in there. Caddy 1 asks nobody for one with the method OPTIONS.
///
/// Caddy 2 wants a bcrypt hash, whose salt would make each rendering different; the password stands in the compose
/// file in clear anyway. So the expected header is compared as it is.
pub(super) fn basicauth(
    directives: &[&Directive],
    scope: &mut Scope<'_>,
    rank: u8,
) -> Result<(), CaddyfileError> {
    let accounts = directives.iter().map(|directive| Account::of(directive));
    let accounts = accounts.collect::<Result<Vec<_>, _>>()?;
    let line = accounts.first().map_or(0, |account| account.line);
    let mut conditions = vec![Line::new(["not", "method", "OPTIONS"], line)];
    if accounts.iter().all(|account| !account.paths.is_empty()) {
        let paths = accounts.iter().flat_map(|account| &account.paths);
        let words = std::iter::once("path").chain(paths.map(String::as_str));
        conditions.push(Line::new(words, line));
    }
    conditions.extend(accounts.iter().map(Account::denied));
    let matcher = format!("@{}", scope.fresh("auth"));
    let mut answer: Vec<_> = accounts.iter().flat_map(Account::challenges).collect();
    answer.push(Line::new(["respond", "401"], line));
    let lines = [
        Line::new([&matcher], line).with(conditions),
        Line::new(["route", &matcher], line).with(answer),
    ];
    scope.lines.extend(lines.map(|line| (rank, line)));
    Ok(())
}

impl<'a> Account<'a> {
    fn of(directive: &'a Directive) -> Result<Self, CaddyfileError> {
        let args = directive.args();
        let (mut paths, user, password) = match args.as_slice() {
            [user, password] => (Vec::new(), user, password),
            [path, user, password] => (vec![*path], user, password),
            _ => return Err(directive.error("is not 'basicauth [PATH] USER PASSWORD'")),
        };
        let mut realm = "Restricted";
        for entry in directive.block() {
            match (entry.name.as_str(), entry.args.as_slice()) {
                ("realm", [name]) => realm = name,
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
        let paths = paths.into_iter().map(|path| prefix(directive, path));
        let paths: Option<Vec<_>> = paths.collect::<Result<_, _>>()?;
        Ok(Self {
            paths: paths.unwrap_or_default(),
            authorization: format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))),
            realm,
            line: directive.line,
        })
    }

    /// Holds for requests that this account does not let in.
    fn denied(&self) -> Line {
        let header = ["header", "Authorization", &self.authorization];
        if self.paths.is_empty() {
            return Line::new(["not"].into_iter().chain(header), self.line);
        }
        let paths = std::iter::once("path").chain(self.paths.iter().map(String::as_str));
        let both = vec![Line::new(paths, self.line), Line::new(header, self.line)];
        Line::new(["not"], self.line).with(both)
    }

    /// The realm that a client is asked for, by path: the last account of those that fit has the say.
    fn challenges(&self) -> Vec<Line> {
        let challenge = format!("Basic realm=\"{}\"", self.realm);
        let line =
            |path: &str| Line::new(["header", path, "WWW-Authenticate", &challenge], self.line);
        match self.paths.is_empty() {
            true => vec![line("*")],
            false => self.paths.iter().map(|path| line(path)).collect(),
        }
    }
}
