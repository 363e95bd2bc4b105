//! The catalog: who is in the cluster and which services this node offers.

mod report;
mod service;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::Value;

use super::health::{self, ServiceHealth};
use super::transport::{Call, Reply};
use super::{Client, ConsulError};
use crate::model::placement::NodeName;
pub use report::Report;
pub use service::{HttpCheck, ServiceDefinition, ServiceInfo};
pub(super) use service::{Registration, parse_services};

/// The check by which Consul's gossip says whether a node lives.
const LIVENESS: &str = r#"CheckID == "serfHealth""#;

/// A node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name in the catalog.
    pub name: NodeName,
    /// Its address, as other nodes reach it.
    pub address: String,
    /// Whether its agent answers the gossip of the others.
    pub alive: bool,
}

/// Consul's catalog, and the services of the local agent.
#[async_trait]
pub trait Catalog: Send + Sync {
    /// All nodes by name, never stale. A node without an agent is not alive; one with a name that no host has is left
    /// out with a warning.
    ///
    /// # Errors
    /// Any of [`ConsulError`].
    async fn members(&self) -> Result<Vec<Member>, ConsulError>;

    /// As [`Catalog::members`], at once without `after`, else when the index is another one or `wait` is over. The
    /// index moves with every health check of the cluster, and not for a changed address alone.
    ///
    /// # Errors
    /// Any of [`ConsulError`].
    async fn watch_members(
        &self,
        after: Option<u64>,
        wait: Duration,
    ) -> Result<(u64, Vec<Member>), ConsulError>;

    /// Registers a service with the local agent, in place of one with the same id and all its checks.
    ///
    /// # Errors
    /// Any of [`ConsulError`].
    async fn register_service(&self, service: &ServiceDefinition) -> Result<(), ConsulError>;

    /// Registers a service as an app's `service.json` describes it, in the form of Consul's API or as a configuration
    /// file with the one key `service`, and returns its id.
    ///
    /// # Errors
    /// [`ConsulError::Argument`] if it is neither or has no name, else any.
    async fn register_raw_service(&self, service: Value) -> Result<String, ConsulError>;

    /// Removes a service from the local agent, which need not have it.
    ///
    /// # Errors
    /// [`ConsulError::Argument`] if the id is one that no path can carry, else any.
    async fn deregister_service(&self, id: &str) -> Result<(), ConsulError>;

    /// Registers a report with the local agent, in place of one with the same id, and says what it says.
    ///
    /// # Errors
    /// Any of [`ConsulError`].
    async fn register_report(&self, report: &Report) -> Result<(), ConsulError>;

    /// Says what a report says, for another while; false if it isn't registered. [`Catalog::deregister_service`] ends it.
    ///
    /// # Errors
    /// Any of [`ConsulError`].
    async fn renew_report(&self, report: &Report) -> Result<bool, ConsulError>;

    /// The services of the local agent by id.
    ///
    /// # Errors
    /// Any of [`ConsulError`].
    async fn services(&self) -> Result<BTreeMap<String, ServiceInfo>, ConsulError>;

    /// The worst state of each service's checks, by the service's id, over all nodes.
    ///
    /// # Errors
    /// Any of [`ConsulError`].
    async fn service_health(&self) -> Result<ServiceHealth, ConsulError>;

    /// The local node's name and address.
    ///
    /// # Errors
    /// [`ConsulError::Decode`] if the name is no host's, else any.
    async fn own_name(&self) -> Result<(NodeName, String), ConsulError>;
}

#[async_trait]
impl Catalog for Client {
    async fn members(&self) -> Result<Vec<Member>, ConsulError> {
        let health = self.send(health().consistent()).await?.success()?;
        members_with(self, &health).await
    }

    async fn watch_members(
        &self,
        after: Option<u64>,
        wait: Duration,
    ) -> Result<(u64, Vec<Member>), ConsulError> {
        let health = self.send(health().blocking(after, wait)).await?.success()?;
        Ok((health.index()?, members_with(self, &health).await?))
    }

    async fn register_service(&self, service: &ServiceDefinition) -> Result<(), ConsulError> {
        register(self, service.registration()).await
    }

    async fn register_raw_service(&self, service: Value) -> Result<String, ConsulError> {
        let registration = Registration::from_file(service)?;
        let id = registration.id.clone();
        register(self, registration).await?;
        Ok(id)
    }

    async fn deregister_service(&self, id: &str) -> Result<(), ConsulError> {
        let path = format!("agent/service/deregister/{id}");
        let reply = self.send(Call::put(path, Vec::new())).await?;
        // Consul 1.8 answers 200 for a service that isn't there, later ones 404.
        if reply.status != 404 {
            reply.success()?;
        }
        if service::is_plain_id(id) || !self.services().await?.contains_key(id) {
            return Ok(());
        }
        // Newer releases decode a path twice, and the library happens to encode it twice.
        let call = "PUT agent/service/deregister";
        self.run(call, consulrs::service::deregister(&*self.http, id, None)).await?;
        if self.services().await?.contains_key(id) {
            let reason = format!("the service {id:?} can't be named in a path");
            return Err(ConsulError::argument(call, reason));
        }
        Ok(())
    }

    async fn register_report(&self, report: &Report) -> Result<(), ConsulError> {
        register(self, report.registration()).await?;
        renew(self, report).await?.success().map(drop)
    }

    async fn renew_report(&self, report: &Report) -> Result<bool, ConsulError> {
        let reply = renew(self, report).await?;
        // Consul 1.8 answers 500 for a check that isn't there, later ones 404.
        if matches!(reply.status, 404 | 500) {
            return Ok(false);
        }
        reply.success().map(|_| true)
    }

    async fn services(&self) -> Result<BTreeMap<String, ServiceInfo>, ConsulError> {
        let reply = self.send(Call::get("agent/services")).await?.success()?;
        parse_services(reply.json()?).map_err(|error| ConsulError::decode(reply.call(), error))
    }

    async fn service_health(&self) -> Result<ServiceHealth, ConsulError> {
        health::service_health(self).await
    }

    async fn own_name(&self) -> Result<(NodeName, String), ConsulError> {
        let reply = self.send(Call::get("agent/self")).await?.success()?;
        let own: WireSelf = reply.json()?;
        let name = NodeName::parse(&own.config.node_name)
            .map_err(|error| ConsulError::decode(reply.call(), error))?;
        Ok((name, own.member.addr))
    }
}

fn health() -> Call {
    Call::get("health/state/any").filter(LIVENESS)
}

async fn members_with(client: &Client, health: &Reply) -> Result<Vec<Member>, ConsulError> {
    let call = Call::get("catalog/nodes").consistent();
    let nodes = client.send(call).await?.success()?;
    Ok(join(nodes.json()?, health.json()?))
}

async fn renew(client: &Client, report: &Report) -> Result<Reply, ConsulError> {
    let path = format!("agent/check/update/{}", report.id);
    let body = report.update().to_string().into_bytes();
    client.send(Call::put(path, body)).await
}

async fn register(client: &Client, registration: Registration) -> Result<(), ConsulError> {
    let path = "agent/service/register";
    let body = serde_json::to_vec(&registration.body)
        .map_err(|error| ConsulError::argument(&format!("PUT {path}"), error.to_string()))?;
    // Without this the checks of the previous registration stay.
    let call = Call::put(path, body).query("replace-existing-checks=true");
    client.send(call).await?.success().map(drop)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireNode {
    node: String,
    address: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireCheck {
    node: String,
    #[serde(rename = "CheckID")]
    check_id: String,
    status: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireSelf {
    config: WireSelfConfig,
    member: WireSelfMember,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireSelfConfig {
    node_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireSelfMember {
    addr: String,
}

fn join(nodes: Vec<WireNode>, checks: Vec<WireCheck>) -> Vec<Member> {
    let alive: BTreeSet<String> = checks
        .into_iter()
        .filter(|check| check.check_id == "serfHealth" && check.status == "passing")
        .map(|check| check.node)
        .collect();
    let mut members: Vec<Member> = nodes
        .into_iter()
        .filter_map(|node| match NodeName::parse(&node.node) {
            Ok(name) => {
                Some(Member { alive: alive.contains(&node.node), name, address: node.address })
            }
            Err(error) => {
                tracing::warn!(node = node.node, %error, "a node of the catalog is left out");
                None
            }
        })
        .collect();
    members.sort_by(|a, b| a.name.cmp(&b.name));
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_nodes_with_their_liveness() {
        let nodes = serde_json::from_str(
            r#"[{"Node":"node2","Address":"10.0.0.2"},{"Node":"node1","Address":"10.0.0.1"},
                {"Node":"external","Address":"db.example"},{"Node":"no host!","Address":"10.0.0.9"}]"#,
        )
        .unwrap();
        let checks = serde_json::from_str(
            r#"[{"Node":"node1","CheckID":"serfHealth","Status":"passing"},
                {"Node":"node2","CheckID":"serfHealth","Status":"critical"},
                {"Node":"node2","CheckID":"service:x","Status":"passing"}]"#,
        )
        .unwrap();
        let members: Vec<_> = join(nodes, checks)
            .into_iter()
            .map(|member| (member.name.to_string(), member.address, member.alive))
            .collect();
        assert_eq!(
            members,
            [
                ("external".to_owned(), "db.example".to_owned(), false),
                ("node1".to_owned(), "10.0.0.1".to_owned(), true),
                ("node2".to_owned(), "10.0.0.2".to_owned(), false),
            ]
        );
    }
}
