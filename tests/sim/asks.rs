//! What users ask for: deployments, destroys, migrations.

use tandem::model::{AppRecord, keys};

use crate::apps::{self, Flaw, Version};
use crate::director::{Action, Director};
use crate::kv;

/// In so many of 100 cases, an app's new version stays on its master.
const MASTER_STAYS: u64 = 60;

impl Director {
    /// Somebody pushes a version and deploys it, or destroys the app.
    pub(crate) fn ask(&mut self, app: usize) {
        let rng = &self.world.rng;
        let owner = &self.world.apps[app];
        let entry: Option<AppRecord> = kv::read(&self.world.consul, &keys::app(&owner.name));
        if entry.is_some() && rng.percent(12) {
            return self.fire("destroy", &owner.destroy());
        }
        if self.world.apps.len() > 1 && entry.is_some() && rng.percent(25) {
            let source = &self.world.apps[1 - app];
            return self.fire("migrate", &owner.migrate(source, rng.percent(50)));
        }
        let flaws = [Flaw::Refused, Flaw::Build, Flaw::Update, Flaw::Up, Flaw::Unhealthy];
        let is_bad = self.world.is_wild() && rng.percent(self.world.chances.flawed);
        let flaw = if is_bad { *rng.pick(&flaws) } else { Flaw::None };
        self.deploy(app, entry.as_ref(), flaw);
    }

    pub(crate) fn destroy(&mut self, app: usize) {
        let text = self.world.apps[app].destroy();
        self.fire("destroy", &text);
    }

    /// Pushes a version and deploys it on a pair.
    pub(crate) fn deploy(&mut self, app: usize, entry: Option<&AppRecord>, flaw: Flaw) {
        let (rng, owner) = (&self.world.rng, &self.world.apps[app]);
        let is_good = flaw == Flaw::None && owner.head().flaw == Flaw::None;
        let again = is_good && entry.is_some() && rng.percent(15);
        let version = if again { owner.head() } else { owner.push(flaw, rng.percent(20)) };
        self.publish(app, version);
        let names: Vec<&str> = self.world.machines.iter().map(|m| m.name.as_str()).collect();
        let master = match entry {
            Some(entry) if rng.percent(MASTER_STAYS) => entry.master.as_str(),
            Some(_) | None => rng.pick(&names),
        };
        let others: Vec<&str> = names.iter().copied().filter(|name| *name != master).collect();
        let slave = rng.percent(70).then(|| *rng.pick(&others));
        let text = if self.world.is_wild() && rng.percent(15) {
            owner.deploy_somewhere(rng.percent(50).then_some(master))
        } else {
            owner.deploy(master, slave, rng.percent(30))
        };
        self.fire("deploy", &text);
    }

    /// Git has a version.
    pub(crate) fn publish(&self, app: usize, version: Version) {
        let owner = &self.world.apps[app];
        let files = apps::files(owner, version);
        let files: Vec<_> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
        for machine in &self.world.machines {
            machine.fakes.repositories.put(&owner.id, &version.number.to_string(), &files);
        }
        self.world.trace.line("user", || format!("{version:?}"));
    }

    /// Fires an event; gossip may be slow or lose it for some nodes, never for all.
    pub(crate) fn fire(&mut self, name: &str, payload: &str) {
        let (rng, chances) = (&self.world.rng, &self.world.chances);
        let bad = self.world.is_wild() && rng.percent(chances.gossip_bad);
        let mut delays = Vec::new();
        for machine in &self.world.machines {
            let state = machine.state();
            let there = state.powered && !state.cut;
            delays.push(match there {
                false => None,
                true if bad && rng.percent(40) => None,
                true if bad && rng.percent(40) => Some(rng.millis(0..60_000)),
                true => Some(rng.millis(0..500)),
            });
        }
        if delays.iter().all(Option::is_none) {
            let up = |node: &usize| {
                let state = self.world.machines[*node].state();
                state.powered && !state.cut
            };
            let nodes: Vec<usize> = (0..delays.len()).filter(up).collect();
            if nodes.is_empty() {
                self.world.trace.line("user", || format!("nobody takes the event {name}"));
                return;
            }
            delays[*rng.pick(&nodes)] = Some(rng.millis(0..2_000));
        }
        let event = self.world.gossip.fire(name, payload, &delays);
        self.world.trace.line("user", || {
            let mark = event.id.trim_start_matches("e7e00000-0000-4000-8000-").to_owned();
            format!("{name} {mark} {payload} heard after {delays:?}")
        });
        if bad && rng.percent(50) {
            let (node, delay) = (rng.index(delays.len()), rng.millis(0..90_000));
            self.after(delay, Action::Redeliver(node, event));
        }
    }
}
