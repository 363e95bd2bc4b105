//! From what Consul delivers to a validated request. Pure: [`decode`] neither reads nor writes anything.

mod wire;

use crate::model::{DeployId, Request};

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

/// The payload of the event that asks for this; its name is [`Request::verb`].
pub fn encode(request: &Request) -> Vec<u8> {
    wire::encode_request(request).to_string().into_bytes()
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
