//! Proxies in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{CheckError, ControlError, Effect, ProxyControl, Unfit};
use crate::proxy::ProxySettings;
use crate::proxy::caddy::CaddyConfig;
use crate::proxy::haproxy::maps::{FILES, entries};
use crate::proxy::render::fingerprint;

/// What a [`FakeControl`] was told, and how it shall answer.
#[derive(Debug, Clone, Default)]
pub struct FakeState {
    /// A configuration of HAProxy that contains one of these is refused.
    pub haproxy_refuses: Vec<String>,
    /// A reload is refused while this is set.
    pub reload_fails: bool,
    /// A Caddyfile that contains one of these is refused.
    pub caddy_refuses: Vec<String>,
    /// A whole configuration of Caddy that contains one of these is refused when it is loaded.
    pub load_refuses: Vec<String>,
    /// Checks can't be made.
    pub no_checks: bool,
    /// Why nothing can be done with these proxies.
    pub unfit: Option<Unfit>,
    /// Ports on which something else listens: HAProxy neither starts nor reloads with them.
    pub taken: BTreeSet<u16>,
    /// Nothing runs.
    pub is_down: bool,
    /// Checks of HAProxy's configuration.
    pub haproxy_checks: usize,
    /// What tells the Caddy that adapts from others.
    pub caddy_version: String,
    /// Requests that Caddy has no answer to yet, by where it passed them on to.
    pub requests: BTreeMap<String, u64>,
    /// Caddyfiles adapted.
    pub adaptations: usize,
    /// How long each takes.
    pub adapting: std::time::Duration,
    /// Every text that was to be checked or adapted.
    pub asked: Vec<String>,
    /// Where the proxies find their files when they start, and HAProxy when it reloads; none: they have no files.
    pub files: Option<ProxySettings>,
    /// What HAProxy runs; none: what it was told last, whatever that was.
    pub haproxy_cfg: Option<String>,
    /// Reloads of HAProxy.
    pub reloads: usize,
    /// The maps of the running HAProxy.
    pub maps: BTreeMap<String, String>,
    /// Which servers of the running HAProxy are enabled, by backend and server.
    pub servers: BTreeMap<(String, String), bool>,
    /// What Caddy runs, and what it ran before.
    pub loads: Vec<Value>,
    /// Loads that were refused.
    pub refusals: usize,
}

impl FakeState {
    /// Starts HAProxy, anew if it runs: it reads its files.
    pub fn start_haproxy(&mut self) {
        self.is_down = false;
        self.read_haproxy();
        let Some(settings) = &self.files else { return };
        for name in FILES {
            let text = std::fs::read_to_string(settings.haproxy_dir().join(name));
            self.maps.insert(name.to_owned(), text.unwrap_or_default());
        }
    }

    /// Starts Caddy, anew if it runs: it reads its file.
    pub fn start_caddy(&mut self) {
        self.is_down = false;
        let text = self.files.as_ref().map(|files| std::fs::read(files.caddy_file()));
        let config = text.and_then(|text| serde_json::from_slice(&text.ok()?).ok());
        self.loads.extend(config);
    }

    fn read_haproxy(&mut self) {
        let path = self.files.as_ref().map(|files| files.haproxy_dir().join("haproxy.cfg"));
        self.haproxy_cfg = path.and_then(|path| std::fs::read_to_string(path).ok());
        self.servers = servers(self.haproxy_cfg.as_deref().unwrap_or_default());
    }
}

/// The servers of a configuration, as HAProxy has them when it has read it.
pub fn servers(text: &str) -> BTreeMap<(String, String), bool> {
    let mut backend = "";
    let mut servers = BTreeMap::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("backend ") {
            backend = name;
        } else if let Some(name) =
            line.strip_prefix("    server ").and_then(|rest| rest.split(' ').next())
        {
            servers.insert((backend.to_owned(), name.to_owned()), !line.ends_with(" disabled"));
        }
    }
    servers
}

/// A [`ProxyControl`] that remembers. Adapting gives one route per site address, without handlers.
#[derive(Debug, Default)]
pub struct FakeControl(Mutex<FakeState>);

impl FakeControl {
    /// Looks at the state, or changes it.
    pub fn state(&self) -> MutexGuard<'_, FakeState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refuse(text: &str, words: &[String]) -> Result<(), CheckError> {
    match words.iter().find(|word| text.contains(*word)) {
        Some(word) => Err(CheckError::Refused(format!("no {word:?}"))),
        None => Ok(()),
    }
}

#[async_trait]
impl ProxyControl for FakeControl {
    async fn check_haproxy(&self, text: &str) -> Result<(), CheckError> {
        let mut state = self.state();
        if state.no_checks {
            return Err(CheckError::Unavailable("no container".to_owned()));
        }
        state.haproxy_checks += 1;
        state.asked.push(text.to_owned());
        refuse(text, &state.haproxy_refuses)
    }

    async fn adapt(&self, text: &str) -> Result<Value, CheckError> {
        let adapting = self.state().adapting;
        tokio::time::sleep(adapting).await;
        let mut state = self.state();
        if state.no_checks {
            return Err(CheckError::Unavailable("no container".to_owned()));
        }
        state.adaptations += 1;
        state.asked.push(text.to_owned());
        refuse(text, &state.caddy_refuses)?;
        let mut servers = serde_json::Map::new();
        for (scheme, port) in [("http", ":80"), ("https", ":443")] {
            let hosts = text
                .lines()
                .filter_map(|line| line.strip_prefix(&format!("{scheme}://"))?.strip_suffix(" {"));
            let routes = hosts.map(|host| json!({"match": [{"host": [host]}], "terminal": true}));
            let routes: Vec<_> = routes.collect();
            servers.insert(scheme.to_owned(), json!({"listen": [port], "routes": routes}));
        }
        Ok(json!({"apps": {"http": {"servers": servers}}}))
    }

    async fn caddy_identity(&self) -> Result<String, CheckError> {
        let state = self.state();
        match state.no_checks {
            true => Err(CheckError::Unavailable("no container".to_owned())),
            false => Ok(state.caddy_version.clone()),
        }
    }

    async fn unfit(&self) -> Option<Unfit> {
        self.state().unfit.clone()
    }

    async fn running_haproxy(&self) -> Result<Option<String>, ControlError> {
        let state = self.state();
        let running = state.haproxy_cfg.as_deref().filter(|_| !state.is_down);
        Ok(running.map(|text| fingerprint::of(text).unwrap_or_default().to_owned()))
    }

    async fn taken_ports(&self, ports: &BTreeSet<u16>) -> BTreeSet<u16> {
        self.state().taken.intersection(ports).copied().collect()
    }

    async fn reload_haproxy(&self) -> Result<Effect, ControlError> {
        let mut state = self.state();
        if state.is_down {
            return Ok(Effect::NotRunning);
        }
        if state.reload_fails {
            return Err(ControlError::Refused { proxy: "HAProxy", what: "no".to_owned() });
        }
        state.reloads += 1;
        state.read_haproxy();
        Ok(Effect::Changed(1))
    }

    async fn apply_map(&self, file: &str, text: &str) -> Result<Effect, ControlError> {
        let mut state = self.state();
        if state.is_down {
            return Ok(Effect::NotRunning);
        }
        let old = state.maps.insert(file.to_owned(), text.to_owned()).unwrap_or_default();
        let old = entries(&old);
        let changed = entries(text).iter().filter(|entry| !old.contains(entry)).count();
        let gone = old.iter().filter(|(key, _)| !text.contains(&format!("{key} "))).count();
        Ok(Effect::Changed(changed + gone))
    }

    async fn apply_servers(
        &self,
        servers: &BTreeMap<(String, String), bool>,
    ) -> Result<Effect, ControlError> {
        let mut state = self.state();
        if state.is_down {
            return Ok(Effect::NotRunning);
        }
        let mut changed = 0;
        for (name, is_enabled) in servers {
            if let Some(known) = state.servers.get_mut(name).filter(|known| *known != is_enabled) {
                *known = *is_enabled;
                changed += 1;
            }
        }
        Ok(Effect::Changed(changed))
    }

    async fn caddy_runs(&self, mark: &str) -> Result<Option<bool>, ControlError> {
        let state = self.state();
        let running = state.loads.last().and_then(CaddyConfig::mark_of);
        Ok((!state.is_down).then(|| running == Some(mark)))
    }

    async fn caddy_requests(&self) -> Result<BTreeMap<String, u64>, ControlError> {
        Ok(self.state().requests.clone())
    }

    async fn load_caddy(&self, config: &CaddyConfig) -> Result<Effect, ControlError> {
        let mut state = self.state();
        if state.is_down {
            return Ok(Effect::NotRunning);
        }
        let value = config.value();
        if state.loads.last() == Some(&value) {
            return Ok(Effect::Changed(0));
        }
        if let Err(CheckError::Refused(what)) = refuse(config.text(), &state.load_refuses) {
            state.refusals += 1;
            return Err(ControlError::Refused { proxy: "Caddy", what });
        }
        state.loads.push(value);
        Ok(Effect::Changed(1))
    }
}
