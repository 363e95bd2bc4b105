//! How the replicas of apps stand, for `tandem status`.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;

use crate::model::AppRecord;
use crate::replication::{Lines, ReplicaState, Stalled, Standing, age};

/// What an app's slave holds, by its agent's last word and by this machine's clock: a slave that fell silent does not
/// stay fresh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct ReplicaStatus {
    /// The worst volume's; none: the slave's agent has not said anything yet.
    standing: Option<Standing>,
    /// When the oldest of the volumes' newest copies was taken; none if a volume has no copy.
    taken_at: Option<DateTime<Utc>>,
    /// How long ago that was.
    age_seconds: Option<i64>,
    /// What the slave's agent published.
    published: Option<ReplicaState>,
    #[serde(skip)]
    late: Vec<String>,
}

/// The replicas of all apps that have a slave and volumes to copy.
pub(super) fn statuses(
    apps: &BTreeMap<String, AppRecord>,
    published: &BTreeMap<String, ReplicaState>,
    now: DateTime<Utc>,
) -> BTreeMap<String, ReplicaStatus> {
    let status = |(app, record): (&String, &AppRecord)| {
        let slave = record.slave.as_ref().filter(|_| !record.volumes.is_empty())?;
        Some((app.clone(), ReplicaStatus::of(published.get(&format!("{app}/{slave}")), now)))
    };
    apps.iter().filter_map(status).collect()
}

/// What the masters of apps could not replicate. What a former master says does not count.
pub(super) fn stalled(
    apps: &BTreeMap<String, AppRecord>,
    said: &BTreeMap<String, Stalled>,
) -> Vec<String> {
    let of_app = |(app, record): (&String, &AppRecord)| {
        let said = said.get(&format!("{app}/{}", record.master))?;
        let lines = said.describe().into_iter().map(|line| format!("replica of {app}: {line}"));
        Some(lines.collect::<Vec<_>>())
    };
    apps.iter().filter_map(of_app).flatten().collect()
}

/// Volumes that somebody made anew in place of an app's own.
pub(super) fn strange(
    apps: &BTreeMap<String, AppRecord>,
    lines: &BTreeMap<String, Lines>,
    published: &BTreeMap<String, ReplicaState>,
    now: DateTime<Utc>,
) -> Vec<String> {
    let mut told = Vec::new();
    for (app, record) in apps {
        for (volume, line) in lines.get(app).into_iter().flatten() {
            let Some(strange) = &line.strange else { continue };
            let slave = record.slave.as_ref();
            let copy = slave.and_then(|slave| {
                let state = published.get(&format!("{app}/{slave}"))?;
                let copy = state.volumes.get(volume)?.as_ref()?;
                Some(format!("{} on {slave}, {} old", copy.snapshot, age(now - copy.taken_at)))
            });
            let copy = copy.unwrap_or_else(|| "none is known".to_owned());
            let (master, since) =
                (&record.master, strange.since.to_rfc3339_opts(SecondsFormat::Secs, true));
            told.push(format!(
                "{app}: volume {volume} on {master} was made anew, and not by a deployment, seen at {since}; the newest \
                 copy of what it was, which stays: {copy}. If what it holds now is right: consul kv delete \
                 tandem/lines/{app}; if not, stop the app, docker volume rm {volume}, and deploy with from_replica"
            ));
        }
    }
    told
}

impl ReplicaStatus {
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
    pub(super) fn problems(&self, app: &str) -> Vec<String> {
        self.late.iter().map(|line| format!("replica of {app}: {line}")).collect()
    }
}

impl fmt::Display for ReplicaStatus {
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
            ("a".to_owned(), record(Some("node2"), &["v"])),
            ("b".to_owned(), record(None, &["v"])),
            ("c".to_owned(), record(Some("node2"), &[])),
        ];
        let known = [("a/node3".to_owned(), published(Some(0)))].into();
        let found = statuses(&apps.into(), &known, at(0));
        assert_eq!(found.keys().collect::<Vec<_>>(), ["a"]);
        assert_eq!(found["a"].to_string(), "unknown", "what a former slave says does not count");
    }

    #[test]
    fn a_master_says_why_nothing_arrives() {
        let apps = [("a".to_owned(), record(Some("node2"), &["v"]))].into();
        let said =
            serde_json::json!({"to": "node2", "volumes": {"v": {"since": at(0), "why": "no way"}}});
        let said: Stalled = serde_json::from_value(said).unwrap();
        let known = |node: &str| [(format!("a/{node}"), said.clone())].into();
        assert_eq!(
            stalled(&apps, &known("node1")),
            ["replica of a: v: nothing has arrived on node2 since 2025-06-15T15:06:40Z: no way"]
        );
        assert_eq!(stalled(&apps, &known("node3")), [""; 0]);
    }

    #[test]
    fn a_slave_that_fell_silent_is_critical_in_time() {
        let of = |taken, minute| ReplicaStatus::of(Some(&published(taken)), at(minute));
        assert_eq!(of(None, 120).to_string(), "none yet");
        assert_eq!(of(None, 121).to_string(), "CRITICAL none");
        assert_eq!(of(Some(10), 70).to_string(), "1 h 0 min");
        let late = of(Some(10), 131);
        assert_eq!(late.to_string(), "CRITICAL 2 h 1 min");
        assert_eq!(late.problems("a").len(), 1);
        assert!(late.problems("a")[0].starts_with("replica of a: v: the newest verified copy is"));
        let json = serde_json::to_value(&late).unwrap();
        assert_eq!(
            (json["standing"].as_str(), json["age_seconds"].as_i64()),
            (Some("late"), Some(7260))
        );
        assert_eq!(json["published"]["volumes"]["v"]["snapshot"], "v@1");
    }
}
