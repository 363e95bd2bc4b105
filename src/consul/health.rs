//! Health as the checks of services report it.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use super::transport::Call;
use super::{Client, ConsulError};

/// How checks stand, from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(from = "String")]
pub enum Health {
    /// All pass.
    Passing,
    /// One warns.
    Warning,
    /// One fails.
    Critical,
}

/// What else Consul may say is no worse than passing.
impl From<String> for Health {
    fn from(state: String) -> Self {
        match state.as_str() {
            "warning" => Self::Warning,
            "critical" => Self::Critical,
            _ => Self::Passing,
        }
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passing => "passing",
            Self::Warning => "warning",
            Self::Critical => "critical",
        })
    }
}

/// The health of services by their ids.
pub type ServiceHealth = BTreeMap<String, Health>;

/// What Consul says of a check.
#[derive(Deserialize)]
pub(super) struct WireCheck {
    #[serde(rename = "ServiceID")]
    pub(super) service_id: String,
    #[serde(rename = "Status")]
    pub(super) status: Health,
}

pub(super) async fn service_health(client: &Client) -> Result<ServiceHealth, ConsulError> {
    let reply = client.send(Call::get("health/state/any")).await?.success()?;
    Ok(worst(reply.json()?))
}

/// The worst state of each service's checks.
pub(super) fn worst(checks: Vec<WireCheck>) -> ServiceHealth {
    let mut health = ServiceHealth::new();
    for check in checks.into_iter().filter(|check| !check.service_id.is_empty()) {
        let state = health.entry(check.service_id).or_insert(check.status);
        *state = check.status.max(*state);
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
        let expected = [("a", Health::Critical), ("b", Health::Passing)];
        assert_eq!(health, expected.map(|(id, state)| (id.to_owned(), state)).into());
    }
}
