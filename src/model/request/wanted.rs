//! What a `deploy` says about the slave. In JSON: no field, `null`, a name.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::NodeName;

/// The three things that an event can say about a node that need not be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Wanted {
    /// Nothing: it is left to Tandem.
    #[default]
    Unsaid,
    /// That there is to be none.
    Nobody,
    /// Which one.
    Node(NodeName),
}

impl Wanted {
    /// The node that is named, if one is.
    pub fn node(&self) -> Option<&NodeName> {
        match self {
            Self::Node(name) => Some(name),
            Self::Unsaid | Self::Nobody => None,
        }
    }

    /// Whether it is left to Tandem.
    pub fn is_unsaid(&self) -> bool {
        *self == Self::Unsaid
    }
}

/// A decision, either way.
impl From<Option<NodeName>> for Wanted {
    fn from(node: Option<NodeName>) -> Self {
        node.map_or(Self::Nobody, Self::Node)
    }
}

impl Serialize for Wanted {
    /// `Unsaid` has no value: the field has to be left out.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.node().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Wanted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::<NodeName>::deserialize(deserializer).map(Self::from)
    }
}
