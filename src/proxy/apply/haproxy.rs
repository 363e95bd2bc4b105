//! HAProxy's half: the whole checked, the culprit found, files first, then the running process.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::{
    Applied, Cache, CheckError, ClusterView, ControlError, Effect, Proxies, ProxyError,
    ProxySettings, Templates, back, maps, read_optional, render_with, write_atomic,
};
use crate::proxy::Problem;
use crate::proxy::caddy::Apps;
use crate::proxy::render::{RenderError, Rendered, fingerprint};

/// Stands beside `haproxy.cfg` from before it is replaced until the running process is known to have taken it.
const PENDING: &str = "haproxy.cfg.pending";
const LAST_GOOD: &str = "haproxy.cfg.good";

impl Proxies {
    pub(super) fn known_refusals(&self) -> BTreeMap<String, String> {
        let known = self.refused.iter();
        known.map(|(source, (_, what))| (source.clone(), what.clone())).collect()
    }

    /// Renders a view; what HAProxy refuses is left out, so that the text is one that it accepts. Also says whether
    /// that could be checked.
    pub(super) async fn render_accepted(
        &mut self,
        view: &ClusterView,
        applied: &mut Applied,
    ) -> Result<(Rendered, bool), ProxyError> {
        let mut cache = std::mem::take(&mut self.cache);
        let result = self.render_by(&mut cache, view, applied).await;
        self.cache = cache;
        result
    }

    async fn render_by(
        &mut self,
        cache: &mut Cache,
        view: &ClusterView,
        applied: &mut Applied,
    ) -> Result<(Rendered, bool), ProxyError> {
        let all = render_with(cache, view, &self.settings, &self.templates, &BTreeMap::new())?;
        self.refused.retain(|source, (part, _)| all.haproxy_parts.get(source) == Some(part));
        // Mostly nothing is refused, and this is it.
        let first = if self.refused.is_empty() { all } else { self.render_known(cache, view)? };
        if let Some(wait) = self.haproxy_turn.wait(Instant::now())
            && !self.is_in_place(&first).await?
        {
            applied.wait(wait);
            return Ok((first, false));
        }
        match self.narrow(cache, view, first).await {
            Ok(rendered) => Ok((rendered, true)),
            Err(ProxyError::Check { source: source @ CheckError::Unavailable(_), .. }) => {
                applied.unchecked.push(format!("haproxy.cfg: {source}"));
                Ok((self.render_known(cache, view)?, false))
            }
            Err(error) => Err(error),
        }
    }

    /// Without what is known to be refused.
    fn render_known(&self, cache: &mut Cache, view: &ClusterView) -> Result<Rendered, RenderError> {
        let refused = self.known_refusals();
        render_with(cache, view, &self.settings, &self.templates, &refused)
    }

    /// Leaves out what is refused alone; then, if need be, all that apps ask for.
    async fn narrow(
        &mut self,
        cache: &mut Cache,
        view: &ClusterView,
        first: Rendered,
    ) -> Result<Rendered, ProxyError> {
        let mut last = String::new();
        let mut rendered = first;
        for attempt in 0..3 {
            if self.is_in_place(&rendered).await? {
                return Ok(rendered);
            }
            let Some(whole) = self.accepts(&rendered.haproxy_cfg).await? else {
                return Ok(rendered);
            };
            for source in rendered.haproxy_parts.keys() {
                let what = match attempt {
                    0 => {
                        self.accepts(&only(cache, view, &self.settings, &self.templates, source)?)
                            .await?
                    }
                    _ => Some(whole.clone()),
                };
                if let Some(what) = what {
                    self.refuse(source, &rendered, what);
                }
            }
            last = whole;
            rendered = self.render_known(cache, view)?;
        }
        Err(ProxyError::Check { proxy: "HAProxy", source: CheckError::Refused(last) })
    }

    fn refuse(&mut self, source: &str, rendered: &Rendered, what: String) {
        if let Some(part) = rendered.haproxy_parts.get(source) {
            self.refused.insert(source.to_owned(), (part.clone(), what));
        }
    }

    /// HAProxy's words if it refuses.
    async fn accepts(&self, text: &str) -> Result<Option<String>, ProxyError> {
        match self.control.check_haproxy(text).await {
            Ok(()) => Ok(None),
            Err(CheckError::Refused(what)) => Ok(Some(what)),
            Err(source @ CheckError::Unavailable(_)) => {
                Err(ProxyError::Check { proxy: "HAProxy", source })
            }
        }
    }

    async fn is_in_place(&self, rendered: &Rendered) -> Result<bool, ProxyError> {
        let dir = self.settings.haproxy_dir();
        let installed = read_optional(&dir.join("haproxy.cfg")).await?.unwrap_or_default();
        let is_pending = read_optional(&dir.join(PENDING)).await?.is_some();
        let wanted = fingerprint::plain(&rendered.haproxy_cfg);
        Ok(!is_pending && fingerprint::plain(&String::from_utf8_lossy(&installed)) == wanted)
    }

    /// The file says which servers are enabled, for the next start, whichever configuration it holds.
    async fn keep_servers(&self, rendered: &Rendered) -> Result<(), ProxyError> {
        let file = self.settings.haproxy_dir().join("haproxy.cfg");
        let installed = read_optional(&file).await?.unwrap_or_default();
        let text = String::from_utf8_lossy(&installed);
        let wanted = fingerprint::with_states(&text, &rendered.servers);
        if wanted.as_bytes() != installed {
            write_atomic(&file, wanted, 0o644).await?;
        }
        Ok(())
    }

    /// Whether HAProxy, if it runs at all, runs this configuration: one that starts while its file is replaced may have
    /// read the file that was there before.
    async fn is_running(&self, rendered: &Rendered) -> Result<bool, ProxyError> {
        let running = self.control.running_haproxy().await?;
        Ok(running.is_none_or(|mark| fingerprint::of(&rendered.haproxy_cfg) == Some(mark.as_str())))
    }

    /// Holds requests for the apps that Caddy is given later.
    pub(super) async fn hold_back(
        &self,
        rendered: &mut Rendered,
        apps: &Apps,
    ) -> Result<(), ProxyError> {
        let mut installed = BTreeMap::new();
        for name in back::HOSTS {
            let text = read_optional(&self.settings.haproxy_dir().join(name)).await?;
            let text = String::from_utf8_lossy(&text.unwrap_or_default()).into_owned();
            installed.insert(name, text);
        }
        let late = self.served.late(apps);
        let me = rendered.me.as_str();
        rendered.maps = back::hold_all_back(&rendered.maps, &installed, me, &late);
        Ok(())
    }

    /// Writes the maps and the configuration, then tells the running process.
    pub(super) async fn install_haproxy(
        &mut self,
        rendered: &Rendered,
        is_accepted: bool,
        applied: &mut Applied,
    ) -> Result<(), ProxyError> {
        let dir = self.settings.haproxy_dir();
        for (name, text) in &rendered.maps {
            let path = dir.join(name);
            if read_optional(&path).await?.as_deref() != Some(text.as_bytes()) {
                write_atomic(&path, text.as_str(), 0o644).await?;
            }
        }
        let is_in_place = self.is_in_place(rendered).await? && self.is_running(rendered).await?;
        let installed = match (is_accepted && !is_in_place, self.haproxy_turn.wait(Instant::now()))
        {
            (true, None) => self.install_config(rendered, applied).await,
            (true, Some(wait)) => {
                applied.wait(wait);
                Ok(())
            }
            (false, _) => Ok(()),
        };
        self.keep_servers(rendered).await?;
        let switched = self.control.apply_servers(&rendered.servers).await;
        // The hosts are led where they belong, even by a process that did not reload, or does not know an app's servers.
        for name in maps::FILES {
            // What waits for an app's own servers waits on.
            if switched.is_err() && name == maps::HELD {
                continue;
            }
            let text = rendered.maps.get(name).map_or("", String::as_str);
            match self.control.apply_map(name, text).await? {
                Effect::NotRunning => applied.haproxy_is_down = true,
                Effect::Changed(count) => applied.maps_changed += count,
            }
        }
        match switched? {
            Effect::NotRunning => applied.haproxy_is_down = true,
            Effect::Changed(count) => applied.servers_changed += count,
        }
        installed
    }

    async fn install_config(
        &mut self,
        rendered: &Rendered,
        applied: &mut Applied,
    ) -> Result<(), ProxyError> {
        let dir = self.settings.haproxy_dir();
        let (file, good) = (dir.join("haproxy.cfg"), dir.join(LAST_GOOD));
        let pending = dir.join(PENDING);
        if read_optional(&pending).await?.is_none()
            && let Some(current) = read_optional(&file).await?
        {
            write_atomic(&good, current, 0o644).await?;
        }
        write_atomic(&pending, "", 0o644).await?;
        write_atomic(&file, rendered.haproxy_cfg.as_str(), 0o644).await?;
        let began = Instant::now();
        let reloaded = self.control.reload_haproxy().await;
        if !matches!(reloaded, Ok(Effect::NotRunning)) {
            self.haproxy_turn.taken(began, Instant::now());
        }
        match reloaded {
            Ok(Effect::NotRunning) => applied.haproxy_is_down = true,
            Ok(Effect::Changed(_)) => applied.haproxy_reloaded = true,
            Err(ControlError::Refused { what, .. }) => {
                // The check can't see a port that something else on the machine has bound.
                if let Some(last) = read_optional(&good).await? {
                    write_atomic(&file, last, 0o644).await?;
                }
                let text = read_optional(&file).await?.unwrap_or_default();
                let text = String::from_utf8_lossy(&text).into_owned();
                for source in rendered.haproxy_parts.keys() {
                    if !text.contains(&format!("# {source}\n")) {
                        let what = format!("HAProxy did not reload with it: {what}");
                        self.refuse(source, rendered, what.clone());
                        applied.problems.push(Problem::new(source, what));
                    }
                }
                return Err(ControlError::Refused { proxy: "HAProxy", what }.into());
            }
            Err(error) => return Err(error.into()),
        }
        remove(&pending).await
    }
}

/// The configuration with one source's part and no other.
pub(super) fn only(
    cache: &mut Cache,
    view: &ClusterView,
    settings: &ProxySettings,
    templates: &Templates,
    source: &str,
) -> Result<String, RenderError> {
    let mut render =
        |refused: &BTreeMap<String, String>| render_with(cache, view, settings, templates, refused);
    let all = render(&BTreeMap::new())?;
    let others = all.haproxy_parts.into_keys().filter(|other| other != source);
    let refused = others.map(|other| (other, String::new())).collect();
    Ok(render(&refused)?.haproxy_cfg)
}

async fn remove(path: &std::path::Path) -> Result<(), ProxyError> {
    match tokio::fs::remove_file(path).await {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(ProxyError::File(crate::host::files::FileError::Io {
                action: "remove",
                path: path.to_owned(),
                source,
            }))
        }
        _ => Ok(()),
    }
}
