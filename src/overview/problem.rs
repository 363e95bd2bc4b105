//! What is wrong, each in a line, with the way on where there is one.

use std::fmt;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

use crate::error::chain;
use crate::model::deployment::Deployment;
use crate::model::{AppName, DeployId, NodeName, keys};
use crate::records::{Failing, RecordError, Rejection, name_of};
use crate::replication::age;

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// A record that can't be read.
    Unreadable {
        /// Its key.
        key: String,
        /// Why, with the key, and the way on.
        why: String,
    },
    /// An app is under maintenance by a key without a value.
    Unsaid(AppName),
    /// Somebody made a volume anew in place of an app's own.
    Strange {
        /// The app.
        app: AppName,
        /// The volume.
        volume: String,
        /// Its master.
        master: NodeName,
        /// When that was seen.
        since: DateTime<Utc>,
        /// The newest copy of what it was.
        copy: Option<String>,
    },
    /// A volume's copy is too old, or none arrives.
    Replica {
        /// The app.
        app: AppName,
        /// What is wrong with which volume.
        line: String,
    },
    /// A node's clock is ahead of the one here.
    Clock {
        /// The node.
        node: NodeName,
        /// By so much.
        ahead: TimeDelta,
    },
    /// A node's proxies do not have what they should have.
    Proxies {
        /// The node.
        node: NodeName,
        /// Since when, and why.
        failing: Failing,
    },
    /// What a node's agent tells.
    Told {
        /// The node.
        node: NodeName,
        /// In its words.
        line: String,
    },
    /// A node could not do yet what it owes.
    Owed {
        /// The app.
        app: AppName,
        /// What is next, and the command that gives it up.
        task: String,
    },
    /// An event that came to nothing.
    Rejected {
        /// The event's id.
        id: DeployId,
        /// Why.
        rejection: Rejection,
    },
}

impl Problem {
    /// A record that can't be read.
    pub(super) fn unreadable(error: &RecordError) -> Self {
        Self::Unreadable { key: error.key().to_owned(), why: unreadable(error) }
    }
}

/// What to say of a record that can't be read: why, and the way on.
pub fn unreadable(error: &RecordError) -> String {
    let (problem, key) = (chain(error), error.key());
    let is_broken = matches!(error, RecordError::Unreadable { .. });
    if !is_broken || name_of::<Deployment>(key).is_none() {
        return problem;
    }
    format!(
        "{problem}; an agent that worked on the deployment puts it back within seconds. If it stays so, nobody goes on with \
         that deployment: give it up (consul kv delete {key}) and deploy again"
    )
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { why, .. } => f.write_str(why),
            // Whose such a key is, nobody can tell: the older system's handler leaves some behind.
            Self::Unsaid(app) => {
                let key = keys::maintenance(app);
                write!(
                    f,
                    "{app}: under maintenance by a key without a value, as the older system may have left it: consul kv \
                     delete {key} ends it, consul kv put {key} yes says that it is meant"
                )
            }
            Self::Strange { app, volume, master, since, copy } => {
                let since = since.to_rfc3339_opts(SecondsFormat::Secs, true);
                let copy = copy.as_deref().unwrap_or("none is known");
                write!(
                    f,
                    "{app}: volume {volume} on {master} was made anew, and not by a deployment, seen at {since}; the \
                     newest copy of what it was, which stays: {copy}. If what it holds now is right: consul kv delete \
                     {}; if not, stop the app, docker volume rm {volume}, and deploy with from_replica",
                    keys::lines(app)
                )
            }
            Self::Replica { app, line } => write!(f, "replica of {app}: {line}"),
            Self::Clock { node, ahead } => write!(
                f,
                "{node}: its clock is {} ahead of the one here: ages and times that it tells are wrong, set its clock",
                age(*ahead)
            ),
            Self::Proxies { node, failing } => {
                write!(f, "{node}: proxies, since {}: {}", failing.since, failing.why)
            }
            Self::Told { node, line } => write!(f, "{node}: {line}"),
            Self::Owed { app, task } => write!(f, "{app}: {task}"),
            Self::Rejected { id, rejection } => write!(
                f,
                "event {id} ({}) refused at {}: {}",
                rejection.event, rejection.at, rejection.reason
            ),
        }
    }
}
