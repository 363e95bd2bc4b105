//! Settings from flags, `TANDEM_*` environment and a YAML file, in that order; every wrong one is reported at once.

mod settings;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use settings::Reader;
pub use settings::{RawSettings, SETTINGS, Setting};

use crate::model::NodeName;
use crate::proxy::Issuer;

/// buttervolume forgets what it has done a day ago: what is scheduled more rarely, it never does.
const MOST_MINUTES: u32 = 1440;

/// Where the settings file is looked for when none is named.
pub const DEFAULT_FILE: &str = "/etc/tandem/tandem.yml";

/// The agent's settings, parsed.
#[derive(Debug, Clone)]
pub struct Config {
    /// This node's name; none: ask the local Consul agent.
    pub node: Option<NodeName>,
    /// Last good proxy configurations, handled events, epochs.
    pub data_dir: PathBuf,
    /// Checkouts.
    pub deploy_dir: PathBuf,
    /// Sockets of the proxies.
    pub run_dir: PathBuf,
    /// Executables for events with other names.
    pub handlers_dir: PathBuf,
    /// How volumes are found and looked after.
    pub volumes: VolumeConfig,
    /// How repositories are cloned.
    pub git: GitConfig,
    /// Deadlines.
    pub deadlines: Deadlines,
    /// Who issues certificates where a site does not say.
    pub issuer: Issuer,
    /// Holds the key that certificates are shared under; none: each node has its own.
    pub certificate_key_file: Option<PathBuf>,
    /// Where the certificates are that policies give apps' hosts.
    pub certificate_dir: PathBuf,
    /// HAProxy's `namespace` for its listeners; none: it binds in its own.
    pub bind_namespace: Option<String>,
    /// HAProxy's address on the proxies' own network.
    pub haproxy_address: Ipv4Addr,
    /// Caddy's address there.
    pub caddy_address: Ipv4Addr,
    /// How long the agent's Consul session outlives the agent.
    pub session_ttl: Duration,
    /// How long a node may be away before a deployment gives up on it.
    pub node_grace: Duration,
    /// How long a new version has to run undisturbed before it counts as healthy.
    pub settle: Duration,
    /// Deployments that a node works on at the same time.
    pub parallel: usize,
    /// Deployment records kept per app.
    pub keep_records: usize,
    /// Period of the HTTP checks that are registered with Consul.
    pub check_interval: Duration,
    /// How long requests for an app wait while it is handed over.
    pub hold: Duration,
}

/// Volumes and their schedules.
#[derive(Debug, Clone)]
pub struct VolumeConfig {
    /// Volume drivers whose volumes are BTRFS ones.
    pub drivers: Vec<String>,
    /// buttervolume's socket.
    pub socket: PathBuf,
    /// Minutes between replications, where there is a slave.
    pub replicate_minutes: u32,
    /// Minutes between snapshots, where there is none.
    pub snapshot_minutes: u32,
    /// Time between two looks at the copies on this node.
    pub replica_interval: Duration,
    /// Minutes between purges.
    pub purge_minutes: u32,
    /// What a purge keeps, in buttervolume's words.
    pub purge_pattern: String,
}

/// Clones.
#[derive(Debug, Clone)]
pub struct GitConfig {
    /// Private key for ssh repositories; none: the ssh agent's.
    pub ssh_key: Option<PathBuf>,
    /// Where host keys are learned and remembered.
    pub known_hosts: PathBuf,
    /// Token for https repositories.
    pub https_token: Option<String>,
    /// The hosts that it is for, `name:port`.
    pub https_hosts: Vec<String>,
    /// User that goes with the token.
    pub https_user: String,
}

/// How long each kind of work may take.
#[derive(Debug, Clone)]
pub struct Deadlines {
    /// A clone.
    pub clone: Duration,
    /// `docker compose pull`.
    pub pull: Duration,
    /// `docker compose build`.
    pub build: Duration,
    /// `docker compose up`, `stop` and `down`.
    pub up: Duration,
    /// From `up` to healthy.
    pub healthy: Duration,
    /// `update.sh` and `handlers/NAME`.
    pub script: Duration,
}

/// Everything that is wrong with the settings.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{}", .0.join("\n"))]
pub struct ConfigError(pub Vec<String>);

impl Config {
    /// Merges flags, environment (already in `raw`) and the file at `raw.file` or [`DEFAULT_FILE`], and parses all of it.
    pub fn load(raw: &RawSettings) -> Result<Self, ConfigError> {
        let (path, required) = match &raw.file {
            Some(path) => (path.as_path(), true),
            None => (Path::new(DEFAULT_FILE), false),
        };
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !required => {
                String::new()
            }
            Err(error) => return Err(ConfigError(vec![format!("{}: {error}", path.display())])),
        };
        Self::parse(&raw.values, &text, &path.display().to_string())
    }

    /// Parses settings from `values` (flags and environment) over a file's text.
    pub fn parse(
        values: &BTreeMap<&'static str, String>,
        file_text: &str,
        file_name: &str,
    ) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(values, file_text, file_name);
        let config = Self::read(&mut reader);
        match (config, reader.problems()) {
            (Some(config), problems) if problems.is_empty() => Ok(config),
            (_, problems) => Err(ConfigError(problems)),
        }
    }

    /// Reads every setting before it gives up on the first wrong one.
    fn read(r: &mut Reader) -> Option<Self> {
        let node = r.optional("node", |text| NodeName::parse(text).map_err(|e| e.to_string()));
        let volumes = read_volumes(r);
        let git = read_git(r);
        let deadlines = read_deadlines(r);
        let dirs = ["data-dir", "deploy-dir", "run-dir", "handlers-dir", "certificate-dir"]
            .map(|key| r.path(key));
        let issuer = read_issuer(r);
        let certificate_key_file = r.optional_path("certificate-key-file");
        let bind_namespace = r.text("haproxy-namespace").filter(|text| !text.is_empty());
        let [haproxy_address, caddy_address] = ["haproxy-address", "caddy-address"].map(|key| {
            r.parsed(key, |text| text.parse().map_err(|_| "must be an IPv4 address".to_owned()))
        });
        let times = ["session-ttl", "node-grace", "settle", "check-interval", "hold"]
            .map(|key| r.duration(key));
        let counts = ["parallel", "keep-records"].map(|key| r.count(key, 1, 1000));
        let [data_dir, deploy_dir, run_dir, handlers_dir, certificate_dir] = dirs;
        let [session_ttl, node_grace, settle, check_interval, hold] = times;
        if session_ttl.is_some_and(|ttl| !(10..=3600).contains(&ttl.as_secs())) {
            r.wrong("session-ttl", "must be between 10s and 1h (Consul's own lower limit is 10s)");
        }
        if hold.is_some_and(|hold| hold > Duration::from_secs(60)) {
            r.wrong(
                "hold",
                "must be at most 60s: clients give up, and waiting requests take connections",
            );
        }
        let [parallel, keep_records] = counts;
        Some(Self {
            node,
            data_dir: data_dir?,
            deploy_dir: deploy_dir?,
            run_dir: run_dir?,
            handlers_dir: handlers_dir?,
            issuer: issuer?,
            certificate_key_file,
            certificate_dir: certificate_dir?,
            volumes: volumes?,
            git: git?,
            deadlines: deadlines?,
            bind_namespace,
            haproxy_address: haproxy_address?,
            caddy_address: caddy_address?,
            session_ttl: session_ttl?,
            node_grace: node_grace?,
            settle: settle?,
            parallel: parallel? as usize,
            keep_records: keep_records? as usize,
            check_interval: check_interval?,
            hold: hold?,
        })
    }
}

fn read_volumes(r: &mut Reader) -> Option<VolumeConfig> {
    let drivers = r.list("volume-drivers");
    let socket = r.path("buttervolume-socket");
    let minutes = ["replicate-minutes", "snapshot-minutes", "purge-minutes"]
        .map(|key| r.count(key, 1, MOST_MINUTES));
    let replica_interval = r.duration("replica-interval");
    if replica_interval.is_some_and(|time| !(1..=3600).contains(&time.as_secs())) {
        r.wrong("replica-interval", "must be between 1s and 1h");
    }
    let purge_pattern = r.parsed("purge-pattern", |text| {
        let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || c == ':');
        if plain && text.contains(':') {
            Ok(text.to_owned())
        } else {
            Err("must look like 1h:1d:1w".to_owned())
        }
    });
    let [replicate, snapshot, purge] = minutes;
    Some(VolumeConfig {
        drivers: drivers?,
        socket: socket?,
        replicate_minutes: replicate?,
        snapshot_minutes: snapshot?,
        replica_interval: replica_interval?,
        purge_minutes: purge?,
        purge_pattern: purge_pattern?,
    })
}

fn read_issuer(r: &mut Reader) -> Option<Issuer> {
    let email = r.text("acme-email").filter(|text| !text.is_empty());
    r.parsed("certificates", |text| match text {
        "acme" => Ok(Issuer::Acme(email.clone())),
        "internal" => Ok(Issuer::Internal),
        other => Err(format!("{other:?} is neither acme nor internal")),
    })
}

fn read_git(r: &mut Reader) -> Option<GitConfig> {
    let ssh_key = r.optional_path("ssh-key");
    let known_hosts = r.path("known-hosts");
    let https_token = r.text("https-token").filter(|text| !text.is_empty());
    let https_hosts = r.optional("https-hosts", hosts).unwrap_or_default();
    if https_token.is_some() && https_hosts.is_empty() {
        r.wrong("https-token", "https-hosts has to name the hosts that it is for");
    }
    let https_user = r.text("https-user");
    Some(GitConfig {
        ssh_key,
        known_hosts: known_hosts?,
        https_token,
        https_hosts,
        https_user: https_user?,
    })
}

/// Names of hosts, each with its port.
fn hosts(text: &str) -> Result<Vec<String>, String> {
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    let with_port = |name: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
        match name.chars().all(plain) {
            true if name.contains(':') => Ok(name.to_lowercase()),
            true => Ok(format!("{}:443", name.to_lowercase())),
            false => Err(format!("{name:?} is no name of a host")),
        }
    };
    names.map(with_port).collect()
}

fn read_deadlines(r: &mut Reader) -> Option<Deadlines> {
    let [clone, pull, build, up, healthy, script] = [
        "clone-timeout",
        "pull-timeout",
        "build-timeout",
        "up-timeout",
        "healthy-timeout",
        "script-timeout",
    ]
    .map(|key| r.duration(key));
    Some(Deadlines {
        clone: clone?,
        pull: pull?,
        build: build?,
        up: up?,
        healthy: healthy?,
        script: script?,
    })
}

#[cfg(test)]
mod tests;
