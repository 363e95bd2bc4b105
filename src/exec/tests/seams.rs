//! Consul's seams with failures at chosen moments, and the proxies' check.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::Notify;

use crate::consul::ConsulError;
use crate::consul::catalog::{Catalog, Member, Report, ServiceDefinition, ServiceInfo};
use crate::consul::health::ServiceHealth;
use crate::consul::kv::{Entry, Kv, Listing};
use crate::consul::memory::MemoryConsul;
use crate::consul::txn::{Txn, TxnOp};
use crate::exec::ProxyCheck;
use crate::model::deployment::{Deployment, Status, StepRecord};
use crate::model::{AppName, AppRecord, NodeName, keys};

type Condition = Box<dyn Fn(&[TxnOp]) -> bool + Send + Sync>;

/// What happens to a transaction.
#[derive(Clone)]
pub(super) enum Fault {
    /// It does not happen, and the node is told that Consul is away.
    Fail,
    /// Consul refuses it for good.
    Refuse,
    /// The agent dies before it is sent.
    DieBefore,
    /// The agent dies before its answer is read.
    DieAfter,
    /// Something else happens first.
    Meanwhile(Arc<dyn Fn(&MemoryConsul) + Send + Sync>),
    /// It happens, something else follows, and its answer is lost.
    LostThen(Arc<dyn Fn(&MemoryConsul) + Send + Sync>),
}

struct Rule {
    when: Condition,
    fault: Fault,
    times: u32,
}

/// A node's KV store.
pub(super) struct TestKv {
    inner: MemoryConsul,
    rules: Mutex<Vec<Rule>>,
    /// Told when the agent is to die: its calls never return.
    pub(super) dies: Notify,
}

impl TestKv {
    pub(super) fn new(inner: MemoryConsul) -> Self {
        Self { inner, rules: Mutex::default(), dies: Notify::new() }
    }

    /// Lets a fault happen to the next transactions of a kind.
    pub(super) fn inject(
        &self,
        times: u32,
        fault: Fault,
        when: impl Fn(&[TxnOp]) -> bool + Send + Sync + 'static,
    ) {
        self.rules.lock().unwrap().push(Rule { when: Box::new(when), fault, times });
    }

    pub(super) fn clear(&self) {
        self.rules.lock().unwrap().clear();
    }

    /// Whether every fault has happened.
    pub(super) fn spent(&self) -> bool {
        self.rules.lock().unwrap().iter().all(|rule| rule.times == 0)
    }

    fn fault(&self, ops: &[TxnOp]) -> Option<Fault> {
        let mut rules = self.rules.lock().unwrap();
        let rule = rules.iter_mut().find(|rule| rule.times > 0 && (rule.when)(ops))?;
        rule.times -= 1;
        Some(rule.fault.clone())
    }

    async fn die<T>(&self) -> T {
        self.dies.notify_one();
        std::future::pending().await
    }
}

#[async_trait]
impl Kv for TestKv {
    async fn get(&self, key: &str) -> Result<Option<Entry>, ConsulError> {
        self.inner.get(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Listing, ConsulError> {
        self.inner.list(prefix).await
    }

    async fn watch(
        &self,
        prefix: &str,
        after: Option<u64>,
        wait: Duration,
    ) -> Result<Listing, ConsulError> {
        self.inner.watch(prefix, after, wait).await
    }

    async fn transact(&self, ops: Vec<TxnOp>) -> Result<Txn, ConsulError> {
        match self.fault(&ops) {
            None => self.inner.transact(ops).await,
            Some(Fault::Fail) => Err(away("PUT txn")),
            Some(Fault::Refuse) => Err(ConsulError::TooLarge {
                call: "PUT txn".to_owned(),
                what: "value in bytes",
                size: 600_000,
                limit: 512_000,
            }),
            Some(Fault::DieBefore) => self.die().await,
            Some(Fault::DieAfter) => {
                self.inner.transact(ops).await?;
                self.die().await
            }
            Some(Fault::Meanwhile(act)) => {
                act(&self.inner);
                self.inner.transact(ops).await
            }
            Some(Fault::LostThen(act)) => {
                self.inner.transact(ops).await?;
                act(&self.inner);
                Err(away("PUT txn"))
            }
        }
    }
}

fn away(call: &str) -> ConsulError {
    ConsulError::Unreachable { call: call.to_owned(), source: "the test refuses it".into() }
}

/// The key that an operation is about, if it changes it.
fn changed(op: &TxnOp) -> Option<&str> {
    match op {
        TxnOp::Set { key, .. }
        | TxnOp::Cas { key, .. }
        | TxnOp::Delete { key }
        | TxnOp::DeleteCas { key, .. } => Some(key),
        TxnOp::DeleteTree { .. }
        | TxnOp::CheckIndex { .. }
        | TxnOp::CheckSession { .. }
        | TxnOp::CheckNotExists { .. }
        | TxnOp::Lock { .. }
        | TxnOp::Unlock { .. } => None,
    }
}

/// Transactions that change a key below a prefix.
pub(super) fn changes(prefix: &str) -> impl Fn(&[TxnOp]) -> bool + Send + Sync + 'static {
    let prefix = prefix.to_owned();
    move |ops| ops.iter().filter_map(changed).any(|key| key.starts_with(&prefix))
}

/// Transactions that delete the version of a key below a prefix that was read.
pub(super) fn deletes(prefix: &'static str) -> impl Fn(&[TxnOp]) -> bool + Send + Sync {
    move |ops| {
        ops.iter().any(|op| matches!(op, TxnOp::DeleteCas { key, .. } if key.starts_with(prefix)))
    }
}

/// The record that a transaction writes, if it writes one.
fn record_in(op: &TxnOp) -> Option<Deployment> {
    let TxnOp::Cas { key, value, .. } = op else { return None };
    key.starts_with(keys::DEPLOYMENTS).then(|| serde_json::from_slice(value).unwrap())
}

/// Transactions that write a record in which a step has this status.
pub(super) fn marks(index: usize, status: Status) -> impl Fn(&[TxnOp]) -> bool + Send + Sync {
    move |ops| {
        let mut records = ops.iter().filter_map(record_in);
        records.any(|record| record.steps.get(index).is_some_and(|step| step.status == status))
    }
}

/// Transactions that announce a step.
pub(super) fn begins(step: &StepRecord) -> impl Fn(&[TxnOp]) -> bool + Send + Sync + 'static {
    let wanted = step.clone();
    let is_it = move |step: &StepRecord| {
        (&step.node, &step.step, step.status) == (&wanted.node, &wanted.step, Status::Running)
    };
    move |ops| ops.iter().filter_map(record_in).any(|record| record.steps.iter().any(&is_it))
}

/// A node's catalog; registrations can be made to fail.
pub(super) struct TestCatalog {
    inner: MemoryConsul,
    failures: Mutex<u32>,
}

impl TestCatalog {
    pub(super) fn new(inner: MemoryConsul) -> Self {
        Self { inner, failures: Mutex::default() }
    }

    /// Makes the next changes of a service fail.
    pub(super) fn fail(&self, times: u32) {
        *self.failures.lock().unwrap() = times;
    }

    fn begin(&self) -> Result<(), ConsulError> {
        let mut failures = self.failures.lock().unwrap();
        if *failures == 0 {
            return Ok(());
        }
        *failures -= 1;
        let call = "PUT agent/service".to_owned();
        Err(ConsulError::Api { call, code: 400, message: "the test refuses it".to_owned() })
    }
}

#[async_trait]
impl Catalog for TestCatalog {
    async fn members(&self) -> Result<Vec<Member>, ConsulError> {
        self.inner.members().await
    }

    async fn watch_members(
        &self,
        after: Option<u64>,
        wait: Duration,
    ) -> Result<(u64, Vec<Member>), ConsulError> {
        self.inner.watch_members(after, wait).await
    }

    async fn register_service(&self, service: &ServiceDefinition) -> Result<(), ConsulError> {
        self.begin()?;
        self.inner.register_service(service).await
    }

    async fn register_raw_service(&self, service: Value) -> Result<String, ConsulError> {
        self.begin()?;
        self.inner.register_raw_service(service).await
    }

    async fn deregister_service(&self, id: &str) -> Result<(), ConsulError> {
        self.begin()?;
        self.inner.deregister_service(id).await
    }

    async fn register_report(&self, report: &Report) -> Result<(), ConsulError> {
        self.inner.register_report(report).await
    }

    async fn renew_report(&self, report: &Report) -> Result<bool, ConsulError> {
        self.inner.renew_report(report).await
    }

    async fn services(&self) -> Result<BTreeMap<String, ServiceInfo>, ConsulError> {
        self.inner.services().await
    }

    async fn service_health(&self) -> Result<ServiceHealth, ConsulError> {
        self.inner.service_health().await
    }

    async fn own_name(&self) -> Result<(NodeName, String), ConsulError> {
        self.inner.own_name().await
    }
}

/// Proxies that accept everything until told otherwise.
#[derive(Default)]
pub(super) struct TestProxies {
    /// What they say; nothing: they accept.
    pub(super) refusal: Mutex<Option<String>>,
    /// Whether they say in KV what they have taken up.
    pub(super) tell: AtomicBool,
    /// What the app has been asked and not answered.
    pub(super) requests: AtomicU64,
}

#[async_trait]
impl ProxyCheck for TestProxies {
    async fn would_accept(&self, _: &AppName, _: &AppRecord) -> Result<(), Vec<String>> {
        self.refusal.lock().unwrap().clone().map_or(Ok(()), |why| Err(vec![why]))
    }

    async fn requests(&self, _: &AppName) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    fn tell(&self) -> bool {
        self.tell.load(Ordering::Relaxed)
    }
}
