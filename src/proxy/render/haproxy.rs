//! The parts of `haproxy.cfg` that apps and swarm keys ask for.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;
use serde_json::{Map, Value};

use super::claims::Claims;
use super::context::in_front_of_port;
use super::{by_age, is_container, source};
use crate::model::NodeName;
use crate::proxy::haproxy::{
    Backend, Condition, Declaration, Standard, parse_all, unique_backends,
};
use crate::proxy::text::haproxy_words;
use crate::proxy::{ClusterView, Problem, ProxySettings};

/// `use_backend NAME [if …]`
#[derive(Debug, Clone, Serialize)]
pub(super) struct Use {
    pub(super) backend: String,
    /// With a space in front, or empty.
    pub(super) condition: String,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct FrontendPart {
    name: String,
    mode: String,
    options: Vec<String>,
    binds: Vec<String>,
    uses: Vec<Use>,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct BackendPart {
    name: String,
    mode: String,
    options: Vec<String>,
    server: String,
}

/// What one source adds.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Part {
    pub(super) source: String,
    pub(super) frontends: Vec<FrontendPart>,
    pub(super) backends: Vec<BackendPart>,
    pub(super) http_uses: Vec<Use>,
    pub(super) https_uses: Vec<Use>,
}

/// Who asks, and what makes its names and servers.
struct Asker<'a> {
    source: String,
    prefix: &'static str,
    settings: &'a ProxySettings,
    server: &'a dyn Fn(&Backend) -> Result<String, String>,
}

/// The parts so far, and what was left out.
struct Gather<'a> {
    settings: &'a ProxySettings,
    claims: &'a mut Claims,
    problems: &'a mut Vec<Problem>,
    parts: BTreeMap<String, Part>,
}

pub(super) fn parts(
    view: &ClusterView,
    settings: &ProxySettings,
    addresses: &BTreeMap<NodeName, IpAddr>,
    claims: &mut Claims,
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, Part> {
    let mut gather = Gather { settings, claims, problems, parts: BTreeMap::new() };
    for (name, record) in by_age(view) {
        if !record.haproxy.is_empty() && !view.maintenance.contains(name) {
            let server = |backend: &Backend| {
                if !is_container(name, record, &backend.ct) {
                    return Err(format!("{:?} is not a container of the app", backend.ct));
                }
                server_of_app(view, &record.master, addresses, backend)
            };
            gather.add(source(name), "", &server, &record.haproxy);
        }
    }
    for (key, value) in &view.swarm {
        gather.swarm(key, value);
    }
    gather.parts
}

/// The container where the app runs here, the master's own frontend elsewhere.
fn server_of_app(
    view: &ClusterView,
    master: &NodeName,
    addresses: &BTreeMap<NodeName, IpAddr>,
    backend: &Backend,
) -> Result<String, String> {
    let Some(peer) = backend.peer_port else {
        return Err(format!("backend {:?} lacks 'peer_port'", backend.name));
    };
    if *master == view.me {
        return Ok(by_name(master.as_str(), backend));
    }
    match addresses.get(master) {
        Some(ip) => {
            let place = format!("{}:{peer}", in_front_of_port(*ip));
            Ok(line(master.as_str(), &place, &backend.server))
        }
        None => Err(format!("its master {master} is not known")),
    }
}

impl Gather<'_> {
    fn add(
        &mut self,
        source: String,
        prefix: &'static str,
        server: &dyn Fn(&Backend) -> Result<String, String>,
        value: &Map<String, Value>,
    ) {
        let before = self.claims.mark();
        let asker = Asker { source, prefix, settings: self.settings, server };
        match asker.part(value, self.claims) {
            Ok(part) => {
                self.parts.insert(asker.source, part);
            }
            Err(what) => {
                self.claims.give_back_since(before);
                self.problems.push(Problem::new(asker.source, what));
            }
        }
    }

    fn swarm(&mut self, key: &str, value: &Value) {
        let source = format!("swarm/{key}");
        let server = |backend: &Backend| Ok(by_name("swarm_service", backend));
        // The key stands in a comment.
        let wrong = match (haproxy_words(key), value.get("haproxy")) {
            (_, None | Some(Value::Null)) => return,
            (Err(error), _) => format!("the key {error}"),
            (Ok(_), Some(Value::Object(value))) => {
                return self.add(source, "swarm-", &server, value);
            }
            (Ok(_), Some(_)) => "'haproxy' is not an object".to_owned(),
        };
        self.problems.push(Problem::new(source, wrong));
    }
}

/// A server that Docker's DNS knows, now or later.
fn by_name(server: &str, backend: &Backend) -> String {
    let mut words = backend.server.clone();
    if !words.iter().any(|word| word == "resolvers") {
        words.extend(["resolvers", "dns"].map(str::to_owned));
    }
    line(server, &format!("{}:{}", backend.ct, backend.port), &words)
}

fn line(name: &str, place: &str, words: &[String]) -> String {
    let words: String = words.iter().map(|word| format!(" {word}")).collect();
    format!("{name} {place}{words}")
}

impl Asker<'_> {
    fn part(&self, value: &Map<String, Value>, claims: &mut Claims) -> Result<Part, String> {
        let declarations = parse_all(value).map_err(|error| error.to_string())?;
        unique_backends(&declarations).map_err(|error| error.to_string())?;
        let mut part = Part { source: self.source.clone(), ..Part::default() };
        for declaration in &declarations {
            self.add(declaration, &mut part, claims)
                .map_err(|what| format!("HAPROXY {:?}: {what}", declaration.name))?;
        }
        Ok(part)
    }

    fn add(
        &self,
        declaration: &Declaration,
        part: &mut Part,
        claims: &mut Claims,
    ) -> Result<(), String> {
        let mut uses = Vec::new();
        for backend in &declaration.backends {
            let name = format!("{}backend-{}", self.prefix, backend.name);
            claims.take_once("the backend", &name, &self.source)?;
            if declaration.place.is_err() {
                let hosts = backend.condition.as_ref().and_then(Condition::hosts);
                for host in hosts.into_iter().flatten() {
                    claims.take("the host", &host, &self.source)?;
                }
            }
            let condition = backend.condition.as_ref();
            uses.push(Use {
                backend: name.clone(),
                condition: condition.map_or(String::new(), |condition| format!(" {condition}")),
            });
            part.backends.push(BackendPart {
                name,
                mode: declaration.mode().to_string(),
                options: backend.options.clone(),
                server: (self.server)(backend)?,
            });
        }
        let frontend = match &declaration.place {
            Ok(frontend) => frontend,
            Err(Standard::Http) => {
                part.http_uses.extend(uses);
                return Ok(());
            }
            Err(Standard::Https) => {
                part.https_uses.extend(uses);
                return Ok(());
            }
        };
        let name = format!("{}front-{}", self.prefix, declaration.name);
        claims.take_once("the frontend", &name, &self.source)?;
        for bind in &frontend.binds {
            if self.settings.is_reserved(bind.port) {
                return Err(format!("port {} is reserved", bind.port));
            }
            claims.take_once("port", &bind.port.to_string(), &self.source)?;
        }
        part.frontends.push(FrontendPart {
            name,
            mode: frontend.mode.to_string(),
            options: frontend.options.clone(),
            binds: frontend.binds.iter().map(ToString::to_string).collect(),
            uses,
        });
        Ok(())
    }
}
