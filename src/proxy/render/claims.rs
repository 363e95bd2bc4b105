//! Who has what: hosts, names and ports are one app's each, whatever the case in which they are written.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

/// The kind of thing that a host is, whoever asks for it.
pub(super) const HOST: &str = "the host";

/// Things of one kind, and whose they are.
type Owners = HashMap<Arc<str>, Arc<str>>;

/// What was given out so far, and to whom.
#[derive(Default)]
pub(super) struct Claims {
    owners: HashMap<&'static str, Owners>,
    given: Vec<(&'static str, Arc<str>)>,
}

impl Claims {
    /// Takes a thing for a source; refused if another one has it.
    pub(super) fn take(
        &mut self,
        kind: &'static str,
        thing: &str,
        source: &str,
    ) -> Result<(), String> {
        match self.owner(kind, &lower(thing)) {
            Some(owner) if owner == source => Ok(()),
            _ => self.take_once(kind, thing, source),
        }
    }

    /// As [`Claims::take`], for a host in lower case and a source that are there already.
    pub(super) fn take_host(
        &mut self,
        kind: &'static str,
        host: &Arc<str>,
        source: &Arc<str>,
    ) -> Result<(), String> {
        match self.owner(kind, host) {
            Some(owner) if owner == source.as_ref() => Ok(()),
            Some(owner) => Err(format!("{kind} {host} is taken by {owner}")),
            None => {
                self.give(kind, host.clone(), source.clone());
                Ok(())
            }
        }
    }

    /// Takes a thing that not even the same source may take twice.
    pub(super) fn take_once(
        &mut self,
        kind: &'static str,
        thing: &str,
        source: &str,
    ) -> Result<(), String> {
        let key = lower(thing);
        if let Some(owner) = self.owner(kind, &key) {
            return Err(format!("{kind} {thing} is taken by {owner}"));
        }
        self.give(kind, key.as_ref().into(), source.into());
        Ok(())
    }

    /// Whether a source has a thing.
    pub(super) fn has(&self, kind: &'static str, thing: &str, source: &str) -> bool {
        self.owner(kind, &lower(thing)) == Some(source)
    }

    fn give(&mut self, kind: &'static str, thing: Arc<str>, owner: Arc<str>) {
        self.owners.entry(kind).or_default().insert(thing.clone(), owner);
        self.given.push((kind, thing));
    }

    fn owner(&self, kind: &'static str, key: &str) -> Option<&str> {
        self.owners.get(kind)?.get(key).map(Arc::as_ref)
    }

    /// A moment to go back to.
    pub(super) fn mark(&self) -> usize {
        self.given.len()
    }

    /// Gives back what was taken since a moment.
    pub(super) fn give_back_since(&mut self, mark: usize) {
        for (kind, thing) in self.given.split_off(mark) {
            if let Some(owners) = self.owners.get_mut(kind) {
                owners.remove(&thing);
            }
        }
    }
}

/// Hosts are in lower case already.
fn lower(thing: &str) -> Cow<'_, str> {
    match thing.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => thing.to_ascii_lowercase().into(),
        false => thing.into(),
    }
}
