//! What Tandem reads from an app's compose file, out of what `docker compose config --format json` makes of it.

mod error;
mod files;
mod mounts;
mod networks;
mod ports;
mod text;
mod unset;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};

use super::Port;
use super::app::ProjectName;
pub use error::ManifestError;
pub use mounts::{InRepository, Mount, Mounts};
pub use networks::{PROXIES_NETWORK, Place};
use text::{list_of_urls, mapping, unescape};
pub use unset::{Unset, named_unset};

/// The largest CADDYFILE, HAPROXY or CONSUL_CHECK_URLS.
pub const MAX_VARIABLE: usize = 64 * 1024;
/// The most services of one app.
pub const MAX_SERVICES: usize = 100;
const NOT_MIGRABLE: &str = "com.github.mlfmonde.cluster.nonmigrable";

/// The parts of a compose file that matter to a deployment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Manifest {
    /// By the service's name.
    pub services: BTreeMap<String, Service>,
    /// The named volumes of the file, in the order of their keys.
    pub volumes: Vec<Volume>,
    /// Variables that it asks for and that are not set.
    pub unset: Vec<Unset>,
    /// Files that containers can't be made without, each with what it is for.
    pub files: BTreeMap<PathBuf, String>,
}

/// One service.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Service {
    /// The container's name: what `$CONTAINER` stands for.
    pub container: String,
    /// The site blocks, with `$CONTAINER` resolved and as written otherwise.
    pub caddyfile: Option<String>,
    /// The HAPROXY value: a mapping by frontend.
    pub haproxy: Option<Value>,
    /// URLs to check besides those of the site blocks.
    pub check_urls: Vec<String>,
    /// Whether it is meant to end: another service waits for it to complete.
    pub completes: bool,
    /// Whether a container that ended with 0 is meant to have ended.
    pub ends: Ends,
    /// How long it may take to stop.
    pub stop_grace: Option<Duration>,
    /// Whether Docker starts it again by itself: `no`, `always`, `unless-stopped`, `on-failure`, `on-failure:3`.
    pub restart: String,
    /// The image, if the file names one.
    pub image: Option<String>,
    /// Whether its image is built from the checkout.
    pub builds: bool,
    /// Where others find it.
    pub place: Place,
    /// The ports of the node that it publishes.
    pub ports: BTreeSet<Port>,
    /// What it mounts beside named volumes.
    pub mounts: Mounts,
    /// Whether its health check has a `start_interval`, which older Dockers do not take.
    pub start_interval: bool,
    /// How many containers it has; 0 for a service that is switched off.
    pub replicas: u64,
}

/// What it means that a service's container has ended with 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ends {
    /// Nobody says that it is to end: it may have been meant to, and is told.
    #[default]
    Maybe,
    /// It has done its work: another service waits for that, or its restart policy, written out, is `no` or `on-failure`.
    Done,
    /// Docker starts it again: it is to run for ever.
    Never,
}

/// One named volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// As Docker and buttervolume know it.
    pub name: String,
    /// As the compose file calls it: what two apps have in common.
    pub key: String,
    /// The driver, `local` unless the file says otherwise.
    pub driver: String,
    /// Whether its driver is one of those that keep BTRFS volumes.
    pub replicated: bool,
    /// Whether a migration may take it along.
    pub migratable: bool,
    /// Whether it belongs to someone else, and is neither made nor removed with the app.
    pub external: bool,
}

impl Manifest {
    /// Reads the normalised compose file of `project`; `drivers` are the names of the BTRFS volume drivers.
    pub fn parse(
        config: &Value,
        project: &ProjectName,
        drivers: &[String],
    ) -> Result<Self, ManifestError> {
        let services = section(config, "services")?;
        if services.len() > MAX_SERVICES {
            let count = services.len();
            return Err(ManifestError::TooManyServices { count });
        }
        let completing: BTreeSet<&str> = services.values().flat_map(awaited_ends).collect();
        let networks = section(config, "networks")?;
        let mut read = BTreeMap::new();
        for (name, value) in &services {
            plain("service", name)?;
            let mut service = Service::parse(name, value, project)?;
            if completing.contains(name.as_str()) {
                (service.completes, service.ends) = (true, Ends::Done);
            }
            service.place = Place::of(value, &networks, project);
            read.insert(name.clone(), service);
        }
        let volumes = section(config, "volumes")?
            .iter()
            .map(|(key, value)| Volume::parse(key, value, project, drivers))
            .collect::<Result<_, _>>()?;
        let files = files::required(config);
        Ok(Self { services: read, volumes, unset: Vec::new(), files })
    }

    /// The longest time that any service may take to stop.
    pub fn stop_grace(&self) -> Option<Duration> {
        self.services.values().filter_map(|s| s.stop_grace).max()
    }

    /// The names of the volumes that are replicated and belong to the app.
    pub fn replicated_volumes(&self) -> impl Iterator<Item = &Volume> {
        self.volumes.iter().filter(|v| v.replicated && !v.external)
    }
}

impl Service {
    fn parse(name: &str, value: &Value, project: &ProjectName) -> Result<Self, ManifestError> {
        let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        let container = text("container_name").unwrap_or_else(|| project.container(name));
        plain("container", &container)?;
        let environment = value.get("environment");
        let variable = |key: &'static str| variable(name, environment, key);
        let caddyfile = variable("CADDYFILE")?
            .map(|text| text.replace("${CONTAINER}", &container).replace("$CONTAINER", &container));
        let haproxy = match variable("HAPROXY")? {
            Some(text) => Some(mapping(name, "HAPROXY", &text)?),
            None => None,
        };
        let check_urls = match variable("CONSUL_CHECK_URLS")? {
            Some(text) => list_of_urls(name, "CONSUL_CHECK_URLS", &text)?,
            None => Vec::new(),
        };
        let serves = caddyfile.is_some() || haproxy.is_some();
        let replicas = value
            .get("scale")
            .or_else(|| value.pointer("/deploy/replicas"))
            .and_then(Value::as_u64);
        Ok(Self {
            container,
            caddyfile,
            haproxy,
            check_urls,
            completes: false,
            // What is to be reached is to run.
            ends: if serves { Ends::Never } else { text::ends(value) },
            stop_grace: text("stop_grace_period").and_then(|text| text::duration(&text)),
            restart: text::restart(value),
            image: text("image"),
            builds: value.get("build").is_some_and(|build| !build.is_null()),
            place: Place::default(),
            ports: ports::published(value),
            mounts: mounts::mounts(value),
            start_interval: value.pointer("/healthcheck/start_interval").is_some_and(is_set),
            replicas: replicas.unwrap_or(1),
        })
    }
}

impl Volume {
    fn parse(
        key: &str,
        value: &Value,
        project: &ProjectName,
        drivers: &[String],
    ) -> Result<Self, ManifestError> {
        let name = full_name(key, value, project);
        plain("volume", &name)?;
        let driver = value.get("driver").and_then(Value::as_str);
        let driver = driver.unwrap_or("local").to_owned();
        let label = value.get("labels").and_then(|labels| labels.get(NOT_MIGRABLE));
        let stays = match label {
            Some(Value::String(text)) => text == "1" || text.eq_ignore_ascii_case("true"),
            Some(Value::Bool(set)) => *set,
            Some(other) => other.as_u64() == Some(1),
            None => false,
        };
        Ok(Self {
            replicated: drivers.contains(&driver),
            migratable: !stays,
            external: is_external(value),
            key: key.to_owned(),
            name,
            driver,
        })
    }
}

/// A top-level section, empty if the file has none.
fn section(config: &Value, name: &str) -> Result<Map<String, Value>, ManifestError> {
    match config.get(name) {
        Some(Value::Object(section)) => Ok(section.clone()),
        Some(Value::Null) => Ok(Map::new()),
        None if config.is_object() => Ok(Map::new()),
        Some(_) | None => Err(ManifestError::Shape { what: format!("no mapping called {name}") }),
    }
}

/// The services that this one waits to see completed.
fn awaited_ends(service: &Value) -> impl Iterator<Item = &str> {
    let depends = service.get("depends_on").and_then(Value::as_object);
    depends.into_iter().flatten().filter_map(|(other, how)| {
        let condition = how.get("condition").and_then(Value::as_str);
        (condition == Some("service_completed_successfully")).then_some(other.as_str())
    })
}

/// The value of a variable as the app's container gets it; blank is the same as absent.
fn variable(
    service: &str,
    environment: Option<&Value>,
    variable: &'static str,
) -> Result<Option<String>, ManifestError> {
    let text = match environment {
        Some(Value::Object(map)) => map.get(variable).and_then(Value::as_str),
        Some(Value::Array(list)) => list
            .iter()
            .filter_map(|item| item.as_str()?.split_once('='))
            .find_map(|(key, value)| (key == variable).then_some(value)),
        Some(_) | None => None,
    };
    let Some(text) = text.filter(|text| !text.trim().is_empty()) else {
        return Ok(None);
    };
    if text.len() > MAX_VARIABLE {
        return Err(ManifestError::TooLarge {
            service: service.to_owned(),
            variable,
            bytes: text.len(),
        });
    }
    Ok(Some(unescape(text)))
}

/// What Docker calls a volume or network: some releases of compose print it as `name`, others leave it out.
fn full_name(key: &str, value: &Value, project: &ProjectName) -> String {
    match value.get("name").and_then(Value::as_str) {
        Some(name) => name.to_owned(),
        None if is_external(value) => key.to_owned(),
        None => project.volume(key),
    }
}

fn is_set(value: &Value) -> bool {
    !value.is_null()
}

fn is_external(value: &Value) -> bool {
    match value.get("external") {
        Some(Value::Bool(external)) => *external,
        Some(Value::Object(_)) => true,
        Some(_) | None => false,
    }
}

fn plain(what: &'static str, name: &str) -> Result<(), ManifestError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let starts = name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    if starts && name.len() <= 255 && name.chars().all(allowed) {
        return Ok(());
    }
    Err(ManifestError::Name { what, name: name.to_owned() })
}

#[cfg(test)]
mod tests;
