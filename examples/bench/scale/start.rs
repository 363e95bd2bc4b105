//! How long an agent that starts takes until it has taken up everything: an app that was written while it was away is
//! served by its node.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::apps::App;
use super::watch::write;
use crate::support::{Lab, get, within};

/// Adapting thousands of texts takes minutes.
const PATIENCE: Duration = Duration::from_secs(3600);
const ADAPTED: &str = "/var/lib/tandem/caddy/adapted";

/// Seconds.
#[derive(Debug, Serialize)]
pub(crate) struct Start {
    /// With nothing kept of what Caddy made of the texts.
    pub(crate) anew: f64,
    /// With it.
    pub(crate) again: f64,
}

pub(crate) fn measure(lab: &Lab, node: &'static str, size: usize) -> Start {
    let again = start(lab, node, size + 1, "");
    Start { anew: start(lab, node, size + 2, &format!("rm -rf {ADAPTED}")), again }
}

fn start(lab: &Lab, node: &'static str, number: usize, before: &str) -> f64 {
    lab.run(&["kill", node, "agent"]);
    lab.node(node, &["bash", "-c", before]);
    let app = App::new(number, node);
    write(lab, &app.key(), Some(&app.record(lab).to_string()));
    let ip = lab.ip(node);
    let began = Instant::now();
    lab.run(&["start", node, "agent"]);
    within(PATIENCE, &format!("{} by {node}", app.host()), || {
        let reply = get(&ip, &app.host(), "/").ok()?;
        (reply.status == 200 && reply.body.trim() == app.page()).then_some(())
    });
    let seconds = began.elapsed().as_secs_f64();
    write(lab, &app.key(), None);
    seconds
}
