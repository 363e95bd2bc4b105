//! After the commit: the outcome is only told once every node that is alive serves it.

use std::time::Duration;

use tokio::time::Instant;

use super::StepContext;
use crate::consul::txn::TxnOp;
use crate::error::chain;
use crate::exec::apply::Done;
use crate::exec::error::StepError;
use crate::model::{NodeName, Routing, keys};
use crate::records::{NodeInfo, decode, encode, name_of};

/// The proxies follow within a second; a reload that waits for others takes a few. More is trouble.
const ROUTED_WITHIN: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What the commit adds, so that the nodes' proxies say when they serve it; nothing where they say nothing.
pub(super) fn ask(step: &StepContext<'_>) -> Option<TxnOp> {
    let routing = Routing {
        deploy_id: step.deployment.id.to_string(),
        is_gone: step.deployment.placement.is_none(),
    };
    let set = TxnOp::Set { key: keys::routing(&step.app), value: encode(&routing) };
    step.ctx.proxies.tell().then_some(set)
}

/// Waits for the proxies of the nodes that have an agent, and names those that did not say in time that they serve this
/// deployment. Nobody waits twice for one commit.
pub(super) async fn wait(step: &StepContext<'_>) -> Result<Done, StepError> {
    let mut done = Done::default();
    let kv = step.ctx.cluster.kv.as_ref();
    let key = keys::routing(&step.app);
    let found = kv.get(&key).await.map_err(|error| StepError::from_error(&error))?;
    let Some(asked) = found.as_ref().map(decode::<Routing>) else { return Ok(done) };
    match asked {
        Ok(asked) if asked.deploy_id == step.deployment.id.as_str() => {}
        Ok(_) => return Ok(done),
        Err(error) => {
            let why = chain(&error);
            done.warnings.push(format!("whether every node serves it can't be told: {why}"));
            return Ok(done);
        }
    }
    let deadline = Instant::now() + ROUTED_WITHIN;
    loop {
        let silent = silent(step).await?;
        if silent.is_empty() {
            break;
        }
        if Instant::now() >= deadline {
            done.warnings.push(format!(
                "the proxies of {} did not say that they serve it: look at `tandem status`",
                silent.join(", ")
            ));
            break;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    let over =
        [TxnOp::Delete { key }, TxnOp::DeleteTree { prefix: keys::routed_prefix(&step.app) }];
    kv.transact(over.into()).await.map_err(|error| StepError::from_error(&error))?;
    Ok(done)
}

/// The nodes with an agent whose proxies do not serve this deployment yet.
async fn silent(step: &StepContext<'_>) -> Result<Vec<String>, StepError> {
    let kv = step.ctx.cluster.kv.as_ref();
    let prefix = keys::routed_prefix(&step.app);
    let said = kv.list(&prefix).await.map_err(|error| StepError::from_error(&error))?.entries;
    let nodes = kv.list(keys::NODES).await.map_err(|error| StepError::from_error(&error))?.entries;
    let id = step.deployment.id.as_str().as_bytes();
    let is_silent = |name: &NodeName| {
        let key = format!("{prefix}{name}");
        !said.iter().any(|entry| entry.key == key && entry.value == id)
    };
    let names = nodes.iter().filter_map(|entry| name_of::<NodeInfo>(&entry.key));
    Ok(names.filter(is_silent).map(|name| name.to_string()).collect())
}
