//! `tandem status`

use clap::Args;
use serde::Serialize;

use super::consul_failure;
use super::printer::Printer;
use crate::consul::catalog::Catalog;
use crate::consul::kv::Kv;
use crate::error::CommandFailure;
use crate::model::deployment::{Deployment, State};
use crate::model::{Amount, AppName, NodeName};
use crate::overview::{self, App, Node, Overview, Problem, Replica};

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
    replica: Option<Replica>,
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
    kv: &dyn Kv,
    catalog: &dyn Catalog,
    out: &mut Printer<'_>,
) -> Result<(), CommandFailure> {
    let overview = overview::look(kv, catalog).await.map_err(|error| consul_failure(&error))?;
    let status = Status::of(overview);
    if args.json { out.json(&status) } else { print(&status, out) }
}

impl Status {
    fn of(overview: Overview) -> Self {
        let (open, ended): (Vec<_>, Vec<_>) =
            overview.deployments.iter().partition(|deployment| !deployment.state.is_final());
        let shown = open.into_iter().chain(ended.into_iter().take(RECENT));
        Self {
            deployments: shown.map(deployment_status).collect(),
            apps: overview.apps.into_iter().map(app_status).collect(),
            nodes: overview.nodes.into_iter().map(node_status).collect(),
            problems: overview.problems.iter().map(Problem::to_string).collect(),
        }
    }
}

fn node_status((name, node): (NodeName, Node)) -> NodeStatus {
    let facts = node.facts;
    NodeStatus {
        name: name.to_string(),
        unfit: facts.unfit().map(|why| why.to_string()),
        address: facts.address,
        alive: facts.alive,
        agent: node.agent.map(|agent| agent.version),
        masters: node.masters.len(),
        slaves: node.slaves.len(),
        disk: facts.room.map(|room| room.disk),
        memory: facts.room.map(|room| room.memory),
        draining: facts.draining.is_some(),
    }
}

fn app_status((name, app): (AppName, App)) -> AppStatus {
    let checked = app.health.map_or_else(|| "not checked".to_owned(), |health| health.to_string());
    AppStatus {
        name: name.to_string(),
        health: if app.maintenance.is_some() { "maintenance".to_owned() } else { checked },
        master: app.record.master.to_string(),
        slave: app.record.slave.map(|slave| slave.to_string()),
        replica: app.replica,
        urls: app.record.urls,
        deploy_id: app.record.deploy_id,
    }
}

fn deployment_status(deployment: &Deployment) -> DeploymentStatus {
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
mod tests;
