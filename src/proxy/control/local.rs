//! The real proxies: sockets in the run directory, checks in their containers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use hyper::Method;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::pushed::{Process, Pushed};
use super::stack::{self, Stack, Unfit};
use super::{
    CheckError, CheckRunner, ControlError, Effect, ExecOutput, MAX_CHECK_OUTPUT, ProxyControl,
    listeners, master, runtime, servers,
};
use crate::host::files::{FileError, off_thread, write_atomic};
use crate::host::unix_http::{Reply, request};
use crate::proxy::ProxySettings;
use crate::proxy::caddy::CaddyConfig;

/// Where the images keep their programs; nothing else of the environment is passed on.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The container's limit ends what takes more; with this much in use, Go gives back what it can first.
const GO_MEMORY: &str = "GOMEMLIMIT=192MiB";
const MAX_MESSAGE: usize = 600;
/// The largest candidate: HAProxy's, with thousands of apps' own frontends.
const MAX_CANDIDATE: usize = 4 * 1024 * 1024;
/// Turns that a check waits for before it gives up, in deadlines of a check.
const MAX_TURNS: u32 = 4;

/// [`ProxyControl`] for the node's containers.
pub struct LocalControl {
    settings: ProxySettings,
    runner: Arc<dyn CheckRunner>,
    candidates: AtomicU64,
    haproxy_turn: Mutex<()>,
    caddy_turn: Mutex<()>,
    pushed: Mutex<Pushed>,
    stack: Mutex<Stack>,
}

impl LocalControl {
    /// Takes the settings and a way into the check containers.
    pub fn new(settings: ProxySettings, runner: Arc<dyn CheckRunner>) -> Self {
        let (haproxy_turn, caddy_turn) = (Mutex::new(()), Mutex::new(()));
        let candidates = AtomicU64::new(0);
        let (pushed, stack) = (Mutex::default(), Mutex::default());
        Self { settings, runner, candidates, haproxy_turn, caddy_turn, pushed, stack }
    }

    /// Writes a candidate where the check container sees it, runs a command on it, removes it. One at a time in each
    /// container, so that its limits of memory and processes are those of one check, and no app's text is ended for
    /// what another one takes.
    async fn check(
        &self,
        (container, turn): (&str, &Mutex<()>),
        text: &str,
        environment: &[&str],
        command: impl FnOnce(&str) -> Vec<String>,
    ) -> Result<ExecOutput, CheckError> {
        if text.len() > MAX_CANDIDATE {
            let what = format!("the text is larger than {} MiB", MAX_CANDIDATE >> 20);
            return Err(CheckError::Refused(what));
        }
        let turn = timeout(self.settings.check_deadline * MAX_TURNS, turn.lock()).await;
        let _turn =
            turn.map_err(|_| CheckError::Unavailable("other checks take all the time".to_owned()))?;
        let number = self.candidates.fetch_add(1, Ordering::Relaxed);
        let name = format!("candidate-{}-{number}", std::process::id());
        let path: PathBuf = self.settings.check_dir().join(name);
        write_atomic(&path, text, 0o644)
            .await
            .map_err(|error| CheckError::Unavailable(with_causes(&error)))?;
        let seconds = self.settings.check_deadline.as_secs().max(1).to_string();
        let mut argv: Vec<String> =
            ["timeout", "-s", "KILL", &seconds, "env", "-i", PATH, "HOME=/tmp"]
                .map(str::to_owned)
                .to_vec();
        argv.extend(environment.iter().map(|&variable| variable.to_owned()));
        argv.extend(command(&path.display().to_string()));
        let deadline = self.settings.check_deadline + Duration::from_secs(5);
        let output = self.runner.exec(container, &argv, deadline).await;
        // A candidate that stays is only a small file in a directory of candidates.
        let _ = tokio::fs::remove_file(&path).await;
        let output = output.map_err(CheckError::Unavailable)?;
        match output.code {
            0 => Ok(output),
            // 126 and 127: the program could not be run; 137: `timeout` killed it, or the memory limit did.
            126 | 127 => Err(CheckError::Unavailable(message(&output.stderr, &path))),
            137 => {
                Err(CheckError::Refused("the check took too long, or too much memory".to_owned()))
            }
            _ => Err(CheckError::Refused(message(&output.stderr, &path))),
        }
    }

    async fn caddy(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Option<Reply>, ControlError> {
        let socket = self.settings.caddy_socket();
        let headers = [("content-type", "application/json")];
        let deadline = self.settings.control_deadline;
        match request(&socket, method, path, &headers, body, deadline).await {
            Ok(reply) => Ok(Some(reply)),
            Err(error) if error.is_absent() => Ok(None),
            Err(error) => Err(ControlError::Lost { proxy: "Caddy", source: Box::new(error) }),
        }
    }
}

#[async_trait]
impl ProxyControl for LocalControl {
    async fn check_haproxy(&self, text: &str) -> Result<(), CheckError> {
        let command = |path: &str| ["haproxy", "-c", "-f", path].map(str::to_owned).to_vec();
        let place = (self.settings.haproxy_check_container.as_str(), &self.haproxy_turn);
        self.check(place, text, &[], command).await.map(|_| ())
    }

    async fn adapt(&self, text: &str) -> Result<Value, CheckError> {
        let command = |path: &str| {
            ["caddy", "adapt", "--config", path, "--adapter", "caddyfile", "--validate"]
                .map(str::to_owned)
                .to_vec()
        };
        let place = (self.settings.caddy_check_container.as_str(), &self.caddy_turn);
        let output = self.check(place, text, &[GO_MEMORY], command).await?;
        adapted(&output.stdout)
    }

    async fn caddy_identity(&self) -> Result<String, CheckError> {
        let name = &self.settings.caddy_check_container;
        let found = stack::look(self.runner.as_ref(), name).await;
        let found = found.unwrap_or_else(|| Err(stack::SILENT.to_owned()));
        let image = found.map_err(CheckError::Unavailable)?.unwrap_or_default().image;
        match image.is_empty() {
            true => Err(CheckError::Unavailable("Caddy's check container is not there".to_owned())),
            false => Ok(image),
        }
    }

    async fn unfit(&self) -> Option<Unfit> {
        self.stack.lock().await.unfit(&self.settings, self.runner.as_ref()).await
    }

    async fn running_haproxy(&self) -> Result<Option<String>, ControlError> {
        let socket = self.settings.runtime_socket();
        let info = runtime::command(&socket, "show info\n", self.settings.control_deadline).await?;
        let line = |info: String| {
            let found = info.lines().find_map(|line| line.strip_prefix("description: "));
            found.unwrap_or_default().trim().to_owned()
        };
        Ok(info.map(line))
    }

    async fn taken_ports(&self, ports: &BTreeSet<u16>) -> BTreeSet<u16> {
        // With a namespace of their own the binds are the machine's.
        let process = if self.settings.bind_namespace.is_some() { "1" } else { "self" };
        let listed = off_thread(move || Ok::<_, FileError>(listeners::ports(process))).await;
        listed.unwrap_or_default().intersection(ports).copied().collect()
    }

    async fn reload_haproxy(&self) -> Result<Effect, ControlError> {
        let socket = self.settings.master_socket();
        master::reload(&socket, self.settings.control_deadline).await
    }

    async fn apply_map(&self, file: &str, text: &str) -> Result<Effect, ControlError> {
        let (socket, deadline) = (self.settings.runtime_socket(), self.settings.control_deadline);
        let path = self.settings.haproxy_dir().join(file);
        let Some(info) = runtime::command(&socket, "show info\n", deadline).await? else {
            return Ok(Effect::NotRunning);
        };
        let process = Process::read(&info, Instant::now());
        let mut pushed = self.pushed.lock().await;
        let known = process.as_ref().and_then(|process| pushed.known(file, process));
        if let Some(known) = known {
            // What is refused shows that somebody else changed the map.
            if let Ok(effect) = runtime::apply_to(&socket, &path, known, text, deadline).await {
                pushed.changed(file, text);
                return Ok(effect);
            }
        }
        pushed.forget(file);
        let effect = runtime::apply(&socket, &path, text, deadline).await?;
        if let (Some(process), Effect::Changed(_)) = (process, effect) {
            pushed.compared(file, process, text);
        }
        Ok(effect)
    }

    async fn apply_servers(
        &self,
        servers: &BTreeMap<(String, String), bool>,
    ) -> Result<Effect, ControlError> {
        let socket = self.settings.runtime_socket();
        servers::apply(&socket, servers, self.settings.control_deadline).await
    }

    async fn caddy_runs(&self, mark: &str) -> Result<Option<bool>, ControlError> {
        let reply = self.caddy(Method::GET, &format!("/id/{mark}"), Vec::new()).await?;
        // The status of what is not there differs between releases.
        Ok(reply.map(|reply| reply.status == 200))
    }

    async fn caddy_requests(&self) -> Result<BTreeMap<String, u64>, ControlError> {
        let reply = self.caddy(Method::GET, "/reverse_proxy/upstreams", Vec::new()).await?;
        match reply {
            None => Ok(BTreeMap::new()),
            Some(reply) if reply.status == 200 => requests(&reply),
            Some(reply) => Err(refused(&reply)),
        }
    }

    async fn load_caddy(&self, config: &CaddyConfig) -> Result<Effect, ControlError> {
        match self.caddy_runs(config.mark()).await? {
            None => return Ok(Effect::NotRunning),
            Some(true) => return Ok(Effect::Changed(0)),
            Some(false) => {}
        }
        let body = config.text().as_bytes().to_vec();
        match self.caddy(Method::POST, "/load", body).await? {
            None => Ok(Effect::NotRunning),
            Some(reply) if reply.status == 200 => Ok(Effect::Changed(1)),
            Some(reply) => Err(refused(&reply)),
        }
    }
}

/// What Caddy printed. What is too large or nested too deep to be looked at is that app's mistake, not the check's.
fn adapted(stdout: &[u8]) -> Result<Value, CheckError> {
    if stdout.len() >= MAX_CHECK_OUTPUT {
        let what = format!("Caddy makes more than {} MiB of it", MAX_CHECK_OUTPUT >> 20);
        return Err(CheckError::Refused(what));
    }
    if !stdout.trim_ascii_start().starts_with(b"{") {
        return Err(CheckError::Unavailable("Caddy printed no JSON".to_owned()));
    }
    // Only what is before the verdict is JSON: newer releases print more. The parser takes 128 levels.
    let mut values = serde_json::Deserializer::from_slice(stdout).into_iter();
    match values.next() {
        Some(Ok(value)) => Ok(value),
        Some(Err(error)) => {
            Err(CheckError::Refused(format!("what Caddy makes of it can't be read: {error}")))
        }
        None => Err(CheckError::Unavailable("Caddy printed no JSON".to_owned())),
    }
}

fn refused(reply: &Reply) -> ControlError {
    ControlError::Refused { proxy: "Caddy", what: shorten(&reply.text()) }
}

/// What Caddy says of the places that it passes requests on to.
#[derive(Deserialize)]
struct Upstream {
    address: String,
    num_requests: u64,
}

fn requests(reply: &Reply) -> Result<BTreeMap<String, u64>, ControlError> {
    let all: Option<Vec<Upstream>> = serde_json::from_slice(&reply.body)
        .map_err(|error| ControlError::Lost { proxy: "Caddy", source: Box::new(error) })?;
    let all = all.into_iter().flatten();
    Ok(all.map(|upstream| (upstream.address, upstream.num_requests)).collect())
}

fn with_causes(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", with_causes(cause)),
        None => error.to_string(),
    }
}

/// The lines of standard error that say what is wrong, without the candidate's path.
fn message(stderr: &[u8], path: &std::path::Path) -> String {
    let text = String::from_utf8_lossy(stderr).replace(&path.display().to_string(), "");
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let telling = |line: &&&str| line.contains("[ALERT]") || line.starts_with("Error");
    let found: Vec<_> = lines.iter().filter(telling).copied().collect();
    let chosen = if found.is_empty() { &lines } else { &found };
    shorten(&chosen.join("; "))
}

fn shorten(text: &str) -> String {
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    clean.take(MAX_MESSAGE).collect()
}

#[cfg(test)]
mod tests;
