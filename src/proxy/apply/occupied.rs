//! Ports of apps on which something else on the machine listens. A check can't see them. A reload that fails for one is
//! refused, but a HAProxy that starts, after a boot or with another image, does not start at all, and with it goes what
//! every app has. So one that stays away is looked into: the parts whose port is taken are left out of its file, until
//! nobody listens there any more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::{Applied, Proxies};
use crate::proxy::Problem;
use crate::proxy::render::Rendered;

/// A HAProxy that tries to start listens for a moment on the ports that are free: such a one is not there twice.
const TWICE: Duration = Duration::from_millis(300);
/// How often it is looked whether a port is free again; it has to be twice.
const LOOK: Duration = Duration::from_secs(15);

/// The sources that are left out for their ports.
#[derive(Debug, Default)]
pub(super) struct Occupied {
    /// Their ports, and how many looks in a row found them free.
    sources: BTreeMap<String, (BTreeSet<u16>, u32)>,
    next: Option<Instant>,
}

impl Proxies {
    /// HAProxy has not run for longer than a start takes: the next apply looks for what keeps it from starting.
    pub fn haproxy_stays_away(&mut self) {
        self.is_away = true;
    }

    /// Leaves out the parts that HAProxy can't start with, and takes back those that it can again.
    pub(super) async fn look_at_ports(&mut self, all: &Rendered, applied: &mut Applied) {
        let refused = &self.refused;
        self.occupied.sources.retain(|source, _| refused.contains_key(source));
        if self.is_away {
            self.leave_out_taken(all, applied).await;
        } else if !self.occupied.sources.is_empty() {
            self.take_back_free(applied).await;
        }
    }

    async fn leave_out_taken(&mut self, all: &Rendered, applied: &mut Applied) {
        let own = &self.settings;
        let own = [own.http_port, own.https_port, own.peer_http_port, own.peer_https_port];
        let ports = all.ports.values().flatten().chain(&own).copied().collect();
        let first = self.control.taken_ports(&ports).await;
        if first.is_empty() {
            return;
        }
        tokio::time::sleep(TWICE).await;
        let taken = self.control.taken_ports(&first).await;
        for port in own.iter().filter(|port| taken.contains(port)) {
            let what = format!("can't start: something else on this node listens on port {port}");
            applied.problems.push(Problem::new("haproxy", what));
        }
        for (source, ports) in &all.ports {
            self.leave_out(source, ports, &taken, all);
        }
    }

    /// Leaves a source's part out if one of its ports is taken.
    fn leave_out(
        &mut self,
        source: &str,
        ports: &BTreeSet<u16>,
        taken: &BTreeSet<u16>,
        all: &Rendered,
    ) {
        if let Some(port) = ports.intersection(taken).next() {
            let what = format!("something else on this node listens on its port {port}");
            self.refuse(source, all, what);
            self.occupied.sources.insert(source.to_owned(), (ports.clone(), 0));
        }
    }

    /// After a reload that was refused: of the sources that are left out for it, those whose port is taken come back when
    /// it is free.
    pub(super) async fn note_taken(&mut self, sources: &[String], all: &Rendered) {
        for source in sources {
            let Some(ports) = all.ports.get(source) else { continue };
            let taken = self.control.taken_ports(ports).await;
            self.leave_out(source, ports, &taken, all);
        }
    }

    async fn take_back_free(&mut self, applied: &mut Applied) {
        let now = Instant::now();
        let next = *self.occupied.next.get_or_insert(now + LOOK);
        if next <= now {
            self.occupied.next = Some(now + LOOK);
            let ports = self.occupied.sources.values().flat_map(|(ports, _)| ports).copied();
            let taken = self.control.taken_ports(&ports.collect()).await;
            for (ports, free) in self.occupied.sources.values_mut() {
                *free = if ports.is_disjoint(&taken) { *free + 1 } else { 0 };
            }
            let is_free = |source: &str| {
                self.occupied.sources.get(source).is_some_and(|(_, free)| *free >= 2)
            };
            self.refused.retain(|source, _| !is_free(source));
            self.occupied.sources.retain(|_, (_, free)| *free < 2);
        }
        if !self.occupied.sources.is_empty() {
            applied.wait(LOOK);
        }
    }
}
