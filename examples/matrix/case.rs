//! The 12 cases: four deployments, each seen from the three nodes.

use std::fmt;

use crate::support::NODES;

/// A deployment with its old and its new pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    New,
    Swap,
    Again,
    Third,
}

/// Master and slave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) master: &'static str,
    pub(crate) slave: Option<&'static str>,
}

/// Where the app is before each deployment but the first one.
pub(crate) const HOME: Pair = Pair { master: "node1", slave: Some("node2") };

impl Kind {
    pub(crate) const ALL: [Kind; 4] = [Kind::New, Kind::Swap, Kind::Again, Kind::Third];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::New => "new",
            Kind::Swap => "swap",
            Kind::Again => "again",
            Kind::Third => "third",
        }
    }

    pub(crate) fn words(self) -> &'static str {
        match self {
            Kind::New => "new app on a pair",
            Kind::Swap => "pair swapped",
            Kind::Again => "same pair again",
            Kind::Third => "to a third node without slave",
        }
    }

    /// The pair that has the app before.
    pub(crate) fn from(self) -> Option<Pair> {
        (self != Kind::New).then_some(HOME)
    }

    /// The pair that is asked for.
    pub(crate) fn to(self) -> Pair {
        match self {
            Kind::New | Kind::Again => HOME,
            Kind::Swap => Pair { master: "node2", slave: Some("node1") },
            Kind::Third => Pair { master: "node3", slave: None },
        }
    }

    /// Whether the event asks for `update.sh`. Some do, some don't: without it, what runs is compared with what would.
    pub(crate) fn updates(self) -> bool {
        matches!(self, Kind::New | Kind::Swap)
    }

    /// Whether volumes travel.
    pub(crate) fn moves(self) -> bool {
        self.from().is_some_and(|from| from.master != self.to().master)
    }
}

impl Pair {
    pub(crate) fn role(self, node: &str) -> &'static str {
        if self.master == node {
            "master"
        } else if self.slave == Some(node) {
            "slave"
        } else {
            "nothing"
        }
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.master, self.slave.unwrap_or("-"))
    }
}

/// A deployment seen from one node: the one that a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) kind: Kind,
    pub(crate) node: &'static str,
}

impl Case {
    /// All twelve.
    pub(crate) fn all() -> impl Iterator<Item = Case> {
        Kind::ALL.into_iter().flat_map(|kind| NODES.map(|node| Case { kind, node }))
    }

    /// Old and new role.
    fn roles(self) -> (&'static str, &'static str) {
        let before = self.kind.from().map_or("nothing", |pair| pair.role(self.node));
        (before, self.kind.to().role(self.node))
    }

    /// `swap/master-slave`.
    pub(crate) fn name(self) -> String {
        format!("{}/{}", self.kind.name(), self.transition("-"))
    }

    /// `pair swapped: master → slave`.
    pub(crate) fn words(self) -> String {
        format!("{}: {}", self.kind.words(), self.transition(" → "))
    }

    fn transition(self, arrow: &str) -> String {
        match self.roles() {
            ("nothing", "nothing") => "bystander".to_owned(),
            (before, after) if before == after || self.kind == Kind::New => after.to_owned(),
            (before, after) => format!("{before}{arrow}{after}"),
        }
    }

    pub(crate) fn is_new_master(self) -> bool {
        self.kind.to().master == self.node
    }

    pub(crate) fn is_old_master(self) -> bool {
        self.kind.from().is_some_and(|pair| pair.master == self.node)
    }
    /// Whether the deployment does not concern the node.
    pub(crate) fn is_bystander(self) -> bool {
        self.roles() == ("nothing", "nothing")
    }
}
