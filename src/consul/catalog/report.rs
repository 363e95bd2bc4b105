//! Reports: what an agent itself says of something, as a service with one check that it has to renew.

use std::time::Duration;

use serde_json::{Value, json};

use super::service::Registration;

/// Consul keeps no more of a check's text than this.
const MAX_TEXT: usize = 4000;

/// Something that is well or not, by the word of this node's agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The id of the service and of its check on this node: letters, digits and `-` only.
    pub id: String,
    /// The service's name in the catalog; those of one kind share it.
    pub service: String,
    /// What Consul's page shows as the check's name.
    pub name: String,
    /// How long the word holds: then the check is critical until it is renewed.
    pub ttl: Duration,
    /// Whether all is well; else the check is critical.
    pub well: bool,
    /// What there is to say.
    pub text: String,
}

impl Report {
    fn status(&self) -> &'static str {
        if self.well { "passing" } else { "critical" }
    }

    /// The registration that Consul's API takes. The check begins with what it will say.
    pub(crate) fn registration(&self) -> Registration {
        let check = json!({
            "CheckID": self.id,
            "Name": self.name,
            "TTL": format!("{}ms", self.ttl.as_millis()),
            "Status": self.status(),
        });
        let body = json!({"ID": self.id, "Name": self.service, "Checks": [check]});
        Registration { id: self.id.clone(), body }
    }

    /// What renews the check.
    pub(crate) fn update(&self) -> Value {
        let text: String = self.text.chars().take(MAX_TEXT).collect();
        json!({"Status": self.status(), "Output": text})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_a_service_with_a_check_that_runs_out() {
        let report = Report {
            id: "tandem-replica-x".into(),
            service: "tandem-replica".into(),
            name: "replica of x".into(),
            ttl: Duration::from_secs(300),
            well: false,
            text: "ü".repeat(MAX_TEXT + 1),
        };
        assert_eq!(
            report.registration().body,
            json!({"ID": "tandem-replica-x", "Name": "tandem-replica", "Checks": [
                {"CheckID": "tandem-replica-x", "Name": "replica of x", "TTL": "300000ms", "Status": "critical"}
            ]})
        );
        assert_eq!(report.update(), json!({"Status": "critical", "Output": "ü".repeat(MAX_TEXT)}));
    }
}
