//! The traits of this module's parent, for the cluster in memory.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

use super::super::ConsulError;
use super::super::catalog::{
    Catalog, Member, Registration, Report, ServiceDefinition, ServiceInfo, parse_services,
};
use super::super::event::{self, Events, UserEvent};
use super::super::health::{self, ServiceHealth};
use super::super::kv::{Entry, Kv, Listing};
use super::super::session::{self, Sessions};
use super::super::txn::{self, Txn, TxnOp};
use super::MemoryConsul;
use super::state::State;
use crate::model::placement::NodeName;

#[async_trait]
impl Kv for MemoryConsul {
    async fn get(&self, key: &str) -> Result<Option<Entry>, ConsulError> {
        self.call(&format!("GET kv/{key}"), |state| Ok(state.get(key)))
    }

    async fn list(&self, prefix: &str) -> Result<Listing, ConsulError> {
        self.call(&format!("GET kv/{prefix}"), |state| Ok(state.list(prefix)))
    }

    async fn watch(
        &self,
        prefix: &str,
        after: Option<u64>,
        wait: Duration,
    ) -> Result<Listing, ConsulError> {
        let call = format!("GET kv/{prefix}");
        let index = |state: &State| state.list_index(prefix);
        self.blocking(&call, after, wait, index, |state| state.list(prefix)).await
    }

    async fn transact(&self, ops: Vec<TxnOp>) -> Result<Txn, ConsulError> {
        txn::check_size(&ops)?;
        self.call("PUT txn", |state| {
            let outcome = state.transact(&ops);
            if state.takes_answer(self.node.as_ref()) {
                return Err(ConsulError::Timeout {
                    call: "PUT txn".to_owned(),
                    after: Duration::from_secs(10),
                });
            }
            Ok(outcome)
        })
    }
}

#[async_trait]
impl Sessions for MemoryConsul {
    async fn create(&self, _: &str, ttl: Duration, _: Duration) -> Result<String, ConsulError> {
        let call = "PUT session/create";
        session::check_ttl(call, ttl)?;
        self.call(call, |state| Ok(state.create_session(self.node.as_ref())))
    }

    async fn renew(&self, id: &str) -> Result<bool, ConsulError> {
        self.call("PUT session/renew", |state| Ok(state.has_session(id)))
    }

    async fn destroy(&self, id: &str) -> Result<(), ConsulError> {
        self.call("PUT session/destroy", |state| {
            state.end_session(id);
            Ok(())
        })
    }

    async fn exists(&self, id: &str) -> Result<bool, ConsulError> {
        self.call("GET session/info", |state| Ok(state.has_session(id)))
    }
}

#[async_trait]
impl Catalog for MemoryConsul {
    async fn members(&self) -> Result<Vec<Member>, ConsulError> {
        self.call("GET catalog/nodes", |state| Ok(state.members()))
    }

    async fn watch_members(
        &self,
        after: Option<u64>,
        wait: Duration,
    ) -> Result<(u64, Vec<Member>), ConsulError> {
        let answer = |state: &State| (state.members_index(), state.members());
        self.blocking("GET health/state/any", after, wait, State::members_index, answer).await
    }

    async fn register_service(&self, service: &ServiceDefinition) -> Result<(), ConsulError> {
        self.register(service.registration())
    }

    async fn register_raw_service(&self, service: Value) -> Result<String, ConsulError> {
        let registration = Registration::from_file(service)?;
        let id = registration.id.clone();
        self.register(registration)?;
        Ok(id)
    }

    async fn deregister_service(&self, id: &str) -> Result<(), ConsulError> {
        self.call("PUT agent/service/deregister", |state| {
            state.services(self.node.as_ref()).remove(id);
            Ok(())
        })
    }

    async fn register_report(&self, report: &Report) -> Result<(), ConsulError> {
        self.register(report.registration())?;
        self.renew_report(report).await.map(drop)
    }

    async fn renew_report(&self, report: &Report) -> Result<bool, ConsulError> {
        self.call("PUT agent/check/update", |state| {
            let services = state.services(self.node.as_ref());
            let Some(check) = services.get_mut(&report.id).map(|body| &mut body["Checks"][0])
            else {
                return Ok(false);
            };
            check["Status"] = report.update()["Status"].take();
            check["Output"] = report.update()["Output"].take();
            Ok(true)
        })
    }

    async fn services(&self) -> Result<BTreeMap<String, ServiceInfo>, ConsulError> {
        let call = "GET agent/services";
        self.call(call, |state| {
            let services = state.services(self.node.as_ref()).clone();
            parse_services(services).map_err(|error| ConsulError::decode(call, error))
        })
    }

    async fn service_health(&self) -> Result<ServiceHealth, ConsulError> {
        self.call("GET health/state/any", |state| Ok(health::worst(state.checks())))
    }

    async fn own_name(&self) -> Result<(NodeName, String), ConsulError> {
        let call = "GET agent/self";
        self.call(call, |state| {
            let own = self.node.clone().and_then(|name| {
                let address = state.address(&name)?;
                Some((name, address))
            });
            own.ok_or_else(|| ConsulError::argument(call, "this handle belongs to no node"))
        })
    }
}

impl MemoryConsul {
    fn register(&self, registration: Registration) -> Result<(), ConsulError> {
        self.call("PUT agent/service/register", |state| {
            let Registration { id, body } = registration;
            state.services(self.node.as_ref()).insert(id, body);
            Ok(())
        })
    }

    /// The bodies of the registrations of a node by service id, to look at their checks.
    pub fn registrations(&self, node: &NodeName) -> BTreeMap<String, Value> {
        self.lock().services(Some(node)).clone()
    }
}

#[async_trait]
impl Events for MemoryConsul {
    async fn watch_events(
        &self,
        after: Option<u64>,
        wait: Duration,
    ) -> Result<(u64, Vec<UserEvent>), ConsulError> {
        let index = |state: &State| state.events(self.node.as_ref()).0;
        self.blocking("GET event/list", after, wait, index, |state| {
            state.events(self.node.as_ref())
        })
        .await
    }

    async fn fire(&self, name: &str, payload: &[u8]) -> Result<String, ConsulError> {
        let call = format!("PUT event/fire/{name}");
        event::check_name(&call, name)?;
        event::check_size(name, payload)?;
        self.call(&call, |state| Ok(state.fire(name, payload)))
    }
}
