//! `tandem status`

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use clap::Args;
use serde::Serialize;

use super::consul_failure;
use super::printer::Printer;
use super::records;
use super::replica::{self, ReplicaStatus};
use crate::consul::kv::{Entry, Kv};
use crate::consul::{Client, ConsulError};
use crate::error::CommandFailure;
use crate::exec::{next_task, node_facts};
use crate::model::deployment::{Deployment, State};
use crate::model::{Amount, AppRecord, keys};
use crate::plan::NodeFacts;
use crate::records::{NodeInfo, Owed, Queue, Rejection};
use crate::replication::{AHEAD, Lines, ReplicaState, Stalled, age};

/// Outcomes shown: enough to see what just went wrong.
const RECENT: usize = 5;

/// Show apps, nodes, deployments that run, and what is wrong with the configuration
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// One JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Status {
    apps: Vec<AppStatus>,
    nodes: Vec<NodeStatus>,
    deployments: Vec<DeploymentStatus>,
    problems: Vec<String>,
}

#[derive(Debug, Serialize)]
struct AppStatus {
    name: String,
    master: String,
    slave: Option<String>,
    replica: Option<ReplicaStatus>,
    health: String,
    urls: String,
    deploy_id: String,
}

#[derive(Debug, Serialize)]
struct NodeStatus {
    name: String,
    address: String,
    alive: bool,
    agent: Option<String>,
    masters: usize,
    slaves: usize,
    disk: Option<Amount>,
    memory: Option<Amount>,
    draining: bool,
    /// Why nothing is picked to go there.
    unfit: Option<String>,
}

#[derive(Debug, Serialize)]
struct DeploymentStatus {
    app: String,
    id: String,
    request: &'static str,
    state: State,
    step: Option<String>,
    reason: Option<String>,
    accepted_at: String,
}

pub(super) async fn run(
    args: &StatusArgs,
    client: &Client,
    out: &mut Printer<'_>,
) -> Result<(), CommandFailure> {
    let status = gather(client).await.map_err(|error| consul_failure(&error))?;
    if args.json { out.json(&status) } else { print(&status, out) }
}

async fn gather(client: &Client) -> Result<Status, ConsulError> {
    let apps = records::values::<AppRecord>(client).await?;
    let queues = records::values::<Queue>(client).await?;
    let deployments = records::values::<Deployment>(client).await?;
    let rejections = records::values::<Rejection>(client).await?;
    let replicas = records::values::<ReplicaState>(client).await?;
    let stalled = records::values::<Stalled>(client).await?;
    let lines = records::values::<Lines>(client).await?;
    let agents = records::agents(client).await?;
    let health = client.service_health().await?;
    let (maintenance, unsaid) = maintenance(client, &apps.values).await?;
    let mut problems: Vec<String> = [apps.unreadable.clone(), unsaid].concat();
    problems.extend(queues.unreadable);
    problems.extend(deployments.unreadable.iter().map(|problem| records::unreadable(problem)));
    problems.extend(replicas.unreadable);
    problems.extend(lines.unreadable);
    let now = Utc::now();
    problems.extend(replica::strange(&apps.values, &lines.values, &replicas.values, now));
    let replicas = replica::statuses(&apps.values, &replicas.values, now);
    problems.extend(replicas.iter().flat_map(|(app, replica)| replica.problems(app)));
    problems.extend(stalled.unreadable);
    problems.extend(replica::stalled(&apps.values, &stalled.values));
    for (node, info) in &agents {
        problems.extend(skew(node, info, now));
        let failing = info.failing.iter();
        problems
            .extend(failing.map(|it| format!("{node}: proxies, since {}: {}", it.since, it.why)));
        problems.extend(info.problems.iter().map(|problem| format!("{node}: {problem}")));
    }
    let owed = records::values::<Owed>(client).await?;
    problems.extend(owed.unreadable);
    problems.extend(owed.values.iter().filter_map(|(name, note)| {
        let app = note.0.request.app().name();
        Some(format!("{app}: {}", next_task(&format!("{}{name}", keys::OWED), &note.0)?))
    }));
    let mut rejected: Vec<_> = rejections.values.into_iter().collect();
    records::newest_first(&mut rejected, &rejections.written);
    problems.extend(rejected.into_iter().take(RECENT).map(|(id, rejection)| {
        format!(
            "event {id} ({}) refused at {}: {}",
            rejection.event, rejection.at, rejection.reason
        )
    }));
    let nodes = node_facts(client, client, None).await?.into_iter();
    Ok(Status {
        nodes: nodes
            .map(|(name, facts)| node_status(name.to_string(), facts, &agents, &apps.values))
            .collect(),
        apps: apps
            .values
            .into_iter()
            .map(|(name, record)| {
                let replica = replicas.get(&name).cloned();
                AppStatus { replica, ..app_status(name, record, &health, &maintenance) }
            })
            .collect(),
        deployments: recent(deployments.values, &deployments.written),
        problems,
    })
}

/// The apps under maintenance, and what is told of those that serve and are so by a key without a value.
async fn maintenance(
    client: &Client,
    apps: &BTreeMap<String, AppRecord>,
) -> Result<(Vec<String>, Vec<String>), ConsulError> {
    let entries = client.list(keys::MAINTENANCE).await?.entries;
    let name = |entry: &Entry| entry.key.strip_prefix(keys::MAINTENANCE).map(str::to_owned);
    let all = entries.iter().filter_map(name).collect();
    let unsaid = entries.iter().filter(|entry| entry.value.is_empty()).filter_map(name);
    let told = unsaid.filter(|app| apps.contains_key(app)).map(|app| nobodys(&app)).collect();
    Ok((all, told))
}

/// Whose such a key is, nobody can tell: the older system's handler leaves some behind.
fn nobodys(app: &str) -> String {
    let key = format!("{}{app}", keys::MAINTENANCE);
    format!(
        "{app}: under maintenance by a key without a value, as the older system may have left it: consul kv delete {key} ends it, consul kv put {key} yes says that it is meant"
    )
}

fn node_status(
    name: String,
    facts: NodeFacts,
    agents: &BTreeMap<String, NodeInfo>,
    apps: &BTreeMap<String, AppRecord>,
) -> NodeStatus {
    let is_slave =
        |app: &&AppRecord| app.slave.as_ref().is_some_and(|slave| slave.as_str() == name);
    NodeStatus {
        unfit: facts.unfit().map(|why| why.to_string()),
        address: facts.address,
        alive: facts.alive,
        agent: agents.get(&name).map(|agent| agent.version.clone()),
        masters: apps.values().filter(|app| app.master.as_str() == name).count(),
        slaves: apps.values().filter(is_slave).count(),
        disk: facts.room.map(|room| room.disk),
        memory: facts.room.map(|room| room.memory),
        draining: facts.draining.is_some(),
        name,
    }
}

fn app_status(
    name: String,
    record: AppRecord,
    health: &BTreeMap<String, String>,
    maintenance: &[String],
) -> AppStatus {
    let checked = health.get(&name).cloned().unwrap_or_else(|| "not checked".to_owned());
    AppStatus {
        health: if maintenance.contains(&name) { "maintenance".to_owned() } else { checked },
        master: record.master.to_string(),
        slave: record.slave.map(|slave| slave.to_string()),
        replica: None,
        urls: record.urls,
        deploy_id: record.deploy_id,
        name,
    }
}

/// What runs or waits, and the newest outcomes.
fn recent(
    records: BTreeMap<String, Deployment>,
    written: &BTreeMap<String, u64>,
) -> Vec<DeploymentStatus> {
    let (open, mut ended): (Vec<_>, Vec<_>) =
        records.into_iter().partition(|(_, deployment)| !deployment.state.is_final());
    records::newest_first(&mut ended, written);
    let all = open.into_iter().chain(ended.into_iter().take(RECENT));
    all.map(|(_, deployment)| deployment_status(deployment)).collect()
}

/// That a node's clock is ahead of this machine's: how old its copies are, and when its steps ended, can't be told then.
/// Of one that is behind, what it says is only old.
fn skew(node: &str, info: &NodeInfo, now: DateTime<Utc>) -> Option<String> {
    let at = DateTime::parse_from_rfc3339(&info.room.as_ref()?.at).ok()?.to_utc();
    let ahead = at - now;
    (ahead > AHEAD).then(|| {
        format!(
            "{node}: its clock is {} ahead of the one here: ages and times that it tells are wrong, set its clock",
            age(ahead)
        )
    })
}

fn deployment_status(deployment: Deployment) -> DeploymentStatus {
    let stage = deployment.current_stage();
    let step = deployment.steps.iter().find(|step| Some(step.stage) == stage);
    let step = step.filter(|_| !deployment.state.is_final());
    DeploymentStatus {
        app: deployment.request.app().name().to_string(),
        id: deployment.id.to_string(),
        request: deployment.request.verb(),
        state: deployment.state,
        step: step.map(|step| format!("{} on {}", step.step, step.node)),
        reason: deployment.reason.clone(),
        accepted_at: deployment.accepted_at.clone(),
    }
}

fn print(status: &Status, out: &mut Printer<'_>) -> Result<(), CommandFailure> {
    let heading = ["APP", "MASTER", "SLAVE", "REPLICA", "HEALTH", "URLS"];
    out.table(&table(&heading, &status.apps, |app| {
        let slave = app.slave.clone().unwrap_or_else(|| "-".to_owned());
        let replica = app.replica.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
        let (name, master) = (app.name.clone(), app.master.clone());
        vec![name, master, slave, replica, app.health.clone(), app.urls.clone()]
    }))?;
    out.line("")?;
    let heading = [
        "NODE",
        "ADDRESS",
        "CONSUL",
        "AGENT",
        "MASTERS",
        "SLAVES",
        "DISK FREE",
        "MEMORY FREE",
        "IS PICKED",
    ];
    out.table(&table(&heading, &status.nodes, |node| {
        vec![
            node.name.clone(),
            node.address.clone(),
            if node.alive { "alive" } else { "away" }.to_owned(),
            node.agent.clone().unwrap_or_else(|| "away".to_owned()),
            node.masters.to_string(),
            node.slaves.to_string(),
            left(node.disk),
            left(node.memory),
            node.unfit.as_ref().map_or("yes".to_owned(), |why| format!("no: it {why}")),
        ]
    }))?;
    out.line("")?;
    let heading = ["DEPLOYMENT", "APP", "WHAT", "STATE", "STEP OR REASON"];
    out.table(&table(&heading, &status.deployments, |deployment| {
        let id = deployment.id.get(..8).unwrap_or(&deployment.id).to_owned();
        let detail = deployment.step.clone().or(deployment.reason.clone()).unwrap_or_default();
        let (what, state) = (deployment.request.to_owned(), deployment.state.to_string());
        vec![id, deployment.app.clone(), what, state, first_line(&detail)]
    }))?;
    if !status.problems.is_empty() {
        out.line("")?;
        out.line("PROBLEMS")?;
    }
    status.problems.iter().try_for_each(|problem| out.line(&format!("  {problem}")))
}

fn left(amount: Option<Amount>) -> String {
    amount.map_or("?".to_owned(), |amount| amount.to_string())
}

/// A heading and a row per item.
fn table<T>(heading: &[&str], items: &[T], row: impl Fn(&T) -> Vec<String>) -> Vec<Vec<String>> {
    let heading = heading.iter().map(|cell| (*cell).to_owned()).collect();
    std::iter::once(heading).chain(items.iter().map(row)).collect()
}

/// Tables have one line a row; `tandem follow` tells the rest.
fn first_line(text: &str) -> String {
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default().to_owned();
    if lines.next().is_some() { format!("{first} …") } else { first }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::records::Room;

    #[test]
    fn a_clock_that_is_ahead_is_named_and_one_that_differs_a_little_is_not() {
        let now: DateTime<Utc> = "2025-06-01T10:00:00Z".parse().unwrap();
        let said = |ahead: TimeDelta| {
            let half = Amount { free: 1, total: 2 };
            let at = (now + ahead).to_rfc3339();
            let room =
                Room { epoch: 1, at, disk: half, memory: half, listening: Default::default() };
            skew("node2", &NodeInfo { room: Some(room), ..NodeInfo::default() }, now)
        };
        for fine in [TimeDelta::hours(-3), TimeDelta::zero(), TimeDelta::minutes(5)] {
            assert_eq!(said(fine), None, "{fine}");
        }
        let text = said(TimeDelta::hours(3)).unwrap();
        assert!(text.starts_with("node2: its clock is 3 h 0 min ahead"), "{text}");
        assert_eq!(skew("node2", &NodeInfo::default(), now), None);
    }

    #[test]
    fn outcomes_are_in_the_order_in_which_consul_took_them() {
        let mut items = ["one", "two", "three"].map(|key| (key.to_owned(), ())).to_vec();
        let written =
            ["one", "two", "three"].map(str::to_owned).into_iter().zip([7, 9, 8]).collect();
        records::newest_first(&mut items, &written);
        let keys: Vec<_> = items.iter().map(|(key, ())| key.as_str()).collect();
        assert_eq!(keys, ["two", "three", "one"]);
    }
}
