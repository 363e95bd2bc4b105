//! Whether a step may still act. What a deployment planned counts until something newer has happened to the app: a node that
//! comes back, or a step that is tried again for hours, looks at the app's present entry first.

use tracing::warn;

use super::error::StepError;
use super::journal::{JournalError, Phase};
use super::steps::StepContext;
use crate::error::chain;
use crate::model::deployment::Step;
use crate::model::{AppRecord, NodeName, Placement, Role, keys};
use crate::records::{self, Queue};

/// What has to be true of the app's present entry for an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    /// Nothing: the effect is this deployment's own affair.
    Nothing,
    /// It is the one that this deployment wrote.
    Own,
    /// It is the one from before this deployment.
    Former,
    /// It is the one from before, or this node is not the app's master.
    FormerOrOther,
    /// This node is not the app's master.
    Other,
    /// This node is not in the app's pair.
    Stranger,
}

/// Why the step is void, if it is: it is not carried out, and that is no failure.
pub(super) async fn void(step: &StepContext<'_>) -> Result<Option<String>, StepError> {
    let needs = behind_commit(&step.record.step);
    holds(step, needs).await
}

/// Why the step's undo is void, if it is.
pub(super) async fn void_undo(step: &StepContext<'_>) -> Result<Option<String>, StepError> {
    holds(step, undoing(&step.record.step)).await
}

/// The deployment is as far as this node knows it to be. Where that it has come further can't be noted, it goes on: only
/// a Consul that is restored to an older state makes use of it.
pub(super) async fn require_not_past(
    step: &StepContext<'_>,
    phase: Phase,
) -> Result<(), StepError> {
    let epoch = step.deployment.epoch;
    match step.ctx.journal.past().reach(&step.app, epoch, phase).await {
        Ok(()) => Ok(()),
        Err(error @ JournalError::WentBack { .. }) => Err(StepError::from_error(&error)),
        Err(error) => {
            warn!(app = %step.app, error = %chain(&error), "how far a deployment is can't be noted");
            Ok(())
        }
    }
}

/// The app is as this deployment knows it, which is the one that runs: what it replaces is what it was planned for.
pub(super) async fn require_planned(step: &StepContext<'_>) -> Result<(), StepError> {
    if let Some(why) = holds(step, Needs::Former).await? {
        return Err(StepError::Lost(why));
    }
    let queue = records::read::<Queue>(step.ctx.cluster.kv.as_ref(), &keys::queue(&step.app)).await;
    let Some(queue) = queue.map_err(|e| StepError::from_error(&e))? else { return Ok(()) };
    let id = &step.deployment.id;
    let other = queue.value.running.filter(|running| running != id);
    if other.is_some() || queue.value.epoch > step.deployment.epoch {
        let other = other.map_or_else(|| "a later one".to_owned(), |other| other.to_string());
        return Err(StepError::Lost(format!("{id} is not the deployment that runs: {other} is")));
    }
    Ok(())
}

/// An app that had no entry when its deployment was planned still has none; the index at which one may be written. One that
/// somebody has put back meanwhile says that the app has data, here or elsewhere, in whose place the new version would
/// begin with empty volumes. What can't be read says nothing.
pub(super) async fn require_new(step: &StepContext<'_>) -> Result<u64, StepError> {
    let found = step.ctx.cluster.kv.get(&keys::app(&step.app)).await;
    let Some(entry) = found.map_err(|e| StepError::from_error(&e))? else { return Ok(0) };
    match records::decode::<AppRecord>(&entry) {
        Ok(back) if back.deploy_id != step.deployment.id.as_str() => {
            let AppRecord { deploy_id, master, .. } = back;
            Err(StepError::Lost(format!(
                "the app has an entry again, and had none when this deployment was planned: {deploy_id} serves from \
                 {master}; deploy it once more"
            )))
        }
        Ok(_) | Err(_) => Ok(entry.modify_index),
    }
}

async fn holds(step: &StepContext<'_>, needs: Needs) -> Result<Option<String>, StepError> {
    if needs == Needs::Nothing {
        return Ok(None);
    }
    let key = keys::app(&step.app);
    let entry = records::read::<AppRecord>(step.ctx.cluster.kv.as_ref(), &key).await;
    let present = entry.map_err(|e| StepError::from_error(&e))?.map(|entry| entry.value);
    let (former, own) = (step.deployment.former.as_ref(), step.deployment.prepared.as_ref());
    let fits = needs.fit(&step.ctx.me, present.as_ref(), former, own);
    Ok((!fits).then(|| {
        let what = match &present {
            Some(entry) => format!("{} serves from {}", entry.deploy_id, entry.master),
            None => "it has no entry".to_owned(),
        };
        format!("no longer due: the app has gone on since ({what})")
    }))
}

impl Needs {
    fn fit(
        self,
        me: &NodeName,
        present: Option<&AppRecord>,
        former: Option<&AppRecord>,
        own: Option<&AppRecord>,
    ) -> bool {
        let same = |a: Option<&AppRecord>, b: &AppRecord| {
            a.is_some_and(|a| (&a.deploy_id, &a.master) == (&b.deploy_id, &b.master))
        };
        let is_master = present.is_some_and(|entry| entry.master == *me);
        // One that somebody deleted names nobody else.
        let is_former = present.is_none_or(|present| same(former, present));
        match self {
            Self::Nothing => true,
            Self::Own => present.is_some_and(|present| same(own, present)),
            Self::Former => is_former,
            Self::FormerOrOther => is_former || !is_master,
            Self::Other => !is_master,
            Self::Stranger => {
                let pair = present.map(AppRecord::placement);
                Placement::role_of(pair.as_ref(), me) == Role::Bystander
            }
        }
    }
}

/// What a step behind the commit needs; before it, the entry can't have changed but by hand.
fn behind_commit(step: &Step) -> Needs {
    match step {
        Step::KeepRunning | Step::Register | Step::Schedule | Step::ReleaseImages => Needs::Own,
        Step::RemoveCheckouts { keep: Some(_) } => Needs::Own,
        Step::Deregister | Step::Leave | Step::Remove => Needs::Other,
        Step::Unschedule | Step::RemoveCheckouts { keep: None } => Needs::Stranger,
        Step::EndMaintenance | Step::DropCopies => Needs::Nothing,
        Step::Checkout
        | Step::Check
        | Step::Probe { .. }
        | Step::ReceiveProbe
        | Step::ConfirmLoss
        | Step::Recall
        | Step::Measure
        | Step::Room
        | Step::KeepImages
        | Step::Pull
        | Step::Build
        | Step::Seed { .. }
        | Step::ReceiveSeed
        | Step::Compare
        | Step::Offer
        | Step::Match
        | Step::SnapshotSource
        | Step::Copy { .. }
        | Step::ReceiveCopy
        | Step::BeginMaintenance
        | Step::Stop
        | Step::Snapshot
        | Step::Send { .. }
        | Step::Receive
        | Step::Restore
        | Step::Replace
        | Step::PostMigrate
        | Step::Update
        | Step::Up
        | Step::AwaitHealthy
        | Step::Commit
        | Step::Forget => Needs::Nothing,
    }
}

/// What a step's undo needs: what it brings back, or takes away, may be somebody else's by now.
fn undoing(step: &Step) -> Needs {
    match step {
        Step::Stop | Step::Snapshot | Step::KeepImages => Needs::Former,
        Step::Restore | Step::Up | Step::Update | Step::PostMigrate | Step::Build => {
            Needs::FormerOrOther
        }
        Step::Checkout
        | Step::Check
        | Step::Probe { .. }
        | Step::ReceiveProbe
        | Step::ConfirmLoss
        | Step::Recall
        | Step::Measure
        | Step::Room
        | Step::Pull
        | Step::Seed { .. }
        | Step::ReceiveSeed
        | Step::Compare
        | Step::Offer
        | Step::Match
        | Step::SnapshotSource
        | Step::Copy { .. }
        | Step::ReceiveCopy
        | Step::BeginMaintenance
        | Step::Send { .. }
        | Step::Receive
        | Step::Replace
        | Step::AwaitHealthy
        | Step::Commit
        | Step::Forget
        | Step::KeepRunning
        | Step::EndMaintenance
        | Step::Register
        | Step::Deregister
        | Step::Schedule
        | Step::Unschedule
        | Step::DropCopies
        | Step::Remove
        | Step::Leave
        | Step::RemoveCheckouts { .. }
        | Step::ReleaseImages => Needs::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: &str, master: &str, slave: Option<&str>) -> AppRecord {
        let entry = serde_json::json!({
            "repo_url": "r", "branch": "b", "deploy_id": id, "master": master, "slave": slave,
        });
        serde_json::from_value(entry).unwrap()
    }

    /// A deployment `d1` moved the app from node1 (`d0`) to node2; seen from node1.
    #[test]
    fn what_is_void_depends_on_the_present_entry() {
        let me = NodeName::parse("node1").unwrap();
        let (former, own) = (entry("d0", "node1", Some("node2")), entry("d1", "node2", None));
        let back = entry("d2", "node1", Some("node3"));
        let elsewhere = entry("d2", "node3", Some("node1"));
        let fits = |needs: Needs, present: Option<&AppRecord>| {
            needs.fit(&me, present, Some(&former), Some(&own))
        };
        // This node became the master again, by whatever way: nothing of it is removed, and nothing brought back.
        let dangerous =
            [Needs::Own, Needs::Former, Needs::FormerOrOther, Needs::Other, Needs::Stranger];
        for needs in dangerous {
            assert!(!fits(needs, Some(&back)), "{needs:?}");
        }
        for (needs, present, expected) in [
            (Needs::Nothing, Some(&back), true),
            (Needs::Own, Some(&own), true),
            (Needs::Own, Some(&elsewhere), false),
            (Needs::Own, None, false),
            (Needs::Other, Some(&own), true),
            (Needs::Other, Some(&elsewhere), true),
            (Needs::Stranger, Some(&elsewhere), false),
            (Needs::Stranger, Some(&own), true),
            (Needs::Former, Some(&former), true),
            (Needs::Former, Some(&elsewhere), false),
            (Needs::FormerOrOther, Some(&elsewhere), true),
        ] {
            assert_eq!(fits(needs, present), expected, "{needs:?} {present:?}");
        }
    }
}
