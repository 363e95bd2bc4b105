//! Whose data a copy holds: that of the app's volume, or that of one that somebody made anew under its name.
//!
//! A name says nothing, an age neither, and not even what changes were counted from: buttervolume sends a new volume as
//! changes to the former one's last snapshot. What tells is the id of the volume that a snapshot was taken of, which only
//! its master sees. So the master's agent notes the ids of the volumes that are the app's own: the first one, what
//! deployments restore, and what anybody makes of a snapshot of it. Of their snapshots it says which are the newest, and
//! the slave gives none of those up for a copy of anything else.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::copies::{Held, Survey};
use crate::host::volume::Verified;

/// How many ids are remembered: a deployment makes one for each volume at most, and one that is given up another one.
const MADE: usize = 32;
/// How many snapshots are named: they may come faster than the slave looks.
const VOUCHED: usize = 16;

/// The lines of an app's volumes: `tandem/lines/{app}`.
pub type Lines = BTreeMap<String, Line>;

/// What is known of a volume's line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Line {
    /// The ids of the volumes that are the app's own, the present one last.
    pub made: Vec<String>,
    /// The ids of the newest snapshots of them that the master has, as copies on other nodes know them.
    pub vouched: Vec<String>,
    /// A volume in their place that is none of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strange: Option<Strange>,
}

/// A volume that somebody made anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Strange {
    /// Its id.
    pub uuid: String,
    /// When it was seen first.
    pub since: DateTime<Utc>,
}

impl Line {
    /// Whether the snapshots alone don't tell what the volume is: it has to be asked about.
    pub fn is_unsure(&self, survey: &Survey) -> bool {
        let read_only = survey.held.iter().filter(|held| held.facts.read_only);
        let newest = read_only.max_by_key(|held| (held.facts.order(), &held.name));
        let told = newest.is_some_and(|held| self.is_taken_of_it(held));
        self.strange.is_some() || !told
    }

    /// Whether a volume with these facts, beside these snapshots, is the app's own. One without an id is not judged.
    pub fn is_own(&self, volume: &Verified, survey: &Survey) -> bool {
        let Some(uuid) = &volume.uuid else { return true };
        self.made.is_empty() || self.made.contains(uuid) || source(volume, survey).is_some()
    }

    /// Notes a volume that is the app's own.
    pub fn note(&mut self, uuid: &str) {
        if self.made.last().is_some_and(|last| last == uuid) {
            return;
        }
        self.made.retain(|known| known != uuid);
        self.made.push(uuid.to_owned());
        let surplus = self.made.len().saturating_sub(MADE);
        self.made.drain(..surplus);
    }

    /// The line after a look at the master's snapshots and, where it was asked about, its volume.
    #[must_use]
    pub fn next(&self, survey: &Survey, volume: Option<&Verified>, now: DateTime<Utc>) -> Self {
        let mut next = self.clone();
        let mut begun_from = None;
        if let Some((volume, uuid)) = volume.and_then(|volume| Some((volume, volume.uuid.clone()?)))
        {
            if self.is_own(volume, survey) {
                next.note(&uuid);
                next.strange = None;
                begun_from = source(volume, survey);
            } else if self.strange.as_ref().is_none_or(|strange| strange.uuid != uuid) {
                next.strange = Some(Strange { uuid, since: now });
            }
        }
        let own = survey.held.iter().filter(|held| {
            held.facts.read_only
                && (next.is_taken_of_it(held) || next.is_vouched(held) || begun_from == Some(*held))
        });
        let mut own: Vec<_> = own.collect();
        own.sort_by_key(|held| (held.facts.order(), &held.name));
        let newest = own.into_iter().rev().take(VOUCHED);
        next.vouched = newest.filter_map(|held| held.facts.origin().map(str::to_owned)).collect();
        next
    }

    /// The newest snapshot here that is known to be the app's: by what the master says, or said before.
    pub fn newest_own<'a>(&self, survey: &'a Survey, before: Option<&str>) -> Option<&'a Held> {
        let read_only = survey.held.iter().filter(|held| held.facts.read_only);
        let is_before = |held: &Held| before.is_some() && held.facts.origin() == before;
        let own = read_only.filter(|held| self.is_vouched(held) || is_before(held));
        own.max_by_key(|held| (held.facts.order(), &held.name))
    }

    fn is_vouched(&self, held: &Held) -> bool {
        held.facts.origin().is_some_and(|id| self.vouched.iter().any(|vouched| vouched == id))
    }

    fn is_taken_of_it(&self, held: &Held) -> bool {
        let parent = held.facts.parent_uuid.as_ref();
        held.facts.received_uuid.is_none() && parent.is_some_and(|id| self.made.contains(id))
    }
}

/// The snapshot that a volume was made of, if it is here.
fn source<'a>(volume: &Verified, survey: &'a Survey) -> Option<&'a Held> {
    let parent = volume.parent_uuid.as_ref()?;
    survey.held.iter().find(|held| held.facts.read_only && held.facts.uuid.as_ref() == Some(parent))
}
