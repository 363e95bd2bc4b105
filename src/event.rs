//! From what Consul delivers to a validated request. Pure: [`decode`] neither reads nor writes anything.

mod wanted;
mod wire;

use serde::{Deserialize, Serialize};

use crate::model::{AppId, DeployId, NodeName};

pub use wanted::Wanted;

/// An event as Consul delivered it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawEvent {
    /// Consul's id of the event; it becomes the deployment's id.
    pub id: DeployId,
    /// The event's name: `deploy`, `destroy`, `migrate` or a handler's.
    pub name: String,
    /// The payload, as fired.
    pub payload: Vec<u8>,
}

/// What an operator asked for; every field is valid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Request {
    /// Bring an app to a placement.
    Deploy {
        /// The app.
        app: AppId,
        /// The node that is to run it; none: to be picked.
        master: Option<NodeName>,
        /// The node that is to hold copies.
        #[serde(rename = "slave", default, skip_serializing_if = "Wanted::is_unsaid")]
        replica: Wanted,
        /// Whether `update.sh` runs before the app starts.
        update: bool,
        /// Whether the app begins from the copies that the new master holds: its master has lost its volumes.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        from_replica: bool,
    },
    /// Remove an app, keeping its volume snapshots.
    Destroy {
        /// The app.
        app: AppId,
    },
    /// Copy the volumes of one app into another.
    Migrate {
        /// Where the volumes come from.
        app: AppId,
        /// The app that receives them.
        target: AppId,
        /// Whether the target's `update.sh` runs before it starts.
        update: bool,
    },
}

impl Request {
    /// The app that the request is about; of a migration, the app that changes.
    pub fn app(&self) -> &AppId {
        match self {
            Request::Deploy { app, .. } | Request::Destroy { app } => app,
            Request::Migrate { target, .. } => target,
        }
    }

    /// Of a migration, the app that the volumes come from.
    pub fn source(&self) -> Option<&AppId> {
        match self {
            Request::Migrate { app, .. } => Some(app),
            Request::Deploy { .. } | Request::Destroy { .. } => None,
        }
    }

    /// Whether the app is to begin from copies, because its master has lost its volumes.
    pub fn is_from_replica(&self) -> bool {
        matches!(self, Request::Deploy { from_replica: true, .. })
    }

    /// `deploy`, `destroy` or `migrate`.
    pub fn verb(&self) -> &'static str {
        match self {
            Request::Deploy { .. } => "deploy",
            Request::Destroy { .. } => "destroy",
            Request::Migrate { .. } => "migrate",
        }
    }
}

/// What an event turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded {
    /// A request, whole.
    Request(Request),
    /// The short form: the payload stands in KV under `tandem/requests/ID`.
    Reference(DeployId),
    /// Another event's name: `handlers/NAME` gets the payload.
    Handler(HandlerName),
}

/// The name of an executable in the handlers directory: letters, digits, `-` and `_`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandlerName(String);

impl HandlerName {
    /// The name as text: a single path segment.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why an event is refused. One problem, with the field that has it.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The payload is not a JSON object.
    #[error("the payload is not a JSON object")]
    NotJson(#[source] Option<serde_json::Error>),
    /// A field that has to be there is not.
    #[error("field `{0}` is missing")]
    Missing(&'static str),
    /// A field has the wrong type.
    #[error("field `{field}` must be {expected}")]
    Type {
        /// The field, dotted when nested.
        field: &'static str,
        /// What it should have been.
        expected: &'static str,
    },
    /// A field's text is not acceptable.
    #[error("field `{field}` {problem}")]
    Value {
        /// The field, dotted when nested.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The event's name could leave the handlers directory.
    #[error("event names have 1 to 64 letters, digits, '-' and '_'")]
    EventName,
}

/// Decodes an event: its name chooses the form, its payload is validated field by field.
pub fn decode(name: &str, payload: &[u8]) -> Result<Decoded, DecodeError> {
    match name {
        "deploy" | "destroy" | "migrate" => wire::decode_request(name, payload),
        other => handler_name(other).map(Decoded::Handler),
    }
}

fn handler_name(name: &str) -> Result<HandlerName, DecodeError> {
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if name.is_empty() || name.len() > 64 || !plain {
        return Err(DecodeError::EventName);
    }
    Ok(HandlerName(name.to_owned()))
}

#[cfg(test)]
mod tests;
