//! The parts of `haproxy.cfg` that apps and swarm keys ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::Serialize;
use serde_json::{Map, Value};

use super::containers::is_container;
use super::context::in_front_of_port;
use super::prepared::App;
use crate::model::claims::{Claims, Kind};
use crate::model::{AppName, NodeName};
use crate::proxy::haproxy::{
    Backend, Bind, Condition, Declaration, Frontend, Mode, Standard, parse_all, unique_backends,
};
use crate::proxy::text::haproxy_words;
use crate::proxy::{ClusterView, Policy, Problem, ProxySettings};

/// `use_backend NAME [if …]`
#[derive(Debug, Clone, Serialize)]
pub(super) struct Use {
    pub(super) backend: String,
    /// With a space in front, or empty.
    pub(super) condition: String,
    /// The app, whose hand-over what arrives waits for; none for swarm keys.
    pub(super) app: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct FrontendPart {
    name: String,
    mode: String,
    is_http: bool,
    app: Option<String>,
    options: Vec<String>,
    binds: Vec<String>,
    uses: Vec<Use>,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct BackendPart {
    name: String,
    mode: String,
    /// The server that is enabled where the app is on this node; none: it is on every node.
    here: Option<String>,
    options: Vec<String>,
    servers: Vec<Server>,
}

/// A `server` line. A backend has one for each node that may be the master, and only the master's is enabled: it changes
/// in the running process.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Server {
    name: String,
    line: String,
    is_enabled: bool,
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
    app: Option<String>,
    me: &'a NodeName,
    settings: &'a ProxySettings,
    policy: &'a Policy,
    servers: &'a Servers<'a>,
}

/// The servers of a backend.
type Servers<'a> = dyn Fn(&Backend) -> Result<Vec<Server>, String> + 'a;

/// The parts so far, and what was left out.
struct Gather<'a> {
    me: &'a NodeName,
    settings: &'a ProxySettings,
    claims: &'a mut Claims,
    problems: &'a mut Vec<Problem>,
    parts: BTreeMap<String, Part>,
}

pub(super) fn parts(
    view: &ClusterView,
    apps: &[App<'_>],
    settings: &ProxySettings,
    addresses: &BTreeMap<NodeName, IpAddr>,
    claims: &mut Claims,
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, Part> {
    let mut gather = Gather { me: &view.me, settings, claims, problems, parts: BTreeMap::new() };
    for App { name, record, policy, prepared, .. } in apps {
        let is_served = !view.maintenance.contains(name) || view.held.contains(name);
        if !record.haproxy.is_empty() && is_served {
            let servers = |backend: &Backend| {
                let is_elsewhere = policy.may_dial(&backend.ct, backend.port);
                if !is_elsewhere && !is_container(name, record, &backend.ct) {
                    return Err(format!("{:?} is not a container of the app", backend.ct));
                }
                servers_of_app(view, &record.master, addresses, backend)
            };
            let source = prepared.source.to_string();
            gather.add(source, "", Some(name), policy, &servers, &record.haproxy);
        }
    }
    for (key, value) in &view.swarm {
        gather.swarm(key, value);
    }
    gather.parts
}

/// The container where the app runs here, the frontend of the node where it runs elsewhere.
fn servers_of_app(
    view: &ClusterView,
    master: &NodeName,
    addresses: &BTreeMap<NodeName, IpAddr>,
    backend: &Backend,
) -> Result<Vec<Server>, String> {
    let Some(peer) = backend.peer_port else {
        return Err(format!("backend {:?} lacks 'peer_port'", backend.name));
    };
    if *master != view.me && !addresses.contains_key(master) {
        return Err(format!("its master {master} is not known"));
    }
    let here = Server {
        name: view.me.to_string(),
        line: by_name(view.me.as_str(), backend, "containers"),
        is_enabled: *master == view.me,
    };
    let others = addresses.iter().filter(|(node, _)| **node != view.me);
    let others = others.map(|(node, ip)| {
        let place = format!("{}:{peer}", in_front_of_port(*ip));
        let line = line(node.as_str(), &place, &backend.server);
        Server { name: node.to_string(), line, is_enabled: node == master }
    });
    Ok(std::iter::once(here).chain(others).collect())
}

impl Gather<'_> {
    fn add(
        &mut self,
        source: String,
        prefix: &'static str,
        app: Option<&AppName>,
        policy: &Policy,
        servers: &Servers<'_>,
        value: &Map<String, Value>,
    ) {
        let before = self.claims.mark();
        let app = app.map(ToString::to_string);
        let asker =
            Asker { source, prefix, app, me: self.me, settings: self.settings, policy, servers };
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
        let servers = |backend: &Backend| {
            let name = "swarm_service";
            let line = by_name(name, backend, "dns");
            Ok(vec![Server { name: name.to_owned(), line, is_enabled: true }])
        };
        // The key stands in a comment.
        let wrong = match (haproxy_words(key), value.get("haproxy")) {
            (_, None | Some(Value::Null)) => return,
            (Err(error), _) => format!("the key {error}"),
            (Ok(_), Some(Value::Object(value))) => {
                return self.add(source, "swarm-", None, &Policy::DEFAULT, &servers, value);
            }
            (Ok(_), Some(_)) => "'haproxy' is not an object".to_owned(),
        };
        self.problems.push(Problem::new(source, wrong));
    }
}

/// A server that Docker's DNS knows, now or later.
fn by_name(server: &str, backend: &Backend, resolvers: &str) -> String {
    let mut words = backend.server.clone();
    if !words.iter().any(|word| word == "resolvers") {
        words.extend(["resolvers", resolvers].map(str::to_owned));
    }
    line(server, &format!("{}:{}", backend.ct, backend.port), &words)
}

fn line(name: &str, place: &str, words: &[String]) -> String {
    let words: String = words.iter().map(|word| format!(" {word}")).collect();
    format!("{name} {place}{words}")
}

impl Part {
    /// Which servers are enabled, by backend and server.
    pub(super) fn servers(&self) -> impl Iterator<Item = ((String, String), bool)> {
        self.backends.iter().flat_map(|backend| {
            let name = |server: &Server| (backend.name.clone(), server.name.clone());
            backend.servers.iter().map(move |server| (name(server), server.is_enabled))
        })
    }

    /// The ports that its frontends bind.
    pub(super) fn ports(&self) -> BTreeSet<u16> {
        let binds = self.frontends.iter().flat_map(|frontend| &frontend.binds);
        let places = binds.filter_map(|bind| bind.split(' ').next()?.rsplit_once(':'));
        places.filter_map(|(_, port)| port.parse().ok()).collect()
    }

    /// A text that is another one when HAProxy's part is, but for the servers that are enabled.
    pub(super) fn fingerprint(&self) -> String {
        let mut part = self.clone();
        let servers = part.backends.iter_mut().flat_map(|backend| &mut backend.servers);
        servers.for_each(|server| server.is_enabled = true);
        format!("{part:?}")
    }
}

impl Asker<'_> {
    fn part(&self, value: &Map<String, Value>, claims: &mut Claims) -> Result<Part, String> {
        let declarations =
            parse_all(value, self.policy.keywords()).map_err(|error| error.to_string())?;
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
            let name = format!("{}{}", self.prefix, declaration.backend_name(backend));
            claims.take_once(Kind::Backend, &name, &self.source)?;
            if declaration.place.is_err() {
                let hosts = backend.condition.as_ref().and_then(Condition::hosts);
                for host in hosts.into_iter().flatten() {
                    self.policy.check_host(&host)?;
                    claims.take(Kind::Host, &host, &self.source)?;
                }
            }
            let condition = backend.condition.as_ref();
            uses.push(Use {
                backend: name.clone(),
                condition: condition.map_or(String::new(), |condition| format!(" {condition}")),
                app: self.app.clone(),
            });
            part.backends.push(BackendPart {
                name,
                mode: declaration.mode().to_string(),
                here: self.app.as_ref().map(|_| self.me.to_string()),
                options: backend.options.clone(),
                servers: (self.servers)(backend)?,
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
        claims.take_once(Kind::Frontend, &name, &self.source)?;
        for bind in &frontend.binds {
            let is_given = self.policy.may_bind(bind.port) && !self.settings.is_own(bind.port);
            if self.settings.is_reserved(bind.port) && !is_given {
                return Err(format!("port {} is reserved", bind.port));
            }
            claims.take_once(Kind::Port, &bind.port.to_string(), &self.source)?;
        }
        part.frontends.push(FrontendPart {
            name,
            mode: frontend.mode.to_string(),
            is_http: frontend.mode == Mode::Http,
            app: self.app.clone(),
            options: frontend.options.clone(),
            binds: self.binds(frontend),
            uses,
        });
        Ok(())
    }

    fn binds(&self, frontend: &Frontend) -> Vec<String> {
        let by_ipv6 = |bind: &Bind| bind.by_ipv6().filter(|_| self.settings.ipv6);
        let binds = frontend.binds.iter();
        binds.flat_map(|bind| std::iter::once(bind.to_string()).chain(by_ipv6(bind))).collect()
    }
}
