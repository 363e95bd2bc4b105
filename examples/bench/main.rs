//! Figures of one run on a real lab of three nodes: `make bench`. What they mean is in docs/bench.md.
//!
//! `bench [--json] [--runs N] [--idle SECONDS]`; it ends with a failure only if something did not work.
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
mod probe;
mod redeploy;
mod report;
mod serving;
mod stats;
mod steps;

/// The lab as the tests see it.
#[allow(dead_code, unused_imports, reason = "the tests use more of it")]
#[path = "../../tests/lab"]
mod lab {
    pub(crate) mod support;
}

use std::time::Duration;

use clap::Parser;

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
    /// For how many seconds an idle agent is watched
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(10..))]
    idle: u64,
}

fn main() {
    let args = Args::parse();
    let watch = Duration::from_secs(args.idle);
    let lab = Lab::get();
    let mut machine = machine::Machine::of(&lab);
    let idle_fresh = idle::watch(&lab, "no app", watch);
    let serving = serving::measure(&lab, args.runs, machine.settle);
    let redeploy = redeploy::measure(&lab, args.runs, machine.settle);
    let apps = deploy_all(&lab);
    let idle_busy = idle::watch(&lab, &format!("{} apps", apps.len()), watch);
    apps.iter().for_each(|app| deployment::destroy(&lab, app));
    let idle_after = idle::watch(&lab, "no app, afterwards", watch);
    let idle = vec![idle_fresh, idle_busy, idle_after];
    machine.load.1 = machine::load();
    let log = machine::log_lines(&lab);
    let report = Report { machine, runs: args.runs, serving, redeploy, idle, log };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report).unwrap());
    } else {
        print!("{report}");
    }
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
