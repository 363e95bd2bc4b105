//! The cluster as it is now, as a value made from KV and the catalog: apps, nodes, deployments, and what is wrong. `tandem
//! status` and `tandem follow` are views of it; whatever else shows the cluster reads it here, too.

mod apps;
mod deployments;
mod fire;
mod nodes;
mod problem;
mod replica;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::clock;
use crate::consul::ConsulError;
use crate::consul::catalog::Catalog;
use crate::consul::kv::Kv;
use crate::exec::{next_task, node_facts};
use crate::model::deployment::Deployment;
use crate::model::{AppName, AppRecord, NodeName, keys};
use crate::records::{
    Claim, LeaseInfo, Listed, NodeInfo, Owed, Queue, Record, Rejection, Stored, list,
};
use crate::replication::{Lines, ReplicaState, Stalled};

pub use apps::{App, Maintenance};
pub use deployments::{Found, find};
pub use fire::{FireError, fire};
pub use nodes::Node;
pub use problem::{Problem, unreadable};
pub use replica::Replica;

/// Of the events that could not be decoded, so many are problems: enough to see what just went wrong.
const REJECTED: usize = 5;

/// The cluster.
#[derive(Debug, Clone)]
pub struct Overview {
    /// The apps that serve.
    pub apps: BTreeMap<AppName, App>,
    /// The members.
    pub nodes: BTreeMap<NodeName, Node>,
    /// What runs or waits by app, and then outcomes, the newest first.
    pub deployments: Vec<Deployment>,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// Looks at the cluster.
///
/// # Errors
/// Any of [`ConsulError`]; what can't be read of a key is a problem.
pub async fn look(kv: &dyn Kv, catalog: &dyn Catalog) -> Result<Overview, ConsulError> {
    let now = clock::now();
    let mut problems = Vec::new();
    let apps = taken(list::<AppRecord>(kv).await?, &mut problems);
    let apps: BTreeMap<AppName, AppRecord> = by_name(apps);
    let maintenance = apps::maintenance(kv).await?;
    let unsaid = maintenance.iter().filter(|(_, why)| **why == Maintenance::Unsaid);
    problems.extend(
        unsaid
            .filter(|(app, _)| apps.contains_key(app))
            .map(|(app, _)| Problem::Unsaid(app.clone())),
    );
    let queues: BTreeMap<_, _> = by_name(taken(list::<Queue>(kv).await?, &mut problems));
    let deployments = taken(list::<Deployment>(kv).await?, &mut problems);
    let published = by_name(taken(list::<ReplicaState>(kv).await?, &mut problems));
    let lines = by_name(taken(list::<Lines>(kv).await?, &mut problems));
    problems.extend(replica::strange(&apps, &lines, &published, now));
    let replicas = replica::all(&apps, &published, now);
    problems.extend(replicas.iter().flat_map(|(app, replica)| replica.problems(app)));
    let stalled = by_name(taken(list::<Stalled>(kv).await?, &mut problems));
    problems.extend(replica::stalled(&apps, &stalled));
    let agents: BTreeMap<_, _> = by_name(taken(list::<NodeInfo>(kv).await?, &mut problems));
    problems.extend(agents.iter().flat_map(|(node, info)| nodes::problems(node, info, now)));
    let owed = taken(list::<Owed>(kv).await?, &mut problems);
    problems.extend(owed.iter().filter_map(debt));
    taken(list::<Claim>(kv).await?, &mut problems);
    taken(list::<LeaseInfo>(kv).await?, &mut problems);
    problems.extend(rejected(kv).await?);
    let facts = node_facts(kv, catalog, None).await?;
    let health = catalog.service_health().await?;
    Ok(Overview {
        nodes: nodes::all(facts, agents, &apps, &owed),
        apps: apps::all(apps, queues, replicas, &maintenance, &health),
        deployments: deployments::in_order(deployments),
        problems,
    })
}

/// What can be read; what can't is a problem.
fn taken<T: Record>(listed: Listed<T>, problems: &mut Vec<Problem>) -> Vec<Stored<T>> {
    problems.extend(listed.unreadable.iter().map(Problem::unreadable));
    listed.found
}

fn by_name<T: Record>(found: Vec<Stored<T>>) -> BTreeMap<T::Name, T>
where
    T::Name: Ord,
{
    found.into_iter().map(|stored| (stored.name, stored.value)).collect()
}

fn debt(owed: &Stored<Owed>) -> Option<Problem> {
    let (debt, Owed(record)) = (&owed.name, &owed.value);
    let key = keys::owed(&debt.node, &debt.app, &debt.deployment);
    let task = next_task(&key, record)?;
    Some(Problem::Owed { app: record.request.app().name(), task })
}

async fn rejected(kv: &dyn Kv) -> Result<Vec<Problem>, ConsulError> {
    let mut problems = Vec::new();
    let mut all = taken(list::<Rejection>(kv).await?, &mut problems);
    // By when Consul took them: the nodes' clocks may differ.
    all.sort_by_key(|rejected| std::cmp::Reverse(rejected.index));
    let newest = all.into_iter().take(REJECTED);
    problems.extend(newest.map(|it| Problem::Rejected { id: it.name, rejection: it.value }));
    Ok(problems)
}
