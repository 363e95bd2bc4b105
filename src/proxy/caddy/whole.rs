//! Caddy's whole configuration as text: thousands of apps' routes as JSON values would take many times the memory, and
//! are never looked at again.

use std::borrow::Cow;
use std::io::{self, Write};

use ring::digest::{Context, SHA256};
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
/// For what the mark takes besides itself.
const ROOM: usize = 16;

impl CaddyConfig {
    /// Puts the lists in their places, and the mark.
    pub(super) fn new(mut frame: Value, lists: &Lists<'_>) -> Self {
        let mut hashed = Hashed { context: Context::new(&SHA256), length: 0 };
        // It takes everything, as a Vec does.
        let _ = write_all(&mut hashed, &frame, lists);
        let digest = hashed.context.finish();
        let hash: String =
            digest.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        let mark = format!("tandem-{hash}");
        if let Some(Value::Object(fields)) = frame.pointer_mut(MARKED) {
            fields.insert(ID.to_owned(), json!(mark));
        }
        let mut out = Vec::with_capacity(hashed.length + mark.len() + ROOM);
        let _ = write_all(&mut out, &frame, lists);
        Self { text: String::from_utf8(out).unwrap_or_default(), mark }
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

/// Only to know the text's hash and length: it can be tens of megabytes.
struct Hashed {
    context: Context,
    length: usize,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.context.update(bytes);
        self.length += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_all(out: &mut impl Write, frame: &Value, lists: &Lists<'_>) -> io::Result<()> {
    write(out, frame, &mut String::new(), lists)?;
    out.write_all(b"\n")
}

fn write(
    out: &mut impl Write,
    value: &Value,
    place: &mut String,
    lists: &Lists<'_>,
) -> io::Result<()> {
    if let Some((_, list)) = lists.iter().find(|(at, _)| at == place) {
        out.write_all(b"[")?;
        for (number, text) in list.iter().enumerate() {
            out.write_all(if number == 0 { b"\n" } else { b",\n" })?;
            out.write_all(text.as_bytes())?;
        }
        return out.write_all(b"]");
    }
    let Value::Object(fields) = value else {
        return serde_json::to_writer(out, value).map_err(io::Error::from);
    };
    out.write_all(b"{")?;
    for (number, (key, value)) in fields.iter().enumerate() {
        if number > 0 {
            out.write_all(b",")?;
        }
        serde_json::to_writer(&mut *out, key).map_err(io::Error::from)?;
        out.write_all(b":")?;
        let length = place.len();
        place.push('/');
        place.push_str(key);
        write(out, value, place, lists)?;
        place.truncate(length);
    }
    out.write_all(b"}")
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
