//! Who has what: hosts, names and ports are one app's each, whatever the case in which they are written.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

/// Things of one kind, and whose they are.
type Owners = HashMap<Arc<str>, Arc<str>>;

/// What was given out so far, and to whom.
#[derive(Default)]
pub(super) struct Claims {
    owners: HashMap<&'static str, Owners>,
    given: Vec<(&'static str, Arc<str>)>,
    /// The owner of late: most things are taken by the same one as the one before.
    last: Option<Arc<str>>,
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
        let key: Arc<str> = key.as_ref().into();
        let owner = match self.last.take().filter(|last| last.as_ref() == source) {
            Some(last) => last,
            None => source.into(),
        };
        self.last = Some(owner.clone());
        self.owners.entry(kind).or_default().insert(key.clone(), owner);
        self.given.push((kind, key));
        Ok(())
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
