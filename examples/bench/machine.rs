//! What the figures were taken on and with.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use crate::support::{Lab, NODES};

/// The machine, the date, the versions.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) date: String,
    pub(crate) cores: usize,
    /// GB.
    pub(crate) memory: f64,
    /// debug or release, by the folder of TANDEM_BIN.
    pub(crate) build: String,
    /// How long a new version has to run undisturbed, in seconds: a setting.
    pub(crate) settle: f64,
    pub(crate) versions: BTreeMap<&'static str, String>,
    /// The load of the last minute when the run began and when it ended: who else was at work.
    pub(crate) load: (String, String),
}

impl Machine {
    pub(crate) fn of(lab: &Lab) -> Self {
        let memory = std::fs::read_to_string("/proc/meminfo").unwrap();
        let kilobytes = memory.split_whitespace().nth(1).and_then(|n| n.parse::<f64>().ok());
        Self {
            date: chrono::Utc::now().format("%Y-%m-%d %H:%M UTC").to_string(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory: kilobytes.unwrap_or_default() * 1024.0 / 1e9,
            build: build(),
            settle: settle(lab),
            versions: versions(lab),
            load: (load(), String::new()),
        }
    }
}

/// The load of the last minute.
pub(crate) fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap();
    load.split(' ').next().unwrap_or_default().to_owned()
}

fn build() -> String {
    let binary = std::env::var("TANDEM_BIN").unwrap_or_default();
    let folder = Path::new(&binary).parent().and_then(Path::file_name);
    match folder.and_then(|name| name.to_str()) {
        Some(profile @ ("debug" | "release")) => profile.to_owned(),
        Some(_) | None => "unknown".to_owned(),
    }
}

/// As fixtures/with-lab sets it, in seconds or milliseconds.
fn settle(lab: &Lab) -> f64 {
    let text = lab.node("node1", &["bash", "-c", "echo ${TANDEM_SETTLE:-5s}"]);
    let text = text.trim();
    let milliseconds = text.strip_suffix("ms").and_then(|n| n.parse::<f64>().ok());
    let seconds = text.strip_suffix('s').and_then(|n| n.parse::<f64>().ok());
    milliseconds.map(|n| n / 1000.0).or(seconds).unwrap_or_else(|| panic!("settle is {text}"))
}

fn versions(lab: &Lab) -> BTreeMap<&'static str, String> {
    let commands: [(&str, &[&str]); 7] = [
        ("tandem", &["tandem", "--version"]),
        ("consul", &["consul", "version"]),
        ("docker", &["docker", "version", "--format", "{{.Server.Version}}"]),
        ("compose", &["docker", "compose", "version", "--short"]),
        ("haproxy", &["docker", "exec", "haproxy", "haproxy", "-v"]),
        ("caddy", &["docker", "exec", "caddy", "caddy", "version"]),
        ("linux", &["uname", "-r"]),
    ];
    let version = |(name, argv): (&'static str, &[&str])| {
        let said = lab.node("node1", argv);
        let number = said.split_whitespace().find(|word| word.contains(|c: char| c.is_numeric()));
        (name, number.unwrap_or("?").to_owned())
    };
    commands.into_iter().map(version).collect()
}

/// Warnings and errors in the agents' logs.
pub(crate) fn log_lines(lab: &Lab) -> Vec<String> {
    let lines = |node: &str| -> Vec<String> {
        let log = lab.agent_log(node);
        let bad = log.lines().filter(|line| [" WARN ", " ERROR "].iter().any(|w| line.contains(w)));
        bad.map(|line| format!("{node}: {line}")).collect()
    };
    NODES.into_iter().flat_map(lines).collect()
}
