//! Where an app is: its master and, if it has one, its replica (called `slave` on the wire).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::app::NameError;

/// A machine of the cluster, named as in Consul's catalog.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeName(String);

impl NodeName {
    /// Parses a host name: letters, digits, `-`, `_` and `.`, 1 to 64 of them, the first a letter or digit.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        if !plain
            || text.is_empty()
            || text.len() > 64
            || !text.starts_with(|c: char| c.is_ascii_alphanumeric())
        {
            return Err(NameError::new(
                "must be a host name: 1 to 64 letters, digits, '-', '_' or '.'",
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for NodeName {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        Self::parse(&text)
    }
}

impl From<NodeName> for String {
    fn from(name: NodeName) -> String {
        name.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The pair of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// Runs the app.
    pub master: NodeName,
    /// Holds copies of its volumes.
    #[serde(rename = "slave")]
    pub replica: Option<NodeName>,
}

/// What a node is for an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Runs the app.
    Master,
    /// Holds copies of its volumes.
    #[serde(rename = "slave")]
    Replica,
    /// Neither.
    #[serde(rename = "nothing")]
    Bystander,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Master => "master",
            Role::Replica => "slave",
            Role::Bystander => "nothing",
        })
    }
}

impl Placement {
    /// The role of `node`; without a placement every node is a bystander.
    pub fn role_of(placement: Option<&Placement>, node: &NodeName) -> Role {
        match placement {
            Some(pair) if pair.master == *node => Role::Master,
            Some(pair) if pair.replica.as_ref() == Some(node) => Role::Replica,
            Some(_) | None => Role::Bystander,
        }
    }

    /// The nodes of the pair, master first.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeName> {
        std::iter::once(&self.master).chain(self.replica.as_ref())
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.replica {
            Some(replica) => write!(f, "{}/{replica}", self.master),
            None => write!(f, "{}", self.master),
        }
    }
}
