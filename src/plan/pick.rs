//! Picks the nodes that a `deploy` leaves open, and says why.
//!
//! The app stays with nodes that have its data where they are fit for it; otherwise the node is taken where one more
//! app would have the most room.

mod reason;
mod unfit;

use std::cmp::Reverse;

use super::{Facts, Refusal};
use crate::model::{NodeName, Placement, Wanted};

pub use unfit::Unfit;

/// How a pair came about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// Why these nodes, in one line; none: the event left nothing open.
    pub reason: Option<String>,
    /// What the operator should know of it.
    pub warnings: Vec<String>,
}

/// The pair that a `deploy` is to lead to.
///
/// | master | slave | the app has a pair | a master alone | is new |
/// |---|---|---|---|---|
/// | left open | left open | they swap | it stays, a slave is picked | both are picked |
/// | left open | named, or none | the master stays | the master stays | the master is picked |
/// | named | left open | the slave stays, or the former master where the slave becomes the master | no slave | no slave |
/// | named | named, or none | as named | as named | as named |
///
/// Who would stay or swap and is unfit is replaced by the other of the former pair, or else by the node with the most
/// room. A node that is named is never replaced. To find no master is a refusal, to find no slave is none.
pub(super) fn pick(
    master: Option<&NodeName>,
    replica: &Wanted,
    facts: &Facts,
) -> Result<(Placement, Choice), Refusal> {
    let former = facts.app.as_ref().map(|app| app.placement());
    let picking = Picking { master, replica, facts, former };
    let master = match master {
        Some(name) => name.clone(),
        None => picking.pick_master()?,
    };
    let replica = match replica {
        Wanted::Node(name) => Some(name.clone()),
        Wanted::Nobody => None,
        Wanted::Unsaid => picking.pick_replica(&master),
    };
    let pair = Placement { master, replica };
    let choice = Choice { reason: picking.reason(&pair), warnings: picking.warnings(&pair) };
    Ok((pair, choice))
}

/// What an event asks for, and what there is to choose from.
struct Picking<'a> {
    master: Option<&'a NodeName>,
    replica: &'a Wanted,
    facts: &'a Facts,
    former: Option<Placement>,
}

impl Picking<'_> {
    fn pick_master(&self) -> Result<NodeName, Refusal> {
        let [master, replica] = self.former();
        let preferred =
            if self.replica.is_unsaid() { [replica, master] } else { [master, replica] };
        let taken = self.replica.node();
        self.first(preferred, taken).ok_or_else(|| {
            let slave = taken.map(|name| format!("{name} is to be the slave"));
            let unfit = self.unfit(|name| Some(name) == taken);
            Refusal::NoMaster(slave.into_iter().chain(unfit).collect::<Vec<_>>().join(", "))
        })
    }

    /// An older client that names a master and leaves the slave out means none. So an app never gets a slave by that; but
    /// it does not lose the one that it has either: saying nothing is no order to give up the copies.
    fn pick_replica(&self, master: &NodeName) -> Option<NodeName> {
        if self.asks_for_none() {
            return None;
        }
        let [former_master, former_replica] = self.former();
        self.first([former_replica, former_master], Some(master))
    }

    fn former(&self) -> [Option<&NodeName>; 2] {
        let former = self.former.as_ref();
        [former.map(|pair| &pair.master), former.and_then(|pair| pair.replica.as_ref())]
    }

    /// The first fit node: of those preferred, then by room, then by name.
    fn first(
        &self,
        preferred: [Option<&NodeName>; 2],
        taken: Option<&NodeName>,
    ) -> Option<NodeName> {
        let mut by_room: Vec<_> = self.facts.nodes.iter().collect();
        by_room.sort_by_key(|(_, node)| Reverse(node.room_for_one_more()));
        let by_room = by_room.into_iter().map(|(name, _)| name);
        let fit = |name: &NodeName| {
            let node = self.facts.nodes.get(name);
            Some(name) != taken && node.is_some_and(|node| node.unfit().is_none())
        };
        preferred.into_iter().flatten().chain(by_room).find(|name| fit(name)).cloned()
    }

    /// What speaks against each node that is unfit or gone, but for those `taken`.
    fn unfit(&self, taken: impl Fn(&NodeName) -> bool) -> Vec<String> {
        let nodes = &self.facts.nodes;
        let unfit = nodes.iter().filter_map(|(name, node)| Some((name, node.unfit()?.to_string())));
        let former = self.former().into_iter().flatten();
        let gone = former.filter(|name| !nodes.contains_key(name));
        let gone = gone.map(|name| (name, "has left the cluster".to_owned()));
        let others = unfit.chain(gone).filter(|(name, _)| !taken(name));
        others.map(|(name, why)| format!("{name} {why}")).collect()
    }

    /// An event that names a master and says nothing of a slave, about an app without one: see [`Self::pick_replica`].
    fn asks_for_none(&self) -> bool {
        self.master.is_some() && self.replica.is_unsaid() && !self.had_replica()
    }

    fn had_replica(&self) -> bool {
        self.former.as_ref().is_some_and(|pair| pair.replica.is_some())
    }
}

#[cfg(test)]
mod tests;
