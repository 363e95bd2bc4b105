//! What a slave's agent publishes about its copies: `tandem/replicas/{app}/{node}`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use chrono::{DateTime, SecondsFormat, SubsecRound, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::copies::{Held, Survey};
use super::line::{Line, Lines};

/// A copy may be as old as so many periods.
const PERIODS: i32 = 2;
/// Clocks of nodes may differ by so much; a time later than that is wrong, and says nothing of a copy's age.
pub const AHEAD: TimeDelta = TimeDelta::minutes(5);

/// The copies that a slave has of an app's volumes, as its agent has verified them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaState {
    /// When the app was deployed with this node as its slave: no copy can be expected before.
    pub since: DateTime<Utc>,
    /// Minutes between replications.
    pub period_minutes: u32,
    /// The newest whole copy of each volume; null: none.
    pub volumes: BTreeMap<String, Option<CopyState>>,
    /// The volumes whose copy is too old.
    pub late: BTreeSet<String>,
    /// By volume, the id of the newest snapshot here that its master's agent knows to be the app's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub own: BTreeMap<String, String>,
}

/// A whole copy of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyState {
    /// The snapshot's name.
    pub snapshot: String,
    /// The id that it was taken with.
    pub origin: String,
    /// When it began to arrive, by this node's clock: right after it was taken. The time in its name has no zone.
    pub taken_at: DateTime<Utc>,
    /// When it was first seen to be whole.
    pub verified_at: DateTime<Utc>,
    /// Ids of the snapshots that the master may count changes from: this one, and the one that it was counted from.
    pub bases: Vec<String>,
}

/// How a volume's copy stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// There is one, and it is young enough.
    Fresh,
    /// There is none yet, and it is too early for one.
    Waiting,
    /// It is too old, or there is none and there should be.
    Late,
}

impl ReplicaState {
    /// A state in which no volume has been looked at.
    pub fn new(since: DateTime<Utc>) -> Self {
        Self {
            since,
            period_minutes: 1,
            volumes: BTreeMap::new(),
            late: BTreeSet::new(),
            own: BTreeMap::new(),
        }
    }

    /// The state after a look at `volumes`: those without a survey could not be looked at, and stay as they were. Of a
    /// volume that was made anew, the newest copy of what it was counts.
    #[must_use]
    pub fn next(
        &self,
        volumes: &BTreeMap<String, Option<&Survey>>,
        lines: &Lines,
        period_minutes: u32,
        now: DateTime<Utc>,
    ) -> Self {
        let copy = |(volume, survey): (&String, &Option<&Survey>)| {
            let before = self.volumes.get(volume).cloned().flatten();
            let line = lines.get(volume);
            let copy = match survey {
                Some(survey) => {
                    let strange = line.is_some_and(|line| line.strange.is_some());
                    let own = self.newest_own(volume, survey, line).filter(|_| strange);
                    CopyState::of(survey, own, before, now)
                }
                None => before,
            };
            (volume.clone(), copy)
        };
        let own = |(volume, survey): (&String, &Option<&Survey>)| {
            let own = match survey {
                Some(survey) => self.newest_own(volume, survey, lines.get(volume)),
                None => return Some((volume.clone(), self.own.get(volume)?.clone())),
            };
            Some((volume.clone(), own?.facts.origin()?.to_owned()))
        };
        let own = volumes.iter().filter_map(own).collect();
        let volumes = volumes.iter().map(copy).collect();
        let (since, late) = (self.since, BTreeSet::new());
        let mut next = Self { since, period_minutes, volumes, late, own };
        next.late =
            next.volumes.keys().filter(|volume| next.is_late(volume, now)).cloned().collect();
        next
    }

    /// The newest snapshot here that is known to be of the app's volume.
    pub fn newest_own<'a>(
        &self,
        volume: &str,
        survey: &'a Survey,
        line: Option<&Line>,
    ) -> Option<&'a Held> {
        let before = self.own.get(volume).map(String::as_str);
        line.unwrap_or(&Line::default()).newest_own(survey, before)
    }

    /// How a volume stands at that time.
    pub fn standing(&self, volume: &str, now: DateTime<Utc>) -> Standing {
        let newest = self.volumes.get(volume).and_then(Option::as_ref).map(|copy| copy.taken_at);
        let oldest_allowed = now - self.tolerance();
        match newest {
            Some(taken) if taken > now + AHEAD => Standing::Late,
            Some(taken) if taken >= oldest_allowed => Standing::Fresh,
            Some(_) | None if self.since >= oldest_allowed => Standing::Waiting,
            Some(_) | None => Standing::Late,
        }
    }

    /// How the worst volume stands at that time.
    pub fn worst(&self, now: DateTime<Utc>) -> Standing {
        let standings = self.volumes.keys().map(|volume| self.standing(volume, now));
        standings.max().unwrap_or(Standing::Fresh)
    }

    /// When the oldest of the volumes' newest copies was taken; none if a volume has no copy.
    pub fn taken_at(&self) -> Option<DateTime<Utc>> {
        let taken: Option<Vec<_>> =
            self.volumes.values().map(|copy| copy.as_ref().map(|copy| copy.taken_at)).collect();
        taken?.into_iter().min()
    }

    /// A line for each volume. It changes only when something does, or while one is late.
    pub fn describe(&self, now: DateTime<Utc>) -> String {
        let lines = self.volumes.keys().map(|volume| self.describe_volume(volume, now));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// What there is to say of a volume.
    pub fn describe_volume(&self, volume: &str, now: DateTime<Utc>) -> String {
        let period = self.period_minutes;
        let newest = self.volumes.get(volume).and_then(Option::as_ref).map(|copy| copy.taken_at);
        match (self.standing(volume, now), newest) {
            (Standing::Fresh, Some(taken)) => {
                format!("{volume}: copy of {}, every {period} min", utc(taken))
            }
            (Standing::Fresh | Standing::Waiting, _) => format!(
                "{volume}: no copy since the deployment of {}; due by {}",
                utc(self.since),
                utc(self.since + self.tolerance())
            ),
            (Standing::Late, Some(taken)) if taken > now => format!(
                "{volume}: the newest verified copy is of {}, which is to come: a clock is or was wrong, and how old it is can't be told",
                utc(taken)
            ),
            (Standing::Late, Some(taken)) => format!(
                "{volume}: the newest verified copy is {} old (of {}), more than twice the period of {period} min",
                age(now - taken),
                utc(taken)
            ),
            (Standing::Late, None) => format!(
                "{volume}: no verified copy, {} after the deployment of {}, more than twice the period of {period} min",
                age(now - self.since),
                utc(self.since)
            ),
        }
    }

    fn is_late(&self, volume: &str, now: DateTime<Utc>) -> bool {
        self.standing(volume, now) == Standing::Late
    }

    fn tolerance(&self) -> TimeDelta {
        TimeDelta::minutes(self.period_minutes.into()) * PERIODS
    }
}

impl CopyState {
    /// The newest copy, or `own` in its place.
    fn of(
        survey: &Survey,
        own: Option<&Held>,
        before: Option<Self>,
        now: DateTime<Utc>,
    ) -> Option<Self> {
        let arrived = survey.newest_copy();
        let newest = own.or(arrived)?;
        let bases = [Some(newest), arrived, arrived.and_then(|copy| survey.basis_of(copy))];
        let bases = bases.into_iter().flatten();
        let mut bases: Vec<String> =
            bases.filter_map(|held| held.facts.origin().map(str::to_owned)).collect();
        bases.dedup();
        let origin = newest.facts.origin().unwrap_or_default().to_owned();
        let same = before.filter(|copy| copy.origin == origin);
        Some(Self {
            snapshot: newest.name.to_string(),
            taken_at: newest
                .facts
                .held_since()
                .or(same.as_ref().map(|copy| copy.taken_at))
                .unwrap_or(now),
            verified_at: same.map_or(now.trunc_subsecs(0), |copy| copy.verified_at),
            origin,
            bases,
        })
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fresh => "fresh",
            Self::Waiting => "waiting",
            Self::Late => "late",
        })
    }
}

/// A span of time in two units at most: `59 min`, `2 h 5 min`, `3 d 4 h`.
pub fn age(span: TimeDelta) -> String {
    let minutes = span.num_minutes().max(0);
    match (minutes / (24 * 60), minutes / 60 % 24, minutes % 60) {
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

fn utc(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}
