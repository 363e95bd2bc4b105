//! Everything that a run found, as tables or JSON.

mod moves;
mod scale;

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use serde::Serialize;

use crate::floor::PARTS;
use crate::idle::Idle;
use crate::machine::Machine;
use crate::many::Many;
use crate::moves::Moves;
use crate::redeploy::Redeploy;
use crate::scale::Scale;
use crate::serving::Serving;
use crate::stats::Summary;
use crate::steps::Part;
use crate::traffic::Traffic;

/// A run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) runs: u32,
    pub(crate) serving: Option<Serving>,
    pub(crate) redeploy: Option<Redeploy>,
    pub(crate) moves: Vec<Moves>,
    pub(crate) traffic: Vec<Traffic>,
    pub(crate) many: Option<Many>,
    pub(crate) idle: Vec<Idle>,
    pub(crate) scale: Vec<Scale>,
    /// Warnings and errors in the agents' logs.
    pub(crate) log: Vec<String>,
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.machine)?;
        writeln!(f, "Runs: {}. Median (least … most). Times on a shared machine with", self.runs)?;
        writeln!(f, "three nodes on it: compare within this run, by the ratios.\n")?;
        self.serving.iter().try_for_each(|serving| self.write_serving(f, serving))?;
        self.redeploy.iter().try_for_each(|redeploy| self.write_redeploy(f, redeploy))?;
        self.moves.iter().try_for_each(|moves| self.write_moves(f, moves))?;
        moves::write_traffic(f, &self.traffic)?;
        self.many.iter().try_for_each(|many| moves::write_many(f, many))?;
        self.write_idle(f)?;
        self.scale.iter().try_for_each(|scale| scale::write_scale(f, scale))?;
        writeln!(f, "Warnings and errors in the agents' logs: {}", self.log.len())?;
        self.log.iter().try_for_each(|line| writeln!(f, "  {line}"))
    }
}

impl Display for Machine {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let versions: Vec<_> =
            self.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
        writeln!(
            f,
            "{}, {} cores, {:.0} GB, load {} then {}; {} build",
            self.date, self.cores, self.memory, self.load.0, self.load.1, self.build
        )?;
        writeln!(f, "{}", versions.join(", "))
    }
}

impl Report {
    fn write_serving(&self, f: &mut Formatter<'_>, serving: &Serving) -> fmt::Result {
        writeln!(f, "EVENT → SERVING of hello, first deployment")?;
        for (node, time) in &serving.by_node {
            row(f, &format!("first 200 through {node}"), time, "s")?;
        }
        row(f, "served by every node", &serving.everywhere, "s")?;
        row(f, "floor: by hand on the node", &serving.floor["total"], "s")?;
        for part in PARTS {
            row(f, &format!("  of which {part}"), &serving.floor[part], "s")?;
        }
        self.write_ratio(f, serving.ratio, serving.ratio_without_settle)?;
        write_faults(f, "answers other than 404 before", &serving.faults_before)?;
        self.write_parts(f, &serving.parts)
    }

    fn write_redeploy(&self, f: &mut Formatter<'_>, redeploy: &Redeploy) -> fmt::Result {
        writeln!(f, "REDEPLOY of hello, requests through the third node")?;
        row(f, "longest gap between successes", &redeploy.gap, "s")?;
        row(f, "floor: docker compose up -d", &redeploy.floor, "s")?;
        self.write_ratio(f, redeploy.ratio, redeploy.ratio_without_settle)?;
        row(f, "new connections, every 10 ms", &redeploy.sent, "")?;
        row(f, "  of which failed", &redeploy.failed, "")?;
        write_faults(f, "  failures of all runs", &redeploy.faults)?;
        row(f, "kept connection, 50/s: succeeded", &redeploy.kept_good, "")?;
        row(f, "  failed", &redeploy.kept_failed, "")?;
        write_faults(f, "  failures of all runs", &redeploy.kept_faults)?;
        self.write_parts(f, &redeploy.parts)?;
        moves::write_unchanged(f, &redeploy.unchanged)
    }

    fn write_ratio(&self, f: &mut Formatter<'_>, all: f64, without: f64) -> fmt::Result {
        let settle = self.machine.settle;
        writeln!(f, "  {:<34} {all:7.1} × the floor", "ratio of the medians")?;
        writeln!(
            f,
            "  {:<34} {without:7.1} × (settle is a setting: {settle} s)",
            "ratio without settle"
        )
    }

    fn write_parts(&self, f: &mut Formatter<'_>, parts: &[Part]) -> fmt::Result {
        writeln!(f, "  where the time goes:")?;
        for part in parts {
            row(f, &format!("  {}", part.what), &part.time, "s")?;
            if part.what == "await healthy" {
                writeln!(
                    f,
                    "  {:<34} {:7.3} s",
                    "    of which settle (a setting)", self.machine.settle
                )?;
            }
        }
        writeln!(f)
    }

    fn write_idle(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.idle.is_empty() {
            return Ok(());
        }
        writeln!(
            f,
            "IDLE AGENT           RSS MB  PSS MB  CPU %  by scheduler %  of commands %  Consul requests/s"
        )?;
        for idle in &self.idle {
            writeln!(f, "  with {}", idle.with)?;
            for node in &idle.nodes {
                writeln!(
                    f,
                    "    {:<15} {:7.1} {:7.1} {:6.2} {:15.3} {:14.2} {:18.2}",
                    node.node,
                    node.rss,
                    node.pss,
                    node.cpu,
                    node.cpu_by_scheduler,
                    node.cpu_of_children,
                    node.requests
                )?;
                let list: Vec<_> =
                    node.endpoints.iter().map(|(e, n)| format!("{e} {n:.2}")).collect();
                writeln!(f, "        {}", list.join(", "))?;
            }
        }
        writeln!(f)
    }
}

fn row(f: &mut Formatter<'_>, what: &str, value: &Summary, unit: &str) -> fmt::Result {
    let digits = if unit.is_empty() { 0 } else { 3 };
    let Summary { median, min, max } = value;
    writeln!(f, "  {what:<34} {median:7.digits$} {unit:1} ({min:.digits$} … {max:.digits$})")
}

fn write_faults(
    f: &mut Formatter<'_>,
    what: &str,
    faults: &BTreeMap<String, usize>,
) -> fmt::Result {
    let list: Vec<_> = faults.iter().map(|(fault, n)| format!("{n} × {fault}")).collect();
    let list = if list.is_empty() { "none".to_owned() } else { list.join(", ") };
    writeln!(f, "  {what:<34} {list}")
}
