//! The table of settings: one row is a flag, a `TANDEM_*` variable, a key of the file and a line of help.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, ArgMatches};

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// The flag without `--`; with `_` for `-` the file's key; in capitals after `TANDEM_` the variable.
    pub key: &'static str,
    /// The default, as text; empty: none.
    pub default: &'static str,
    /// What it is for.
    pub help: &'static str,
}

const fn setting(key: &'static str, default: &'static str, help: &'static str) -> Setting {
    Setting { key, default, help }
}

/// Every setting of the agent.
pub const SETTINGS: &[Setting] = &[
    setting(
        "node",
        "",
        "This node's name in Consul's catalog [default: what the local Consul agent says]",
    ),
    setting(
        "data-dir",
        "/var/lib/tandem",
        "Handled events, epochs and the proxies' last good configurations",
    ),
    setting("deploy-dir", "/deploy", "Checkouts of the apps"),
    setting("run-dir", "/run/tandem", "Sockets of the proxies"),
    setting("handlers-dir", "/etc/tandem/handlers", "Executables for events with other names"),
    setting(
        "haproxy-namespace",
        "host",
        "Network namespace that HAProxy listens in; empty: its own",
    ),
    setting(
        "haproxy-address",
        "198.18.244.2",
        "HAProxy's address on the proxies' own network, as stack.yml has it",
    ),
    setting("caddy-address", "198.18.244.3", "Caddy's address there, as stack.yml has it"),
    setting(
        "certificates",
        "acme",
        "Who issues certificates where a site does not say: acme or internal",
    ),
    setting("acme-email", "", "Address of the account at the ACME authority"),
    setting(
        "certificate-key-file",
        "",
        "File with the key, the same on all nodes, that seals ACME certificates in KV, so that apps keep them when they move [default: they are issued anew]",
    ),
    setting(
        "certificate-dir",
        "/etc/tandem/certificates",
        "Certificates that policies give apps' hosts: NAME.crt and NAME.key",
    ),
    setting(
        "volume-drivers",
        "anybox/buttervolume:latest,ccomb/buttervolume:latest,btrfs",
        "Drivers whose volumes are BTRFS ones",
    ),
    setting("buttervolume-socket", "/run/docker/plugins/btrfs.sock", "buttervolume's socket"),
    setting("replicate-minutes", "60", "Minutes between replications, where there is a slave"),
    setting("snapshot-minutes", "60", "Minutes between snapshots, where there is none"),
    setting(
        "replica-interval",
        "60s",
        "How often the copies of volumes on this node are looked at",
    ),
    setting("purge-minutes", "1440", "Minutes between purges of snapshots"),
    setting("purge-pattern", "1h:1d:1w:4w:1y", "Which snapshots a purge keeps"),
    setting(
        "ssh-key",
        "",
        "Private key for ssh repositories [default: those in ~/.ssh, then the ssh agent's]",
    ),
    setting(
        "known-hosts",
        "/var/lib/tandem/known_hosts",
        "Host keys of git servers, learned at first use",
    ),
    setting("https-token", "", "Token for https repositories"),
    setting(
        "https-hosts",
        "",
        "Hosts that the token is for: git.example.com, git.example.com:8443",
    ),
    setting("https-user", "oauth2", "User that goes with the token"),
    setting("clone-timeout", "10m", "Deadline of a clone"),
    setting("pull-timeout", "30m", "Deadline of docker compose pull"),
    setting("build-timeout", "1h", "Deadline of docker compose build"),
    setting("up-timeout", "10m", "Deadline of docker compose up, stop and down"),
    setting("healthy-timeout", "5m", "How long an app may take from its start to healthy"),
    setting("script-timeout", "30m", "Deadline of update.sh and of handlers"),
    setting(
        "session-ttl",
        "15s",
        "How long this node's leases outlive its agent (Consul adds as much again)",
    ),
    setting("node-grace", "60s", "How long a node may be away before a deployment gives up on it"),
    setting(
        "settle",
        "5s",
        "How long a container without a health check has to run undisturbed to count as healthy",
    ),
    setting(
        "hold",
        "10s",
        "How long requests wait while an app is handed over, before they see the maintenance page; 0s: not at all",
    ),
    setting("check-interval", "60s", "Period of the HTTP checks registered with Consul"),
    setting(
        "parallel",
        "2",
        "Deployments that this node clones, pulls and builds at the same time",
    ),
    setting("keep-records", "20", "Deployment records kept per app"),
];

/// Settings as given by flags and environment, not yet parsed.
#[derive(Debug, Default)]
pub struct RawSettings {
    /// The settings file, if one was named.
    pub file: Option<PathBuf>,
    /// Key → text.
    pub values: BTreeMap<&'static str, String>,
}

/// `session-ttl` → `TANDEM_SESSION_TTL`.
fn variable(key: &str) -> String {
    format!("TANDEM_{}", key.to_uppercase().replace('-', "_"))
}

impl clap::FromArgMatches for RawSettings {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut raw = Self::default();
        raw.update_from_arg_matches(matches)?;
        Ok(raw)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.file = matches.get_one::<PathBuf>("config").cloned();
        for setting in SETTINGS {
            if let Some(text) = matches.get_one::<String>(setting.key) {
                self.values.insert(setting.key, text.clone());
            }
        }
        Ok(())
    }
}

impl clap::Args for RawSettings {
    fn augment_args(command: clap::Command) -> clap::Command {
        let file = Arg::new("config")
            .long("config")
            .env("TANDEM_CONFIG")
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .help(format!("Settings file in YAML [default: {} if it exists]", super::DEFAULT_FILE));
        SETTINGS.iter().fold(command.arg(file), |command, setting| {
            let help = match setting.default {
                "" => setting.help.to_owned(),
                default => format!("{} [default: {default}]", setting.help),
            };
            command.arg(
                Arg::new(setting.key)
                    .long(setting.key)
                    .env(variable(setting.key))
                    .hide_env_values(true)
                    .value_name("VALUE")
                    .help(help),
            )
        })
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

/// Looks settings up by precedence and collects what is wrong with them.
pub(super) struct Reader<'a> {
    values: &'a BTreeMap<&'static str, String>,
    file: BTreeMap<String, String>,
    file_name: &'a str,
    problems: Vec<String>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        values: &'a BTreeMap<&'static str, String>,
        text: &str,
        file_name: &'a str,
    ) -> Self {
        let mut problems = Vec::new();
        let file = read_file(text).unwrap_or_else(|problem| {
            problems.push(format!("{file_name}: {problem}"));
            BTreeMap::new()
        });
        for key in file.keys().filter(|key| !SETTINGS.iter().any(|s| s.key == key.as_str())) {
            problems.push(format!("{file_name}: there is no setting {:?}", key.replace('-', "_")));
        }
        Self { values, file, file_name, problems }
    }

    pub(super) fn problems(self) -> Vec<String> {
        self.problems
    }

    /// The text of a setting: flag or variable, file, default.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        let given = self.values.get(key).or_else(|| self.file.get(key)).cloned();
        given.or_else(|| {
            let default = SETTINGS.iter().find(|s| s.key == key)?.default;
            (!default.is_empty()).then(|| default.to_owned())
        })
    }

    pub(super) fn wrong(&mut self, key: &str, problem: &str) {
        let place = if self.values.contains_key(key) {
            format!("--{key} or {}", variable(key))
        } else {
            format!("{}: {}", self.file_name, key.replace('-', "_"))
        };
        self.problems.push(format!("{place}: {problem}"));
    }

    /// A setting that may be absent.
    pub(super) fn optional<T>(
        &mut self,
        key: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.text(key).filter(|text| !text.is_empty())?;
        parse(&text).map_err(|problem| self.wrong(key, &problem)).ok()
    }

    /// A setting that has to have a value.
    pub(super) fn parsed<T>(
        &mut self,
        key: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        if self.text(key).is_none_or(|text| text.is_empty()) {
            self.wrong(key, "must not be empty");
            return None;
        }
        self.optional(key, parse)
    }

    pub(super) fn path(&mut self, key: &str) -> Option<PathBuf> {
        self.parsed(key, absolute)
    }

    pub(super) fn optional_path(&mut self, key: &str) -> Option<PathBuf> {
        self.optional(key, absolute)
    }

    pub(super) fn list(&mut self, key: &str) -> Option<Vec<String>> {
        self.parsed(key, |text| {
            Ok(text
                .split(',')
                .map(|item| item.trim().to_owned())
                .filter(|i| !i.is_empty())
                .collect())
        })
    }

    pub(super) fn count(&mut self, key: &str, least: u32, most: u32) -> Option<u32> {
        self.parsed(key, |text| match text.parse::<u32>() {
            Ok(count) if (least..=most).contains(&count) => Ok(count),
            _ => Err(format!("{text:?} is not a number from {least} to {most}")),
        })
    }

    pub(super) fn duration(&mut self, key: &str) -> Option<Duration> {
        self.parsed(key, duration)
    }
}

fn absolute(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if !path.is_absolute() {
        return Err(format!("{text:?} is not an absolute path"));
    }
    if text.contains(':') {
        return Err(format!("{text:?} has a colon, which breaks bind mounts"));
    }
    Ok(path)
}

/// `500ms`, `15s`, `10m`, `1h`; a bare number is seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let wrong = || format!("{text:?} is not a duration such as 500ms, 15s, 10m or 1h");
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let millis = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(millis).map(Duration::from_millis).ok_or_else(wrong)
}

/// A flat YAML map; keys may be written with `_` or `-`, lists are joined by commas.
fn read_file(text: &str) -> Result<BTreeMap<String, String>, String> {
    use serde_yaml::Value;
    let value: Value = serde_yaml::from_str(text).map_err(|error| error.to_string())?;
    if value.is_null() {
        return Ok(BTreeMap::new());
    }
    let map = value.as_mapping().ok_or("must be a map of settings")?;
    map.iter()
        .map(|(key, value)| {
            let key = key.as_str().ok_or("has a key that is not a text")?.replace('_', "-");
            let text = match value.as_sequence() {
                Some(items) => items
                    .iter()
                    .map(scalar)
                    .collect::<Option<Vec<_>>>()
                    .map(|items| items.join(",")),
                None => scalar(value),
            };
            text.map(|text| (key.clone(), text))
                .ok_or_else(|| format!("{key}: must be a plain value"))
        })
        .collect()
}

fn scalar(value: &serde_yaml::Value) -> Option<String> {
    use serde_yaml::Value;
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null => Some(String::new()),
        Value::Sequence(_) | Value::Mapping(_) | Value::Tagged(_) => None,
    }
}
