//! The ports of the node that a service publishes.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::model::{Port, Protocol};

/// The ports that are named. Where Docker is to pick one, out of a range or of all, nobody else's is taken.
pub(super) fn published(service: &Value) -> BTreeSet<Port> {
    let ports = service.get("ports").and_then(Value::as_array).into_iter().flatten();
    ports.filter_map(one).collect()
}

fn one(port: &Value) -> Option<Port> {
    let number = match port.get("published")? {
        Value::String(text) => text.parse().ok()?,
        Value::Number(number) => u16::try_from(number.as_u64()?).ok()?,
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    let protocol = match port.get("protocol").and_then(Value::as_str) {
        Some("tcp") | None => Protocol::Tcp,
        Some("udp") => Protocol::Udp,
        Some(_) => return None,
    };
    (number > 0).then_some(Port { number, protocol })
}
