//! A choice in words, for the record.

use super::{Picking, Unfit};
use crate::model::{NodeName, Placement, Role, Wanted};
use crate::plan::RoomFacts;

impl Picking<'_> {
    /// Why this pair, if anything was left open.
    pub(super) fn reason(&self, pair: &Placement) -> Option<String> {
        if self.master.is_some() && !self.replica.is_unsaid() {
            return None;
        }
        let master = self.why(&pair.master, Role::Master, self.master.is_some());
        let replica = match &pair.replica {
            Some(name) => self.why(name, Role::Replica, !self.replica.is_unsaid()),
            None => format!("no slave ({})", self.why_none()),
        };
        let passed = match self.passed_over(pair).as_slice() {
            [] => String::new(),
            reasons => format!("; passed over: {}", reasons.join(", ")),
        };
        Some(format!("{master}, {replica}{passed}"))
    }

    /// What speaks against the nodes that were looked at and are not in the pair.
    fn passed_over(&self, pair: &Placement) -> Vec<String> {
        if self.asks_for_none() {
            return Vec::new();
        }
        let is_former =
            |name: &NodeName| self.former().into_iter().flatten().any(|former| former == name);
        let master = self.master.is_none().then_some(&pair.master);
        let replica = pair.replica.as_ref().filter(|_| self.replica.is_unsaid());
        let none_found = self.replica.is_unsaid() && pair.replica.is_none();
        let searched = none_found || master.into_iter().chain(replica).any(|name| !is_former(name));
        self.unfit(|name| pair.nodes().any(|node| node == name) || !(searched || is_former(name)))
    }

    /// `slave node2 (stays)`.
    fn why(&self, name: &NodeName, role: Role, named: bool) -> String {
        let former = Placement::role_of(self.former.as_ref(), name);
        let why = match former {
            Role::Master | Role::Replica | Role::Bystander if named => "named".to_owned(),
            Role::Master | Role::Replica if former == role => "stays".to_owned(),
            Role::Master => "was the master".to_owned(),
            Role::Replica => "was the slave".to_owned(),
            Role::Bystander => self.room(name, role),
        };
        format!("{role} {name} ({why})")
    }

    fn room(&self, name: &NodeName, role: Role) -> String {
        let most = if role == Role::Master { "most room" } else { "most room of the others" };
        match self.facts.nodes.get(name).and_then(|node| Some((node.masters, node.room?))) {
            Some((masters, RoomFacts { disk, memory, .. })) => {
                format!("{most}: disk {disk}, memory {memory}, master of {masters}")
            }
            None => most.to_owned(),
        }
    }

    fn why_none(&self) -> &'static str {
        match self.replica {
            Wanted::Nobody | Wanted::Node(_) => "none is wanted",
            Wanted::Unsaid if self.asks_for_none() => "none is named and the app has none",
            Wanted::Unsaid => "no other node can be it",
        }
    }

    /// What the operator should know of it.
    pub(super) fn warnings(&self, pair: &Placement) -> Vec<String> {
        let named = self.master.into_iter().chain(self.replica.node());
        let mut warnings: Vec<_> = named.filter_map(|name| self.against(name)).collect();
        if self.replica.is_unsaid() && self.had_replica() && pair.replica.is_none() {
            warnings.push(format!(
                "the app has lost its slave: {}",
                self.unfit(|name| *name == pair.master).join(", ")
            ));
        }
        warnings
    }

    /// What speaks against a node that is named, and that the plan does not look after itself.
    fn against(&self, name: &NodeName) -> Option<String> {
        match self.facts.nodes.get(name)?.unfit()? {
            why @ (Unfit::Draining(_) | Unfit::Full(_) | Unfit::Memory(_)) => {
                Some(format!("{name} {why}, and is named all the same"))
            }
            Unfit::Dead | Unfit::NoAgent | Unfit::Unknown | Unfit::Stale(_) => None,
        }
    }
}
