//! Proxies in memory.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{CheckError, ControlError, Effect, ProxyControl};
use crate::proxy::haproxy::maps::entries;

/// What a [`FakeControl`] was told, and how it shall answer.
#[derive(Debug, Clone, Default)]
pub struct FakeState {
    /// A configuration of HAProxy that contains one of these is refused.
    pub haproxy_refuses: Vec<String>,
    /// A reload is refused while this is set.
    pub reload_fails: bool,
    /// A Caddyfile that contains one of these is refused.
    pub caddy_refuses: Vec<String>,
    /// Checks can't be made.
    pub no_checks: bool,
    /// Nothing runs.
    pub is_down: bool,
    /// Checks of HAProxy's configuration.
    pub haproxy_checks: usize,
    /// Caddyfiles adapted.
    pub adaptations: usize,
    /// The mark of what HAProxy runs, where that differs from what it was told last.
    pub haproxy_runs: Option<String>,
    /// Reloads of HAProxy.
    pub reloads: usize,
    /// The maps of the running HAProxy.
    pub maps: BTreeMap<String, String>,
    /// The servers that were enabled and disabled in the running HAProxy.
    pub servers: BTreeMap<(String, String), bool>,
    /// What Caddy runs, and what it ran before.
    pub loads: Vec<Value>,
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
        refuse(text, &state.haproxy_refuses)
    }

    async fn adapt(&self, text: &str) -> Result<Value, CheckError> {
        let mut state = self.state();
        if state.no_checks {
            return Err(CheckError::Unavailable("no container".to_owned()));
        }
        state.adaptations += 1;
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

    async fn running_haproxy(&self) -> Result<Option<String>, ControlError> {
        Ok(self.state().haproxy_runs.clone())
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
        state.haproxy_runs = None;
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
        let known = &state.servers;
        let changed = servers.iter().filter(|(name, on)| known.get(*name) != Some(on)).count();
        state.servers = servers.clone();
        Ok(Effect::Changed(changed))
    }

    async fn load_caddy(&self, config: &Value) -> Result<Effect, ControlError> {
        let mut state = self.state();
        if state.is_down {
            return Ok(Effect::NotRunning);
        }
        if state.loads.last() == Some(config) {
            return Ok(Effect::Changed(0));
        }
        state.loads.push(config.clone());
        Ok(Effect::Changed(1))
    }
}
