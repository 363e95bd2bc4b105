//! Old and new roles: which nodes have a part in a deployment.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::deployment::Transition;
use crate::model::{NodeName, Placement};

/// The transition of each node of the old and the new pair.
pub(super) fn transitions(
    old: Option<&Placement>,
    new: Option<&Placement>,
) -> BTreeMap<NodeName, Transition> {
    let nodes: BTreeSet<&NodeName> =
        old.into_iter().chain(new).flat_map(Placement::nodes).collect();
    let of = |node: &NodeName| Transition {
        from: Placement::role_of(old, node),
        to: Placement::role_of(new, node),
    };
    nodes.into_iter().map(|node| (node.clone(), of(node))).collect()
}
