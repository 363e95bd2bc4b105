//! Consul's seams: delays, lost answers, sessions whose TTL runs out, and gossip.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tandem::consul::ConsulError;
use tandem::consul::catalog::{Catalog, Member, Report, ServiceDefinition, ServiceInfo};
use tandem::consul::event::{Events, UserEvent};
use tandem::consul::health::ServiceHealth;
use tandem::consul::kv::{Entry, Kv, Listing};
use tandem::consul::memory::MemoryConsul;
use tandem::consul::session::Sessions;
use tandem::consul::txn::{Txn, TxnOp};
use tandem::model::NodeName;
use tokio::time::Instant;

use crate::checks;
use crate::gate::Gate;
use crate::tell;
use crate::world::World;

fn lost(call: &str) -> ConsulError {
    ConsulError::Timeout { call: call.to_owned(), after: Duration::from_secs(10) }
}

pub(crate) struct SimKv {
    pub(crate) gate: Arc<Gate>,
    pub(crate) inner: MemoryConsul,
}

#[async_trait]
impl Kv for SimKv {
    async fn get(&self, key: &str) -> Result<Option<Entry>, ConsulError> {
        self.gate.ask(self.inner.get(key)).await
    }

    async fn list(&self, prefix: &str) -> Result<Listing, ConsulError> {
        self.gate.ask(self.inner.list(prefix)).await
    }

    async fn watch(
        &self,
        prefix: &str,
        after: Option<u64>,
        wait: Duration,
    ) -> Result<Listing, ConsulError> {
        self.gate.ask(self.inner.watch(prefix, after, wait)).await
    }

    async fn transact(&self, ops: Vec<TxnOp>) -> Result<Txn, ConsulError> {
        let world = &self.gate.world;
        let effect = async {
            let before = checks::before(world, &ops);
            let told = world.trace.is_on().then(|| tell::ops(world, &ops));
            let result = self.inner.transact(ops).await;
            world.trace.line(self.gate.machine().name.as_str(), || {
                format!("txn {}{}", told.unwrap_or_default(), tell::outcome(&result))
            });
            if let Ok(Txn::Committed(_)) = &result {
                checks::after(world, &before);
            }
            result
        };
        self.gate.change(effect).await.unwrap_or_else(|| Err(lost("PUT txn")))
    }
}

pub(crate) struct SimSessions {
    pub(crate) gate: Arc<Gate>,
    pub(crate) inner: MemoryConsul,
}

#[async_trait]
impl Sessions for SimSessions {
    async fn create(
        &self,
        name: &str,
        ttl: Duration,
        lock_delay: Duration,
    ) -> Result<String, ConsulError> {
        let world = self.gate.world.clone();
        let effect = async {
            let id = self.inner.create(name, ttl, lock_delay).await?;
            world.renewed.lock().unwrap().insert(id.clone(), Instant::now());
            tokio::spawn(run_out(world.clone(), id.clone(), ttl));
            world.trace.line(self.gate.machine().name.as_str(), || format!("session {id} begun"));
            Ok(id)
        };
        self.gate.change(effect).await.unwrap_or_else(|| Err(lost("PUT session/create")))
    }

    async fn renew(&self, id: &str) -> Result<bool, ConsulError> {
        let renewed = self.gate.ask(self.inner.renew(id)).await?;
        if renewed {
            self.gate.world.renewed.lock().unwrap().insert(id.to_owned(), Instant::now());
        }
        Ok(renewed)
    }

    async fn destroy(&self, id: &str) -> Result<(), ConsulError> {
        self.gate.ask(self.inner.destroy(id)).await
    }

    async fn exists(&self, id: &str) -> Result<bool, ConsulError> {
        self.gate.ask(self.inner.exists(id)).await
    }
}

/// Ends a session that is not renewed for its TTL, or up to twice that.
async fn run_out(world: Arc<World>, id: String, ttl: Duration) {
    loop {
        let Some(last) = world.renewed.lock().unwrap().get(&id).copied() else { return };
        tokio::time::sleep_until(last + ttl + world.rng.millis(0..ttl.as_millis() as u64)).await;
        if !matches!(world.consul.exists(&id).await, Ok(true)) {
            world.renewed.lock().unwrap().remove(&id);
            return;
        }
        if world.renewed.lock().unwrap().get(&id) == Some(&last) {
            world.trace.line("consul", || format!("session {id} has run out"));
            world.consul.expire_session(&id);
        }
    }
}

pub(crate) struct SimCatalog {
    pub(crate) gate: Arc<Gate>,
    pub(crate) inner: MemoryConsul,
}

#[async_trait]
impl Catalog for SimCatalog {
    async fn members(&self) -> Result<Vec<Member>, ConsulError> {
        self.gate.ask(self.inner.members()).await
    }

    async fn watch_members(
        &self,
        after: Option<u64>,
        wait: Duration,
    ) -> Result<(u64, Vec<Member>), ConsulError> {
        self.gate.ask(self.inner.watch_members(after, wait)).await
    }

    async fn register_service(&self, service: &ServiceDefinition) -> Result<(), ConsulError> {
        let effect = self.inner.register_service(service);
        self.gate.change(effect).await.unwrap_or_else(|| Err(lost("PUT agent/service/register")))
    }

    async fn register_raw_service(&self, service: Value) -> Result<String, ConsulError> {
        let effect = self.inner.register_raw_service(service);
        self.gate.change(effect).await.unwrap_or_else(|| Err(lost("PUT agent/service/register")))
    }

    async fn deregister_service(&self, id: &str) -> Result<(), ConsulError> {
        let effect = self.inner.deregister_service(id);
        self.gate.change(effect).await.unwrap_or_else(|| Err(lost("PUT agent/service/deregister")))
    }

    async fn register_report(&self, report: &Report) -> Result<(), ConsulError> {
        let effect = self.inner.register_report(report);
        self.gate.change(effect).await.unwrap_or_else(|| Err(lost("PUT agent/service/register")))
    }

    async fn renew_report(&self, report: &Report) -> Result<bool, ConsulError> {
        self.gate.ask(self.inner.renew_report(report)).await
    }

    async fn services(&self) -> Result<BTreeMap<String, ServiceInfo>, ConsulError> {
        self.gate.ask(self.inner.services()).await
    }

    async fn service_health(&self) -> Result<ServiceHealth, ConsulError> {
        self.gate.ask(self.inner.service_health()).await
    }

    async fn own_name(&self) -> Result<(NodeName, String), ConsulError> {
        self.gate.ask(self.inner.own_name()).await
    }
}

pub(crate) struct SimEvents {
    pub(crate) gate: Arc<Gate>,
}

#[async_trait]
impl Events for SimEvents {
    async fn watch_events(
        &self,
        after: Option<u64>,
        wait: Duration,
    ) -> Result<(u64, Vec<UserEvent>), ConsulError> {
        let deadline = Instant::now() + wait;
        let gossip = &self.gate.world.gossip;
        loop {
            let (index, events) =
                self.gate.ask(gossip.watch(self.gate.node, after, deadline)).await;
            if self.gate.machine().state().cut {
                let source = "the node is cut off".into();
                return Err(ConsulError::Unreachable { call: "GET event/list".into(), source });
            }
            if after != Some(index) || Instant::now() >= deadline {
                return Ok((index, events));
            }
        }
    }

    async fn fire(&self, name: &str, _: &[u8]) -> Result<String, ConsulError> {
        panic!("an agent fires no events: {name}")
    }
}
