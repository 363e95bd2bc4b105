//! Events: followed by blocking query or handed over by a Consul watch, the same code for both.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tracing::{info, warn};

use super::handlers;
use crate::consul::event::UserEvent;
use crate::error::chain;
use crate::event::{Decoded, RawEvent, decode};
use crate::exec::{Acceptance, Context, ExecError, accept, gather, reject};
use crate::model::{DeployId, NodeName, Request, keys};
use crate::records::RecordError;

const WAIT: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_secs(1);
/// How long every other node leaves an event to the node that it concerns most.
const HEAD_START: Duration = Duration::from_secs(3);

/// Follows the events for ever.
pub(super) async fn follow(ctx: Arc<Context>) {
    let intake = Arc::new(Intake { ctx });
    let mut after = None;
    let mut seen = Seen::default();
    loop {
        match intake.ctx.cluster.events.watch_events(after, WAIT).await {
            Ok((index, events)) => {
                let fresh = seen.fresh(events);
                let history = after.is_none() && intake.ctx.journal.is_new();
                // What waits for another node goes on beside: a dropped handle only detaches it.
                drop(intake.take_in(fresh, history).await);
                after = Some(index);
            }
            Err(error) => {
                warn!(error = %chain(&error), "Consul does not tell of events; trying again");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// Remembers which events of the last answer were there before: each answer repeats up to 256.
#[derive(Debug, Default)]
pub struct Seen(BTreeMap<String, ()>);

impl Seen {
    /// The events that the answer before did not have.
    pub fn fresh(&mut self, events: Vec<UserEvent>) -> Vec<UserEvent> {
        let ids = events.iter().map(|event| (event.id.clone(), ())).collect();
        let before = std::mem::replace(&mut self.0, ids);
        events.into_iter().filter(|event| !before.contains_key(&event.id)).collect()
    }
}

/// Takes events in: decodes them and writes them down, each once.
pub struct Intake {
    /// This node.
    pub ctx: Arc<Context>,
}

impl Intake {
    /// On a node that never handled an event, what Consul still lists happened before it was there.
    async fn pass_over(&self, events: Vec<UserEvent>) {
        if let Err(error) = self.ctx.journal.settle().await {
            warn!(error = %chain(&error), "the journal can't be written");
        }
        for event in &events {
            let Ok(id) = DeployId::parse(&event.id) else {
                continue;
            };
            info!(event = event.name, %id, "fired before this node's agent was there: passed over");
            if let Err(error) = self.ctx.journal.claim(&id).await {
                warn!(error = %chain(&error), "the journal can't be written");
            }
        }
    }

    /// Handles events in their order; those that concern another node more, and handlers, go on in the tasks that
    /// are returned.
    ///
    /// `history`: this node never handled an event, so what Consul lists may be old; it is passed over.
    pub async fn take_in(
        self: &Arc<Self>,
        events: Vec<UserEvent>,
        history: bool,
    ) -> Vec<JoinHandle<()>> {
        let mut tasks = Vec::new();
        if history {
            self.pass_over(events).await;
            return tasks;
        }
        for event in events {
            let Ok(id) = DeployId::parse(&event.id) else {
                warn!(id = event.id, "an event without a usable id is passed over");
                continue;
            };
            if self.ctx.journal.is_handled(&id).await {
                continue;
            }
            let event = RawEvent { id, name: event.name, payload: event.payload };
            tasks.extend(self.clone().handle(event).await);
        }
        tasks
    }

    async fn handle(self: Arc<Self>, event: RawEvent) -> Option<JoinHandle<()>> {
        match decode(&event.name, &event.payload) {
            Ok(Decoded::Request(request)) => self.request(event, request).await,
            Ok(Decoded::Reference(reference)) => {
                Some(tokio::spawn(async move { self.reference(event, reference).await }))
            }
            Ok(Decoded::Handler(name)) => Some(tokio::spawn(async move {
                // Noted first: a handler's effects are not known to be repeatable.
                if matches!(self.ctx.journal.claim(&event.id).await, Ok(true)) {
                    handlers::run(&self.ctx, &event.id, &name, &event.payload).await;
                }
            })),
            Err(error) => {
                self.refuse(&event, chain(&error)).await;
                None
            }
        }
    }

    /// Writes a wrong event down, where its sender can see it.
    async fn refuse(&self, event: &RawEvent, reason: String) {
        warn!(event = event.name, id = %event.id, reason, "event refused");
        let name: String = event.name.chars().take(64).collect();
        let event = RawEvent { name, ..event.clone() };
        let write = || reject(&self.ctx, &event, reason.clone());
        if let Err(error) = self.until_written(&event, write).await {
            warn!(id = %event.id, error = %chain(&error), "left for the next start of the agent");
        }
    }

    /// The node that is concerned most writes a request down at once; the others only if it does not.
    async fn request(self: Arc<Self>, event: RawEvent, request: Request) -> Option<JoinHandle<()>> {
        if self.concerned_most(&request).await && self.try_request(&event, &request).await.is_ok() {
            return None;
        }
        Some(tokio::spawn(async move {
            tokio::time::sleep(HEAD_START).await;
            if self.try_request(&event, &request).await.is_err() {
                // Where an agent knows more, it has taken the event by then.
                tokio::time::sleep(HEAD_START).await;
                if let Err(error) = self.try_request(&event, &request).await {
                    self.refuse(&event, chain(&error)).await;
                }
            }
        }))
    }

    /// # Errors
    /// What can't be read of what the request depends on: another agent may know its format.
    async fn try_request(&self, event: &RawEvent, request: &Request) -> Result<(), RecordError> {
        self.until_written(event, || self.accept(&event.id, request)).await
    }

    async fn accept(&self, id: &DeployId, request: &Request) -> Result<(), ExecError> {
        match accept(&self.ctx, id, request).await? {
            Acceptance::Accepted(_) | Acceptance::Known => Ok(()),
        }
    }

    /// The short form: the text stands in KV, perhaps a moment later than the event arrives.
    async fn reference(self: Arc<Self>, event: RawEvent, reference: DeployId) {
        let key = keys::request(&reference);
        let mut looks = 0;
        while looks < 10 {
            match self.ctx.cluster.kv.get(&key).await {
                Ok(Some(entry)) => {
                    let whole = RawEvent { payload: entry.value, ..event };
                    return match decode(&whole.name, &whole.payload) {
                        Ok(Decoded::Request(request)) => {
                            if let Some(task) = self.request(whole, request).await {
                                let _ = task.await;
                            }
                        }
                        Ok(_) => self.refuse(&whole, format!("{key} holds no request")).await,
                        Err(error) => {
                            self.refuse(&whole, format!("{key}: {}", chain(&error))).await
                        }
                    };
                }
                Ok(None) => looks += 1,
                Err(error) if error.is_transient() => {}
                Err(error) => {
                    return self.refuse(&event, format!("{key}: {}", chain(&error))).await;
                }
            }
            tokio::time::sleep(RETRY).await;
        }
        self.refuse(&event, format!("{key} does not exist")).await;
    }

    /// The master to be; of a destroy, the master; where that can't be told or is away, the first node with an agent.
    async fn concerned_most(&self, request: &Request) -> bool {
        let Ok(facts) = gather(&self.ctx, request).await else {
            return true;
        };
        let asked: Option<&NodeName> = match request {
            Request::Deploy { .. } => request.master(),
            Request::Destroy { .. } | Request::Migrate { .. } => {
                facts.app.as_ref().map(|app| &app.master)
            }
        };
        let there =
            |name: &NodeName| facts.nodes.get(name).is_some_and(|node| node.alive && node.agent);
        let first = facts.nodes.keys().find(|name| there(name));
        asked.filter(|name| there(name)).or(first) == Some(&self.ctx.me)
    }

    /// Tries until KV has it (Consul may be away for as long as it likes), then notes the event as handled. What Consul
    /// refuses for good is rejected where the sender can see it: the events behind it don't wait.
    ///
    /// # Errors
    /// As [`try_request`](Self::try_request).
    async fn until_written<F, W>(&self, event: &RawEvent, write: W) -> Result<(), RecordError>
    where
        F: Future<Output = Result<(), ExecError>>,
        W: Fn() -> F,
    {
        let id = &event.id;
        while let Err(error) = write().await {
            warn!(%id, error = %chain(&error), "the event can't be written down");
            let error = match error {
                ExecError::Consul(error) => error,
                ExecError::Record(error) => return Err(error),
                // Does not go away by trying: told, and left for the next start of the agent.
                ExecError::Journal(_)
                | ExecError::Gone(_)
                | ExecError::Contended(_)
                | ExecError::Illegal(_) => return Ok(()),
            };
            if error.is_transient() {
                tokio::time::sleep(RETRY).await;
                continue;
            }
            let reason = format!("Consul does not take it: {}", chain(&error));
            if let Err(error) = reject(&self.ctx, event, reason).await {
                warn!(%id, error = %chain(&error), "left for the next start of the agent");
                return Ok(());
            }
            break;
        }
        if let Err(error) = self.ctx.journal.claim(id).await {
            warn!(%id, error = %chain(&error), "the journal can't be written");
        }
        Ok(())
    }
}
