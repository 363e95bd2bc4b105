//! Who has what: hosts, names and ports are one app's each, whatever the case in which they are written.

use std::collections::BTreeMap;

/// The kind of thing that a host is, whoever asks for it.
pub(super) const HOST: &str = "the host";

type Thing = (&'static str, String);

/// What was given out so far, and to whom.
#[derive(Default)]
pub(super) struct Claims {
    owners: BTreeMap<Thing, String>,
    given: Vec<Thing>,
}

impl Claims {
    /// Takes a thing for a source; refused if another one has it.
    pub(super) fn take(
        &mut self,
        kind: &'static str,
        thing: &str,
        source: &str,
    ) -> Result<(), String> {
        match self.owners.get(&(kind, thing.to_ascii_lowercase())) {
            Some(owner) if owner == source => Ok(()),
            _ => self.take_once(kind, thing, source),
        }
    }

    /// Takes a thing that not even the same source may take twice.
    pub(super) fn take_once(
        &mut self,
        kind: &'static str,
        thing: &str,
        source: &str,
    ) -> Result<(), String> {
        let key = (kind, thing.to_ascii_lowercase());
        if let Some(owner) = self.owners.get(&key) {
            return Err(format!("{kind} {thing} is taken by {owner}"));
        }
        self.owners.insert(key.clone(), source.to_owned());
        self.given.push(key);
        Ok(())
    }

    /// Whether a source has a thing.
    pub(super) fn has(&self, kind: &'static str, thing: &str, source: &str) -> bool {
        let owner = self.owners.get(&(kind, thing.to_ascii_lowercase()));
        owner.is_some_and(|owner| owner == source)
    }

    /// A moment to go back to.
    pub(super) fn mark(&self) -> usize {
        self.given.len()
    }

    /// Gives back what was taken since a moment.
    pub(super) fn give_back_since(&mut self, mark: usize) {
        for thing in self.given.split_off(mark) {
            self.owners.remove(&thing);
        }
    }
}
