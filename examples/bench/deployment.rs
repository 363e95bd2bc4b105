//! Deployments, as the measurements need them: the exact time of the event, and as few questions as can be while
//! one runs.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::support::{Lab, Repo, until};

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
    let event: Value = serde_json::from_str(event).unwrap();
    let id = event["ID"].as_str().unwrap();
    Fired {
        at: SystemTime::UNIX_EPOCH + Duration::from_micros(time.parse().unwrap()),
        key: format!("tandem/deployments/{}/{id}", repo.app()),
    }
}

impl Fired {
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
