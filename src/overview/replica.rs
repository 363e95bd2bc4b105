//! How the replicas of apps stand.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::Problem;
use crate::model::{AppName, AppRecord, NodeName};
use crate::replication::{Lines, ReplicaState, Stalled, Standing, age};

/// By app and node.
type Said<T> = BTreeMap<(AppName, NodeName), T>;

/// What an app's slave holds, by its agent's last word and by this machine's clock: a slave that fell silent does not
/// stay fresh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Replica {
    /// The worst volume's; none: the slave's agent has not said anything yet.
    pub standing: Option<Standing>,
    /// When the oldest of the volumes' newest copies was taken; none if a volume has no copy.
    pub taken_at: Option<DateTime<Utc>>,
    /// How long ago that was.
    pub age_seconds: Option<i64>,
    /// What the slave's agent published.
    pub published: Option<ReplicaState>,
    #[serde(skip)]
    late: Vec<String>,
}

/// The replicas of all apps that have a slave and volumes to copy.
pub(super) fn all(
    apps: &BTreeMap<AppName, AppRecord>,
    published: &Said<ReplicaState>,
    now: DateTime<Utc>,
) -> BTreeMap<AppName, Replica> {
    let status = |(app, record): (&AppName, &AppRecord)| {
        let slave = record.slave.as_ref().filter(|_| !record.volumes.is_empty())?;
        let said = published.get(&(app.clone(), slave.clone()));
        Some((app.clone(), Replica::of(said, now)))
    };
    apps.iter().filter_map(status).collect()
}

/// What the masters of apps could not replicate. What a former master says does not count.
pub(super) fn stalled(apps: &BTreeMap<AppName, AppRecord>, said: &Said<Stalled>) -> Vec<Problem> {
    let of_app = |(app, record): (&AppName, &AppRecord)| {
        let said = said.get(&(app.clone(), record.master.clone()))?;
        let lines = said.describe().into_iter();
        Some(lines.map(|line| Problem::Replica { app: app.clone(), line }).collect::<Vec<_>>())
    };
    apps.iter().filter_map(of_app).flatten().collect()
}

/// Volumes that somebody made anew in place of an app's own.
pub(super) fn strange(
    apps: &BTreeMap<AppName, AppRecord>,
    lines: &BTreeMap<AppName, Lines>,
    published: &Said<ReplicaState>,
    now: DateTime<Utc>,
) -> Vec<Problem> {
    let mut told = Vec::new();
    for (app, record) in apps {
        for (volume, line) in lines.get(app).into_iter().flatten() {
            let Some(strange) = &line.strange else { continue };
            let slave = record.slave.as_ref();
            let copy = slave.and_then(|slave| {
                let state = published.get(&(app.clone(), slave.clone()))?;
                let copy = state.volumes.get(volume)?.as_ref()?;
                Some(format!("{} on {slave}, {} old", copy.snapshot, age(now - copy.taken_at)))
            });
            told.push(Problem::Strange {
                app: app.clone(),
                volume: volume.clone(),
                master: record.master.clone(),
                since: strange.since,
                copy,
            });
        }
    }
    told
}

impl Replica {
    fn of(state: Option<&ReplicaState>, now: DateTime<Utc>) -> Self {
        let taken_at = state.and_then(ReplicaState::taken_at);
        let late = state.map(|state| {
            let volumes = state.volumes.keys();
            let late = volumes.filter(|volume| state.standing(volume, now) == Standing::Late);
            late.map(|volume| state.describe_volume(volume, now)).collect()
        });
        Self {
            standing: state.map(|state| state.worst(now)),
            taken_at,
            age_seconds: taken_at.map(|taken| (now - taken).num_seconds()),
            published: state.cloned(),
            late: late.unwrap_or_default(),
        }
    }

    /// A line for each volume that is late.
    pub(super) fn problems(&self, app: &AppName) -> Vec<Problem> {
        let late = self.late.iter().cloned();
        late.map(|line| Problem::Replica { app: app.clone(), line }).collect()
    }
}

impl fmt::Display for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let old = self.age_seconds.map(|seconds| age(chrono::TimeDelta::seconds(seconds)));
        match (self.standing, old) {
            (None, _) => f.write_str("unknown"),
            (Some(Standing::Fresh), Some(old)) => f.write_str(&old),
            (Some(Standing::Fresh | Standing::Waiting), _) => f.write_str("none yet"),
            (Some(Standing::Late), Some(old)) => write!(f, "CRITICAL {old}"),
            (Some(Standing::Late), None) => f.write_str("CRITICAL none"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(name: &str) -> AppName {
        AppName::parse(name).unwrap()
    }

    fn node(name: &str) -> NodeName {
        NodeName::parse(name).unwrap()
    }

    fn at(minutes: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_750_000_000 + minutes * 60, 0).unwrap()
    }

    fn record(slave: Option<&str>, volumes: &[&str]) -> AppRecord {
        let record = serde_json::json!({
            "repo_url": "r", "branch": "b", "deploy_id": "d", "master": "node1", "slave": slave, "volumes": volumes,
        });
        serde_json::from_value(record).unwrap()
    }

    fn published(taken: Option<i64>) -> ReplicaState {
        let copy = taken.map(|minutes| {
            serde_json::json!({
                "snapshot": "v@1", "origin": "o", "taken_at": at(minutes), "verified_at": at(minutes), "bases": [],
            })
        });
        let state = serde_json::json!({
            "since": at(0), "period_minutes": 60, "volumes": {"v": copy}, "late": [],
        });
        serde_json::from_value(state).unwrap()
    }

    #[test]
    fn only_a_slave_with_volumes_has_a_replica() {
        let apps = [
            (app("a_b.12345"), record(Some("node2"), &["v"])),
            (app("b_b.12345"), record(None, &["v"])),
            (app("c_b.12345"), record(Some("node2"), &[])),
        ];
        let known = [((app("a_b.12345"), node("node3")), published(Some(0)))].into();
        let found = all(&apps.into(), &known, at(0));
        assert_eq!(found.keys().collect::<Vec<_>>(), [&app("a_b.12345")]);
        assert_eq!(
            found[&app("a_b.12345")].to_string(),
            "unknown",
            "what a former slave says does not count"
        );
    }

    #[test]
    fn a_master_says_why_nothing_arrives() {
        let apps = [(app("a_b.12345"), record(Some("node2"), &["v"]))].into();
        let said =
            serde_json::json!({"to": "node2", "volumes": {"v": {"since": at(0), "why": "no way"}}});
        let said: Stalled = serde_json::from_value(said).unwrap();
        let told = |by: &str| -> Vec<String> {
            let known = [((app("a_b.12345"), node(by)), said.clone())].into();
            stalled(&apps, &known).iter().map(Problem::to_string).collect()
        };
        assert_eq!(
            told("node1"),
            [
                "replica of a_b.12345: v: nothing has arrived on node2 since 2025-06-15T15:06:40Z: no way"
            ]
        );
        assert_eq!(told("node3"), [""; 0]);
    }

    #[test]
    fn a_slave_that_fell_silent_is_critical_in_time() {
        let of = |taken, minute| Replica::of(Some(&published(taken)), at(minute));
        assert_eq!(of(None, 120).to_string(), "none yet");
        assert_eq!(of(None, 121).to_string(), "CRITICAL none");
        assert_eq!(of(Some(10), 70).to_string(), "1 h 0 min");
        let late = of(Some(10), 131);
        assert_eq!(late.to_string(), "CRITICAL 2 h 1 min");
        let told = late.problems(&app("a_b.12345"));
        let is_so =
            |text: &str| text.starts_with("replica of a_b.12345: v: the newest verified copy is");
        assert!(told.len() == 1 && is_so(&told[0].to_string()), "{told:?}");
        let json = serde_json::to_value(&late).unwrap();
        assert_eq!(
            (json["standing"].as_str(), json["age_seconds"].as_i64()),
            (Some("late"), Some(7260))
        );
        assert_eq!(json["published"]["volumes"]["v"]["snapshot"], "v@1");
    }
}
