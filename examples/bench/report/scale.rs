//! The table of many apps.

use std::fmt::{self, Formatter};

use super::{row, write_faults};
use crate::scale::Scale;

pub(super) fn write_scale(f: &mut Formatter<'_>, scale: &Scale) -> fmt::Result {
    let floor = &scale.floor;
    writeln!(f, "{} APPS: from the write to KV until it is so on all three nodes", scale.apps)?;
    let beside = |f: &mut Formatter<'_>, what: &str, time: f64, bare: f64, of: &str| {
        writeln!(f, "  {what:<34} {:7.1} × {of}", time / bare)
    };
    row(f, "a master flips, by the maps", &scale.flip, "s")?;
    beside(f, "  ratio", scale.flip.median, floor.consul.median, "Consul alone")?;
    row(f, "an app is added, by requests", &scale.add, "s")?;
    let bare = floor.consul.median + floor.load.median;
    beside(f, "  ratio", scale.add.median, bare, "Consul and Caddy's load alone")?;
    row(f, "an app is removed, by requests", &scale.remove, "s")?;
    row(f, "a bad app is named, by its master", &scale.bad, "s")?;
    row(f, "floor: Consul to curl, all of app/", &floor.consul, "s")?;
    row(f, "floor: HAProxy's set map by socat", &floor.set_map, "s")?;
    row(f, "floor: Caddy's /load by curl", &floor.load, "s")?;
    writeln!(f, "  {:<34} {:7.1} s", "all apps written and served", scale.seeding)?;
    writeln!(f, "  {:<34} {:7.1} s", "an agent starts, texts kept", scale.start.again)?;
    writeln!(f, "  {:<34} {:7.1} s", "an agent starts from nothing", scale.start.anew)?;
    let flips = &scale.flips;
    writeln!(
        f,
        "  {} flips in {:.0} s: the last is everywhere {:.2} s later; reloads of HAProxy {:?}, loads of Caddy {:?}",
        flips.written, flips.seconds, flips.settled, flips.haproxy_reloads, flips.caddy_loads
    )?;
    let load = &scale.load;
    writeln!(
        f,
        "  {} changes in {:.0} s under load: {} new connections, {} failed; {} kept-alive requests, {} failed",
        load.changes,
        load.seconds,
        load.new_sent,
        load.new_failed,
        load.kept_good + load.kept_failed,
        load.kept_failed
    )?;
    write_faults(f, "  failures", &load.faults)?;
    writeln!(f, "  NODE    agent MB   (peak)  HAProxy MB  Caddy MB  written MB  reloads  loads")?;
    for node in &scale.nodes {
        writeln!(
            f,
            "  {:<7} {:8.1} {:8.1} {:11.1} {:9.1} {:11.1} {:8} {:6}",
            node.node,
            node.agent,
            node.agent_peak,
            node.haproxy,
            node.caddy,
            node.written,
            node.reloads,
            node.loads
        )?;
    }
    writeln!(f)
}
