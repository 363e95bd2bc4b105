//! Caddy's whole configuration as text: thousands of apps' routes as JSON values would take many times the memory, and
//! are never looked at again.

use std::borrow::Cow;
use std::io::{self, Write};

use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

/// Lists of routes that stand ready as text, by where they go.
pub(super) type Lists<'a> = [(&'static str, Vec<Cow<'a, str>>)];

/// A configuration for Caddy to load. It bears a mark, made from all of it, which the running Caddy tells again: so it can
/// be asked what it runs without being asked for all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaddyConfig {
    mark: String,
    text: String,
}

/// Where the mark stands: an object that is small, because Caddy answers with it. It takes `@id` away before it reads the
/// rest.
const MARKED: &str = "/admin/config";
const ID: &str = "@id";

impl CaddyConfig {
    /// Puts the lists in their places, and the mark.
    pub(super) fn new(mut frame: Value, lists: &Lists<'_>) -> Self {
        let mark = {
            let digest = digest(&SHA256, text(&frame, lists).as_bytes());
            let hash: String =
                digest.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
            format!("tandem-{hash}")
        };
        if let Some(Value::Object(fields)) = frame.pointer_mut(MARKED) {
            fields.insert(ID.to_owned(), json!(mark));
        }
        Self { text: text(&frame, lists), mark }
    }

    /// The id by which Caddy finds the mark.
    pub fn mark(&self) -> &str {
        &self.mark
    }

    /// The text, as it is loaded and kept.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text, read.
    pub fn value(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    /// The mark of a configuration, if it has one.
    pub fn mark_of(config: &Value) -> Option<&str> {
        config.pointer(MARKED)?.get(ID)?.as_str()
    }
}

fn text(frame: &Value, lists: &Lists<'_>) -> String {
    let size = lists.iter().flat_map(|(_, list)| list).map(|text| text.len() + 2).sum::<usize>();
    let mut out = Vec::with_capacity(size + 4096);
    // A Vec takes everything.
    let _ = write(&mut out, frame, &mut String::new(), lists);
    out.push(b'\n');
    String::from_utf8(out).unwrap_or_default()
}

fn write(
    out: &mut Vec<u8>,
    value: &Value,
    place: &mut String,
    lists: &Lists<'_>,
) -> io::Result<()> {
    if let Some((_, list)) = lists.iter().find(|(at, _)| at == place) {
        out.push(b'[');
        for (number, text) in list.iter().enumerate() {
            out.write_all(if number == 0 { b"\n" } else { b",\n" })?;
            out.write_all(text.as_bytes())?;
        }
        out.push(b']');
        return Ok(());
    }
    let Value::Object(fields) = value else {
        return serde_json::to_writer(out, value).map_err(io::Error::from);
    };
    out.push(b'{');
    for (number, (key, value)) in fields.iter().enumerate() {
        if number > 0 {
            out.push(b',');
        }
        serde_json::to_writer(&mut *out, key).map_err(io::Error::from)?;
        out.push(b':');
        let length = place.len();
        place.push('/');
        place.push_str(key);
        write(out, value, place, lists)?;
        place.truncate(length);
    }
    out.push(b'}');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(routes: &[&'static str]) -> CaddyConfig {
        let frame = json!({"admin": {"config": {"persist": false}}, "a": {"routes": [], "x": ["/a/routes", null]}});
        let routes = routes.iter().map(|text| Cow::Borrowed(*text)).collect();
        CaddyConfig::new(frame, &[("/a/routes", routes)])
    }

    #[test]
    fn the_lists_stand_in_their_places_and_the_mark_follows_the_whole() {
        let config = made(&[r#"{"b":1}"#, r#"{"c":"]"}"#]);
        let value = config.value();
        assert_eq!(value["a"], json!({"routes": [{"b": 1}, {"c": "]"}], "x": ["/a/routes", null]}));
        assert_eq!(CaddyConfig::mark_of(&value), Some(config.mark()));
        assert_eq!(value["admin"]["config"]["persist"], false);
        assert_eq!(made(&[r#"{"b":1}"#, r#"{"c":"]"}"#]), config);
        assert_ne!(made(&[r#"{"b":1}"#]).mark(), config.mark());
        assert_eq!(made(&[]).value()["a"]["routes"], json!([]));
        assert_eq!(CaddyConfig::mark_of(&json!({"admin": {}})), None);
    }
}
