//! Figures of one run on a real lab of three nodes: `make bench`. What they mean is in docs/bench.md.
//!
//! `bench [--json] [--runs N] [--apps N] [--idle SECONDS] [--sizes N,N] [--only PART,PART]`; it ends with a failure only if something did not work.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it drives the lab's own command as the tests do, and what fails ends it"
)]

mod deployment;
mod floor;
mod idle;
mod machine;
mod many;
mod moves;
mod probe;
mod redeploy;
mod report;
mod scale;
mod serving;
mod stats;
mod steps;
mod traffic;

/// The lab as the tests see it.
#[allow(dead_code, unused_imports, reason = "the tests use more of it")]
#[path = "../../tests/lab"]
mod lab {
    pub(crate) mod support;
}

use std::time::Duration;

use clap::{Parser, ValueEnum};

pub(crate) use lab::support;

use report::Report;
use support::{Lab, Repo};

/// Takes the figures of docs/bench.md on the lab that fixtures/with-lab started.
#[derive(Parser)]
struct Args {
    /// Print JSON instead of tables
    #[arg(long)]
    json: bool,
    /// How often each deployment is measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// How many apps are deployed at once
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    apps: u32,
    /// With how many apps in KV changes are measured, each after the other
    #[arg(long, value_delimiter = ',', num_args = 1.., default_values_t = [10, 100, 1000])]
    sizes: Vec<usize>,
    /// For how many seconds an idle agent is watched
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(10..))]
    idle: u64,
    /// Take only these; all but scale, which takes long, if none is named
    #[arg(long, value_enum, value_delimiter = ',', num_args = 1.., default_values_t = Part::usual())]
    only: Vec<Part>,
}

/// What can be measured by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Serving,
    Redeploy,
    Moves,
    Traffic,
    Many,
    Idle,
    Scale,
}

impl Part {
    fn usual() -> Vec<Self> {
        Self::value_variants().iter().copied().filter(|part| *part != Self::Scale).collect()
    }
}

fn main() {
    let args = Args::parse();
    let lab = Lab::get();
    let report = measure(&lab, &args);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report).unwrap());
    } else {
        print!("{report}");
    }
}

fn measure(lab: &Lab, args: &Args) -> Report {
    let watch = Duration::from_secs(args.idle);
    let takes = |part: Part| args.only.contains(&part);
    let mut machine = machine::Machine::of(lab);
    let mut idle = Vec::new();
    if takes(Part::Idle) {
        idle.push(idle::watch(lab, "no app", watch));
    }
    let (runs, settle) = (args.runs, machine.settle);
    let serving = takes(Part::Serving).then(|| serving::measure(lab, runs, settle));
    let redeploy = takes(Part::Redeploy).then(|| redeploy::measure(lab, runs, settle));
    let moves = if takes(Part::Moves) { moves::measure(lab, runs) } else { Default::default() };
    let traffic = if takes(Part::Traffic) { traffic::measure(lab) } else { Default::default() };
    let apps = usize::try_from(args.apps).unwrap();
    let many = takes(Part::Many).then(|| many::measure(lab, apps));
    if takes(Part::Idle) {
        let apps = deploy_all(lab);
        idle.push(idle::watch(lab, &format!("{} apps", apps.len()), watch));
        apps.iter().for_each(|app| deployment::destroy(lab, app));
        idle.push(idle::watch(lab, "no app, afterwards", watch));
    }
    let scale = match takes(Part::Scale) {
        true => scale::measure(lab, &args.sizes, runs),
        false => Vec::new(),
    };
    machine.load.1 = machine::load();
    let log = machine::log_lines(lab);
    Report { machine, runs, serving, redeploy, moves, traffic, many, idle, scale, log }
}

/// Every fixture app, so that each node has some.
fn deploy_all(lab: &Lab) -> Vec<Repo> {
    let places = [
        ("hello", "node1", "node2"),
        ("guestbook", "node2", "node3"),
        ("tcp", "node3", "node1"),
        ("plain", "node1", "node3"),
    ];
    places
        .map(|(fixture, master, slave)| {
            say(&format!("deploying {fixture}"));
            let repo = Repo::publish(lab, fixture, &format!("bench-idle-{fixture}"));
            deployment::deploy(lab, &repo, master, slave);
            repo
        })
        .into()
}

/// Progress, beside the report.
fn say(what: &str) {
    eprintln!("bench: {what}");
}
