//! Events: wake-ups by gossip, unordered, not kept.

use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;

use super::transport::Call;
use super::{Client, ConsulError, base64};

/// The room for an event's name and payload in bytes, measured on 1.8.7; newer releases take less.
const MAX_EVENT: usize = 409;

/// An event that reached this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserEvent {
    /// Its id, the same on every node.
    pub id: String,
    /// Its name: `deploy`.
    pub name: String,
    /// Its payload, as sent.
    pub payload: Vec<u8>,
    /// Its Lamport time: of two events the one with the smaller time was not fired knowing of the other.
    pub ltime: u64,
}

/// Events of the cluster, as the local agent has them.
#[async_trait]
pub trait Events: Send + Sync {
    /// The last events (256 at most), oldest first, with an index to wait from: at once without `after`, else when the
    /// index is another one or `wait` is over. The index is a hash of the last event and has no order. Events that were
    /// seen before are among them, and one may be missing.
    ///
    /// # Errors
    /// Any of [`ConsulError`].
    async fn watch_events(
        &self,
        after: Option<u64>,
        wait: Duration,
    ) -> Result<(u64, Vec<UserEvent>), ConsulError>;

    /// Fires an event and returns its id. The name is letters, digits, `-`, `_` and `.`.
    ///
    /// # Errors
    /// [`ConsulError::TooLarge`] if Consul refuses the size, [`ConsulError::Argument`] for another name, else any.
    async fn fire(&self, name: &str, payload: &[u8]) -> Result<String, ConsulError>;
}

#[derive(Deserialize)]
struct WireEvent {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "Name")]
    name: String,
    #[serde(rename = "Payload")]
    payload: Option<String>,
    #[serde(rename = "LTime", default)]
    ltime: u64,
}

#[async_trait]
impl Events for Client {
    async fn watch_events(
        &self,
        after: Option<u64>,
        wait: Duration,
    ) -> Result<(u64, Vec<UserEvent>), ConsulError> {
        let call = Call::get("event/list").blocking(after, wait);
        let reply = self.send(call).await?.success()?;
        let events = parse_events(reply.json()?)
            .map_err(|source| ConsulError::decode(reply.call(), source))?;
        Ok((reply.index()?, events))
    }

    async fn fire(&self, name: &str, payload: &[u8]) -> Result<String, ConsulError> {
        let call = format!("event/fire/{name}");
        check_name(&format!("PUT {call}"), name)?;
        let reply = self.send(Call::put(call, payload.to_vec())).await?;
        let fired = reply.success().map_err(|error| too_large(error, payload.len()))?;
        Ok(fired.json::<WireEvent>()?.id)
    }
}

/// Reads the list of events that a Consul watch of type `event` passes to its handler: the shape of `/v1/event/list`.
///
/// # Errors
/// [`ConsulError::Decode`] if it is something else.
pub fn parse_list(json: &[u8]) -> Result<Vec<UserEvent>, ConsulError> {
    const CALL: &str = "the list of events on standard input";
    let events: Option<Vec<WireEvent>> =
        serde_json::from_slice(json).map_err(|source| ConsulError::decode(CALL, source))?;
    parse_events(events.unwrap_or_default()).map_err(|source| ConsulError::decode(CALL, source))
}

fn parse_events(events: Vec<WireEvent>) -> Result<Vec<UserEvent>, ::base64::DecodeError> {
    events
        .into_iter()
        .map(|event| {
            Ok(UserEvent {
                payload: base64::decode(event.payload.as_deref())?,
                id: event.id,
                name: event.name,
                ltime: event.ltime,
            })
        })
        .collect()
}

pub(super) fn check_name(call: &str, name: &str) -> Result<(), ConsulError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.chars().all(plain) && name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Ok(());
    }
    Err(ConsulError::argument(call, "an event's name is letters, digits, '-', '_' and '.'"))
}

/// Consul answers 500 to an event that is too large, as to a lost leader; only its words tell them apart.
fn too_large(error: ConsulError, size: usize) -> ConsulError {
    if let ConsulError::Api { call, code, message } = &error
        && (*code == 413 || message.contains("exceeds"))
    {
        return ConsulError::TooLarge {
            call: call.clone(),
            what: "a payload in bytes",
            size,
            limit: MAX_EVENT.min(size.saturating_sub(1)),
        };
    }
    error
}

/// Refuses what 1.8.7 refuses, for the fake.
#[cfg(any(test, feature = "testing"))]
pub(super) fn check_size(name: &str, payload: &[u8]) -> Result<(), ConsulError> {
    let limit = MAX_EVENT.saturating_sub(name.len());
    if payload.len() <= limit {
        return Ok(());
    }
    Err(ConsulError::TooLarge {
        call: format!("PUT event/fire/{name}"),
        what: "a payload in bytes",
        size: payload.len(),
        limit,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_decoded() {
        let wire = r#"[
            {"ID":"1","Name":"deploy","Payload":"e30=","NodeFilter":"","Version":1,"LTime":4},
            {"ID":"2","Name":"ping","Payload":null,"LTime":5}]"#;
        let events = parse_events(serde_json::from_str(wire).unwrap()).unwrap();
        assert_eq!(events[0].payload, b"{}");
        assert_eq!(events[0].ltime, 4);
        assert_eq!(events[1].payload, b"");
    }

    #[test]
    fn a_name_has_no_way_out_of_its_path() {
        assert!(check_name("c", "deploy").is_ok());
        for name in ["", "a/b", "..", "a b", "a?b", "a%2F"] {
            assert!(check_name("c", name).is_err(), "{name}");
        }
    }

    #[test]
    fn an_event_too_large_is_not_taken_for_a_lost_leader() {
        let api = |message: &str| ConsulError::Api {
            call: "PUT event/fire/x".into(),
            code: 500,
            message: message.into(),
        };
        let refused = "encoded user event exceeds configured limit of 512 bytes after encoding";
        assert!(!too_large(api(refused), 420).is_transient());
        assert!(too_large(api("No cluster leader"), 420).is_transient());
    }
}
