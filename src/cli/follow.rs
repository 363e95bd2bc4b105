//! `tandem follow`

use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use super::consul_failure;
use super::printer::Printer;
use crate::consul::kv::Kv;
use crate::error::{CommandFailure, ErrorKind};
use crate::model::deployment::{Deployment, State, StepRecord};
use crate::overview::{Found, find, unreadable};
use crate::records::decode;

const LOOK: Duration = Duration::from_secs(30);
/// How long a record that can't be read may take to be put back by an agent that knows what it said.
const PUT_BACK: Duration = Duration::from_secs(5);

/// Show a deployment's steps as they happen, until its outcome
///
/// ID is what `consul event` printed, or its beginning; without one, the newest deployment. Ends with 0 if the
/// deployment completed, with 1 if not.
#[derive(Debug, Args)]
pub(super) struct FollowArgs {
    /// The event's id or its beginning
    id: Option<String>,
    /// One JSON object a line: a step's every change, at last the whole record
    #[arg(long)]
    json: bool,
    /// How long to wait for the event to be taken in
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    wait: u64,
}

pub(super) async fn run(
    args: &FollowArgs,
    kv: &dyn Kv,
    out: &mut Printer<'_>,
) -> Result<(), CommandFailure> {
    let (key, deployment) = match appear(args, kv).await? {
        Found::Deployment(key, deployment) => (key, *deployment),
        Found::Rejection(rejection) => {
            if args.json {
                out.json(&rejection)?;
            }
            let text = format!(
                "the event was refused: {} (payload: {})",
                rejection.reason, rejection.payload
            );
            return Err(CommandFailure::new(ErrorKind::Failed, text));
        }
        Found::Unreadable(error) => {
            return Err(CommandFailure::new(ErrorKind::Failed, unreadable(&error)));
        }
    };
    let mut view = View { out, json: args.json, shown: Vec::new(), chosen: false };
    view.heading(&deployment)?;
    let last = view.until_outcome(kv, &key, deployment).await?;
    outcome(&last)
}

async fn appear(args: &FollowArgs, kv: &dyn Kv) -> Result<Found, CommandFailure> {
    let (started, wait) = (Instant::now(), Duration::from_secs(args.wait));
    loop {
        let found = find(kv, args.id.as_deref()).await;
        match found.map_err(|error| consul_failure(&error))? {
            Some(Found::Unreadable(_)) if started.elapsed() < PUT_BACK.min(wait) => {}
            Some(found) => return Ok(found),
            None => {}
        }
        if started.elapsed() >= wait {
            let what = args
                .id
                .as_deref()
                .map_or("no deployment".to_owned(), |id| format!("no deployment {id}"));
            return Err(CommandFailure::new(ErrorKind::NotFound, format!("there is {what}"))
                .hint("does an agent run on the nodes? `tandem status` shows them"));
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

fn outcome(deployment: &Deployment) -> Result<(), CommandFailure> {
    if deployment.state == State::Completed {
        return Ok(());
    }
    let reason = deployment.reason.as_deref().unwrap_or("no reason is on record");
    Err(CommandFailure::new(ErrorKind::Failed, format!("{}: {reason}", deployment.state)))
}

/// What was shown of each step, so that only changes are.
struct View<'a, 'b> {
    out: &'a mut Printer<'b>,
    json: bool,
    shown: Vec<StepRecord>,
    chosen: bool,
}

#[derive(Serialize)]
struct Change<'a> {
    deployment: &'a str,
    index: usize,
    #[serde(flatten)]
    step: &'a StepRecord,
}

impl View<'_, '_> {
    fn heading(&mut self, deployment: &Deployment) -> Result<(), CommandFailure> {
        if self.json {
            return Ok(());
        }
        let app = deployment.request.app();
        let pair =
            deployment.placement.as_ref().map(|pair| format!(" on {pair}")).unwrap_or_default();
        self.out.line(&format!(
            "{} {} ({}, {}){pair}, deployment {}",
            deployment.request.verb(),
            app.name(),
            app.repo,
            app.branch,
            deployment.id
        ))
    }

    async fn until_outcome(
        &mut self,
        kv: &dyn Kv,
        key: &str,
        mut deployment: Deployment,
    ) -> Result<Deployment, CommandFailure> {
        let mut index = None;
        let mut unreadable_since = None;
        loop {
            self.changes(&deployment)?;
            if deployment.state.is_final() {
                self.ending(&deployment)?;
                return Ok(deployment);
            }
            let patience = if unreadable_since.is_some() { PUT_BACK } else { LOOK };
            let listing = kv.watch(key, index, patience).await;
            let listing = listing.map_err(|error| consul_failure(&error))?;
            index = Some(listing.index).filter(|index| *index > 0);
            let entry = listing.entries.iter().find(|entry| entry.key == key).ok_or_else(|| {
                CommandFailure::new(ErrorKind::NotFound, format!("{key} is gone"))
            })?;
            match decode(entry) {
                Ok(changed) => {
                    (deployment, unreadable_since) = (changed, None);
                }
                Err(error) => {
                    let since = *unreadable_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= PUT_BACK {
                        return Err(CommandFailure::new(ErrorKind::Failed, unreadable(&error)));
                    }
                }
            }
        }
    }

    fn changes(&mut self, deployment: &Deployment) -> Result<(), CommandFailure> {
        // A deployment that waits has its pair when its turn comes.
        if let Some(choice) = deployment.choice.as_ref().filter(|_| !self.chosen && !self.json) {
            self.out.line(&format!("picked: {choice}"))?;
            self.chosen = true;
        }
        for (index, step) in deployment.steps.iter().enumerate() {
            let before = self.shown.get(index);
            if before.is_some_and(|before| before.status == step.status)
                || (before.is_none() && step.started_at.is_none())
            {
                continue;
            }
            if self.json {
                self.out.json(&Change { deployment: deployment.id.as_str(), index, step })?;
            } else {
                self.out.line(&line(step))?;
            }
        }
        self.shown.clone_from(&deployment.steps);
        Ok(())
    }

    fn ending(&mut self, deployment: &Deployment) -> Result<(), CommandFailure> {
        if self.json {
            return self.out.json(deployment);
        }
        for warning in &deployment.warnings {
            self.out.line(&format!("warning: {warning}"))?;
        }
        self.out.line(&format!(
            "{} at {}",
            deployment.state,
            deployment.finished_at.as_deref().unwrap_or("?")
        ))
    }
}

fn line(step: &StepRecord) -> String {
    let at = step.ended_at.as_deref().or(step.started_at.as_deref()).unwrap_or_default();
    let time = at.get(11..23).unwrap_or(at);
    let error = step.error.as_deref().map(|error| format!(": {error}")).unwrap_or_default();
    let (node, status) = (step.node.to_string(), step.status.to_string());
    format!("{time}  {node:<12} {status:<8} {}{error}", step.step)
}

#[cfg(test)]
mod tests;
