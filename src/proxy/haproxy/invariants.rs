//! What has to hold of every `HAPROXY` value, whatever it says. The property tests and the targets in `fuzz/` both ask
//! here.

use serde_json::{Map, Value};

use super::{Backend, Declaration, Keyword, parse_all};
use crate::proxy::invariants::{Broken, broken};

/// What would open a section, or read or bind something that is not the app's.
const NEVER: &[&str] =
    &["/etc", "backend ", "listen ", "global", "lua", "unix@", "fd@", "errorfile", "stats"];

/// What is taken is lines of harmless words, even of one whom an admin lets use every keyword.
pub fn declarations(value: &Map<String, Value>) -> Result<(), Broken> {
    parse_all(value, &Keyword::ALL.into()).unwrap_or_default().iter().try_for_each(declaration)
}

fn declaration(declaration: &Declaration) -> Result<(), Broken> {
    name(&declaration.name)?;
    if let Ok(frontend) = &declaration.place {
        frontend.options.iter().try_for_each(|option| line(option))?;
        frontend.binds.iter().try_for_each(|bind| line(&bind.to_string()))?;
    }
    declaration.backends.iter().try_for_each(backend)
}

fn backend(backend: &Backend) -> Result<(), Broken> {
    // Names get a prefix of ours; what they say is free.
    name(&backend.name)?;
    name(&backend.ct)?;
    line(&backend.server.join(" "))?;
    backend.options.iter().try_for_each(|option| line(option))?;
    let condition = backend.condition.as_ref().map(ToString::to_string);
    harmless(&condition.unwrap_or_default())
}

fn name(text: &str) -> Result<(), Broken> {
    match text.is_empty() || text.contains(' ') {
        true => broken(format!("the name {text:?} was taken")),
        false => harmless(text),
    }
}

fn line(text: &str) -> Result<(), Broken> {
    harmless(text)?;
    match NEVER.iter().find(|never| text.contains(*never)) {
        Some(never) => broken(format!("{never:?} came through in {text:?}")),
        None => Ok(()),
    }
}

/// One line, of which HAProxy reads nothing but words.
pub(in crate::proxy) fn harmless(text: &str) -> Result<(), Broken> {
    let is_plain = |c: char| (' '..='~').contains(&c) && !"\"'\\$#`%;".contains(c);
    match text.chars().all(is_plain) {
        true => Ok(()),
        false => broken(format!("the line {text:?} was taken")),
    }
}
