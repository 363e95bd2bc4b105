//! Notes which volumes are the apps' own, on their master, and which of their snapshots: `tandem/lines/{app}`.

use std::collections::BTreeMap;
use std::sync::Arc;

use tracing::{debug, warn};

use super::duty::{Duties, Duty};
use super::looker::Surveys;
use super::publish::Said;
use crate::agent::keeper::is_being_deployed;
use crate::clock;
use crate::consul::ConsulError;
use crate::consul::txn::{Txn, TxnOp};
use crate::error::chain;
use crate::exec::Context;
use crate::model::{AppName, Role, keys};
use crate::records::encode;
use crate::replication::{Line, Lines};

/// The lines of all apps, each with the index of its key.
pub(super) type AllLines = BTreeMap<AppName, (Lines, u64)>;

pub(super) struct Judge {
    ctx: Arc<Context>,
}

impl Judge {
    pub(super) fn new(ctx: Arc<Context>) -> Self {
        Self { ctx }
    }

    /// Brings the lines of the apps that this node is the master of up to date.
    pub(super) async fn judge(
        &self,
        duties: &Duties,
        surveys: &Surveys,
        said: &mut Said,
    ) -> Result<(), ConsulError> {
        let kv = self.ctx.cluster.kv.as_ref();
        let Said { lines: all, unseen, .. } = said;
        let masters = duties.own.iter().filter(|duty| duty.role == Role::Master);
        for duty in masters.filter(|duty| !unseen.contains(&duty.app)) {
            let known = all.get(&duty.app);
            let (before, index) = known.map_or((Lines::new(), 0), Clone::clone);
            let next = self.next(duty, surveys, &before).await;
            // What a deployment makes it notes itself, a moment later.
            if next == before || is_being_deployed(kv, &duty.app).await {
                continue;
            }
            let value = encode(&next);
            let key = keys::lines(&duty.app);
            match kv.transact(vec![TxnOp::Cas { key: key.clone(), value, index }]).await? {
                Txn::Committed(entries) => {
                    let found = entries.iter().find(|entry| entry.key == key);
                    let index = found.map_or(0, |entry| entry.modify_index);
                    all.insert(duty.app.clone(), (next, index));
                }
                // The next look sees what somebody else has written.
                Txn::Refused(_) => debug!(app = %duty.app, "its lines were written meanwhile"),
            }
        }
        Ok(())
    }

    async fn next(&self, duty: &Duty, surveys: &Surveys, before: &Lines) -> Lines {
        let mut next = Lines::new();
        for volume in &duty.record.volumes {
            let line = before.get(volume).cloned().unwrap_or_default();
            let seen = match surveys.get(volume) {
                Some(survey) if line.is_unsure(survey) => {
                    match self.ctx.host.volumes.find(volume).await {
                        Ok(facts) => Some(line.next(survey, facts.as_ref(), clock::now())),
                        Err(error) => {
                            debug!(volume, error = %chain(&error), "what it is can't be told");
                            None
                        }
                    }
                }
                Some(survey) => Some(line.next(survey, None, clock::now())),
                None => None,
            };
            let mut now = seen.unwrap_or_else(|| line.clone());
            if duty.other().is_none() && now.strange.is_none() {
                // Nobody asks, and each snapshot would be a write.
                now.vouched.clear();
            }
            if now.strange.is_some() && line.strange.is_none() {
                warn!(app = %duty.app, volume, "it was made anew, and not by a deployment");
            }
            if now != Line::default() {
                next.insert(volume.clone(), now);
            }
        }
        next
    }
}
