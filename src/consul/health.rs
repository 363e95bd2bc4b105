//! Health as the checks of services report it.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::transport::Call;
use super::{Client, ConsulError};

/// From best to worst.
const STATES: [&str; 3] = ["passing", "warning", "critical"];

#[derive(Deserialize)]
struct WireCheck {
    #[serde(rename = "ServiceID")]
    service_id: String,
    #[serde(rename = "Status")]
    status: String,
}

impl Client {
    /// The worst state (`passing`, `warning`, `critical`) of each service's checks, by the service's id, over all nodes.
    ///
    /// # Errors
    /// Any of [`ConsulError`].
    pub async fn service_health(&self) -> Result<BTreeMap<String, String>, ConsulError> {
        let reply = self.send(Call::get("health/state/any")).await?.success()?;
        Ok(worst(reply.json()?))
    }
}

fn worst(checks: Vec<WireCheck>) -> BTreeMap<String, String> {
    let rank = |state: &str| STATES.iter().position(|known| *known == state);
    let mut health: BTreeMap<String, String> = BTreeMap::new();
    for check in checks.into_iter().filter(|check| !check.service_id.is_empty()) {
        let state = health.entry(check.service_id).or_insert_with(|| STATES[0].to_owned());
        if rank(&check.status) > rank(state) {
            *state = check.status;
        }
    }
    health
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_check_counts() {
        let checks = serde_json::from_str(
            r#"[{"ServiceID":"a","Status":"passing"},{"ServiceID":"a","Status":"critical"},
                {"ServiceID":"a","Status":"warning"},{"ServiceID":"","Status":"critical"},
                {"ServiceID":"b","Status":"passing"}]"#,
        );
        let health = worst(checks.unwrap());
        let expected = [("a", "critical"), ("b", "passing")];
        assert_eq!(health, expected.map(|(id, state)| (id.to_owned(), state.to_owned())).into());
    }
}
