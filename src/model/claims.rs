//! Who has what: hosts, names, ports and volumes are one app's each, compared as those compare them that use them.
//!
//! The proxies ask it when they render, and *check* before a deployment touches anything.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// What can be somebody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A host, in lower case and in punycode already.
    Host,
    /// A port that HAProxy binds.
    Port,
    /// A port that a container publishes, with its node in front.
    Published,
    /// A frontend of HAProxy's.
    Frontend,
    /// A backend of HAProxy's.
    Backend,
    /// A volume, as Docker and buttervolume call it.
    Volume,
    /// A name by which Docker's DNS finds a container.
    Name,
}

impl Kind {
    /// A thing as it is compared: Docker and BTRFS tell the cases of a volume's name apart, DNS and HAProxy don't.
    fn key(self, thing: &str) -> Cow<'_, str> {
        match self {
            Self::Volume => thing.into(),
            Self::Host
            | Self::Port
            | Self::Published
            | Self::Frontend
            | Self::Backend
            | Self::Name => lower(thing),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "the host",
            Self::Port | Self::Published => "port",
            Self::Frontend => "the frontend",
            Self::Backend => "the backend",
            Self::Volume => "the volume",
            Self::Name => "the name",
        })
    }
}

/// Things of one kind, and whose they are.
type Owners = HashMap<Arc<str>, Arc<str>>;

/// What was given out so far, and to whom.
#[derive(Debug, Default)]
pub struct Claims {
    owners: HashMap<Kind, Owners>,
    given: Vec<(Kind, Arc<str>)>,
}

impl Claims {
    /// Takes a thing for a source; refused if another one has it.
    pub fn take(&mut self, kind: Kind, thing: &str, source: &str) -> Result<(), String> {
        match self.owner(kind, &kind.key(thing)) {
            Some(owner) if owner == source => Ok(()),
            _ => self.take_once(kind, thing, source),
        }
    }

    /// As [`Claims::take`], for a host in lower case and a source that are there already.
    pub fn take_host(
        &mut self,
        kind: Kind,
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
    pub fn take_once(&mut self, kind: Kind, thing: &str, source: &str) -> Result<(), String> {
        let key = kind.key(thing);
        if let Some(owner) = self.owner(kind, &key) {
            return Err(format!("{kind} {thing} is taken by {owner}"));
        }
        self.give(kind, key.as_ref().into(), source.into());
        Ok(())
    }

    /// Whether a source has a thing.
    pub fn has(&self, kind: Kind, thing: &str, source: &str) -> bool {
        self.owner(kind, &kind.key(thing)) == Some(source)
    }

    /// Whose a thing is.
    pub fn owner_of(&self, kind: Kind, thing: &str) -> Option<&str> {
        self.owner(kind, &kind.key(thing))
    }

    fn give(&mut self, kind: Kind, thing: Arc<str>, owner: Arc<str>) {
        self.owners.entry(kind).or_default().insert(thing.clone(), owner);
        self.given.push((kind, thing));
    }

    fn owner(&self, kind: Kind, key: &str) -> Option<&str> {
        self.owners.get(&kind)?.get(key).map(Arc::as_ref)
    }

    /// A moment to go back to.
    pub fn mark(&self) -> usize {
        self.given.len()
    }

    /// Gives back what was taken since a moment.
    pub fn give_back_since(&mut self, mark: usize) {
        for (kind, thing) in self.given.split_off(mark) {
            if let Some(owners) = self.owners.get_mut(&kind) {
                owners.remove(&thing);
            }
        }
    }
}

fn lower(thing: &str) -> Cow<'_, str> {
    match thing.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => thing.to_ascii_lowercase().into(),
        false => thing.into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KINDS: [Kind; 7] = [
        Kind::Host,
        Kind::Port,
        Kind::Published,
        Kind::Frontend,
        Kind::Backend,
        Kind::Volume,
        Kind::Name,
    ];

    proptest! {
        #[test]
        fn what_is_the_same_to_those_that_use_it_is_one_apps(thing in "[a-zA-Z0-9_.-]{1,12}") {
            for kind in KINDS {
                let mut claims = Claims::default();
                claims.take(kind, &thing, "first").unwrap();
                prop_assert!(claims.take(kind, &thing, "second").is_err());
                let upper = thing.to_ascii_uppercase();
                let is_another = upper != thing && kind == Kind::Volume;
                prop_assert_eq!(claims.take(kind, &upper, "second").is_ok(), is_another);
                let longer = thing.clone() + "x";
                prop_assert!(claims.take(kind, &longer, "second").is_ok());
            }
        }
    }
}
