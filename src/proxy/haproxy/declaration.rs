//! A `HAPROXY` value as types: read from JSON at the edge, every word of it from an allow-list.

use std::fmt;

use serde_json::{Map, Value};

use super::bind::{Bind, port_number};
use super::{Condition, DeclarationError, Keywords, keyword};
use crate::proxy::text::config_name;

/// `mode` of a frontend and its backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Bytes.
    Tcp,
    /// Requests.
    Http,
}

/// The two frontends that every node has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standard {
    /// `http-in`.
    Http,
    /// `https-in`.
    Https,
}

/// A frontend of an app's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frontend {
    /// Its mode, and that of its backends.
    pub mode: Mode,
    /// Where it listens.
    pub binds: Vec<Bind>,
    /// Its other lines.
    pub options: Vec<String>,
}

/// A backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// Its name, without prefix; its container's where none is given.
    pub name: String,
    /// When it is used.
    pub condition: Option<Condition>,
    /// The container's port.
    pub port: u16,
    /// The port on the master, as other nodes reach it.
    pub peer_port: Option<u16>,
    /// Words of the `server` line.
    pub server: Vec<String>,
    /// Lines of the backend.
    pub options: Vec<String>,
    /// The container.
    pub ct: String,
}

/// One CONFIG of a `HAPROXY` value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declaration {
    /// The CONFIG.
    pub name: String,
    /// A frontend of its own, or one of the two that exist.
    pub place: Result<Frontend, Standard>,
    /// The backends, at least one; those with a condition first.
    pub backends: Vec<Backend>,
}

impl Declaration {
    /// What a backend is called in HAProxy's configuration, without the prefix of who asks. Names are of their kind: one
    /// may stand in http-in, in https-in and in a frontend of the app's own. A node's own backends begin with `http` or
    /// `https`, and no name of an own backend begins with a dot.
    pub fn backend_name(&self, backend: &Backend) -> String {
        let name = &backend.name;
        match self.place {
            Ok(_) => format!("backend-{name}"),
            Err(Standard::Http) => format!("backend.http-in.{name}"),
            Err(Standard::Https) => format!("backend.https-in.{name}"),
        }
    }

    /// The mode of the frontend, which its backends share.
    pub fn mode(&self) -> Mode {
        match &self.place {
            Ok(frontend) => frontend.mode,
            Err(Standard::Http) => Mode::Http,
            Err(Standard::Https) => Mode::Tcp,
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Http => "http",
        })
    }
}

/// Reads a whole value: CONFIG to its frontend and backends. `keywords` are those that the app has beside the ones that
/// everybody has.
pub fn parse_all(
    value: &Map<String, Value>,
    keywords: &Keywords,
) -> Result<Vec<Declaration>, DeclarationError> {
    value
        .iter()
        .map(|(config, value)| {
            declaration(config, value, keywords)
                .map_err(|what| DeclarationError { config: config.clone(), what })
        })
        .collect()
}

fn declaration(config: &str, value: &Value, keywords: &Keywords) -> Result<Declaration, String> {
    config_name(config).map_err(|error| error.to_string())?;
    let fields = value.as_object().ok_or("is not an object")?;
    let place = match config {
        "http-in" => Err(Standard::Http),
        "https-in" => Err(Standard::Https),
        _ => Ok(frontend(fields.get("frontend").ok_or("lacks 'frontend'")?, keywords)?),
    };
    let mut backends = list(fields.get("backends"), "backends")?
        .iter()
        .map(|backend| self::backend(backend, place.is_err(), keywords))
        .collect::<Result<Vec<_>, _>>()?;
    // What is for everything else would take it all if it stood before a condition.
    backends.sort_by_key(|backend| backend.condition.is_none());
    if backends.is_empty() {
        return Err("lacks 'backends'".to_owned());
    }
    Ok(Declaration { name: config.to_owned(), place, backends })
}

fn frontend(value: &Value, keywords: &Keywords) -> Result<Frontend, String> {
    let fields = value.as_object().ok_or("'frontend' is not an object")?;
    let mode = match fields.get("mode").map(Value::as_str) {
        Some(Some("http")) => Mode::Http,
        Some(Some("tcp")) => Mode::Tcp,
        _ => return Err("'mode' is neither tcp nor http".to_owned()),
    };
    let binds = texts(fields.get("bind"), "bind")?
        .into_iter()
        .map(Bind::parse)
        .collect::<Result<Vec<_>, _>>()?;
    if binds.is_empty() {
        return Err("lacks 'bind'".to_owned());
    }
    Ok(Frontend { mode, binds, options: options(fields, keywords)? })
}

fn backend(value: &Value, is_standard: bool, keywords: &Keywords) -> Result<Backend, String> {
    let fields = value.as_object().ok_or("a backend is not an object")?;
    let text = |name: &str| match fields.get(name) {
        None | Some(Value::Null) => Ok(""),
        Some(value) => value.as_str().ok_or(format!("{name:?} is not a text")),
    };
    // A backend without a name has its container's.
    let ct = text("ct")?;
    let name = match text("name")? {
        "" => ct,
        name => name,
    };
    let name = config_name(name).map_err(|error| format!("backend's name {error}"))?;
    let in_backend = |what: String| format!("backend {name:?}: {what}");
    let condition = Condition::parse(text("use_backend_option")?).map_err(in_backend)?;
    if is_standard && condition.as_ref().and_then(Condition::hosts).is_none() {
        return Err(in_backend(
            "in http-in and https-in 'use_backend_option' has to name the hosts that it is for"
                .into(),
        ));
    }
    let ct = config_name(ct).map_err(|error| in_backend(format!("'ct' {error}")))?;
    Ok(Backend {
        name: name.to_owned(),
        condition,
        port: port(fields, "port")
            .map_err(in_backend)?
            .ok_or_else(|| in_backend("lacks 'port'".to_owned()))?,
        peer_port: port(fields, "peer_port").map_err(in_backend)?,
        server: keyword::server_words(text("server_option")?, keywords).map_err(in_backend)?,
        options: options(fields, keywords).map_err(in_backend)?,
        ct: ct.to_owned(),
    })
}

fn options(fields: &Map<String, Value>, keywords: &Keywords) -> Result<Vec<String>, String> {
    let lines = texts(fields.get("options"), "options")?.into_iter();
    lines.map(|line| keyword::option_line(line, keywords)).collect()
}

pub(super) fn port(fields: &Map<String, Value>, name: &str) -> Result<Option<u16>, String> {
    let text = match fields.get(name) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    };
    match port_number(&text) {
        Some(port) => Ok(Some(port)),
        None => Err(format!("{name:?} is {text:?}, not a port")),
    }
}

fn list<'a>(value: Option<&'a Value>, name: &str) -> Result<&'a [Value], String> {
    match value {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(items)) => Ok(items),
        Some(_) => Err(format!("{name:?} is not a list")),
    }
}

fn texts<'a>(value: Option<&'a Value>, name: &str) -> Result<Vec<&'a str>, String> {
    list(value, name)?
        .iter()
        .map(|item| item.as_str().ok_or(format!("{name:?} has an item that is not a text")))
        .collect()
}
