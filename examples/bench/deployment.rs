//! Deployments, as the measurements need them: the exact time of the event, and as few questions as can be while
//! one runs.

use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use crate::support::{Lab, Repo, until};

/// How long many deployments at once may take.
const MANY: Duration = Duration::from_secs(900);

/// An event that was fired.
pub(crate) struct Fired {
    /// Just before.
    pub(crate) at: SystemTime,
    key: String,
}

/// Fires an event about an app by node1's Consul.
pub(crate) fn fire(lab: &Lab, name: &str, repo: &Repo, payload: &str) -> Fired {
    let url = format!("http://127.0.0.1:8500/v1/event/fire/{name}");
    let script = r#"echo "${EPOCHREALTIME/[.,]/}"; exec curl -fsS -X PUT --data-binary "$1" "$2""#;
    let said = lab.node("node1", &["bash", "-c", script, "fire", payload, &url]);
    let (time, event) = said.split_once('\n').unwrap();
    Fired::of(repo, time, event)
}

/// Fires events one right after the other.
pub(crate) fn fire_all(lab: &Lab, name: &str, events: &[(&Repo, String)]) -> Vec<Fired> {
    let url = format!("http://127.0.0.1:8500/v1/event/fire/{name}");
    let script = r#"url=$1; shift; for payload; do
        echo "${EPOCHREALTIME/[.,]/}"; curl -fsS -X PUT --data-binary "$payload" "$url"; echo; done"#;
    let mut argv = vec!["bash", "-c", script, "fire", &url];
    argv.extend(events.iter().map(|(_, payload)| payload.as_str()));
    let said = lab.node("node1", &argv);
    let lines: Vec<&str> = said.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(lines.len(), 2 * events.len(), "{said}");
    lines.chunks(2).zip(events).map(|(told, (repo, _))| Fired::of(repo, told[0], told[1])).collect()
}

impl Fired {
    /// By the microseconds and Consul's answer.
    fn of(repo: &Repo, time: &str, event: &str) -> Self {
        let event: Value = serde_json::from_str(event).unwrap();
        let id = event["ID"].as_str().unwrap();
        Self {
            at: SystemTime::UNIX_EPOCH + Duration::from_micros(time.parse().unwrap()),
            key: format!("tandem/deployments/{}/{id}", repo.app()),
        }
    }

    /// As [`Fired::completed`], but with a question every second: many at once are asked about.
    pub(crate) fn completed_among_many(&self, lab: &Lab) -> Value {
        let deadline = Instant::now() + MANY;
        loop {
            match self.record(lab).filter(|record| record["finished_at"] != Value::Null) {
                Some(record) => {
                    assert_eq!(record["state"], "completed", "{record:#}");
                    return record;
                }
                None => assert!(Instant::now() < deadline, "no outcome of {}", self.key),
            }
            std::thread::sleep(Duration::from_secs(1));
        }
    }

    /// Its record, if it has one by now.
    pub(crate) fn record(&self, lab: &Lab) -> Option<Value> {
        serde_json::from_str(&lab.kv(&self.key)?).ok()
    }

    /// Waits until it has completed; its record.
    pub(crate) fn completed(&self, lab: &Lab) -> Value {
        let record = until(&format!("the outcome of {}", self.key), || {
            self.record(lab).filter(|record| record["finished_at"] != Value::Null)
        });
        assert_eq!(record["state"], "completed", "{record:#}");
        record
    }
}

/// Deploys and waits.
pub(crate) fn deploy(lab: &Lab, repo: &Repo, master: &str, slave: &str) {
    fire(lab, "deploy", repo, &repo.deploy(master, Some(slave))).completed(lab);
}

/// Destroys and waits.
pub(crate) fn destroy(lab: &Lab, repo: &Repo) {
    fire(lab, "destroy", repo, &repo.destroy()).completed(lab);
}
