//! HAProxy's half: the whole checked, the culprit found, files first, then the running process.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::{
    Applied, Cache, CheckError, ClusterView, ControlError, Effect, Failures, Proxies, ProxyError,
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

    /// As [`render_accepted`](Self::render_accepted); where HAProxy's configuration can't be had at all, the hosts'
    /// ways still can.
    pub(super) async fn render_at_all(
        &mut self,
        view: &ClusterView,
        applied: &mut Applied,
        failures: &mut Failures,
    ) -> Result<(Rendered, bool), ProxyError> {
        match self.render_accepted(view, applied).await {
            Err(error @ ProxyError::Render(_)) => Err(error),
            Err(error) => {
                failures.note(Err::<(), _>(error));
                applied.haproxy_is_behind = true;
                let mut cache = std::mem::take(&mut self.cache);
                let rendered = self.render_known(&mut cache, view);
                self.cache = cache;
                Ok((rendered?, false))
            }
            Ok(accepted) => Ok(accepted),
        }
    }

    async fn render_by(
        &mut self,
        cache: &mut Cache,
        view: &ClusterView,
        applied: &mut Applied,
    ) -> Result<(Rendered, bool), ProxyError> {
        let all = render_with(cache, view, &self.settings, &self.templates, &BTreeMap::new())?;
        self.refused.retain(|source, (part, _)| all.haproxy_parts.get(source) == Some(part));
        self.look_at_ports(&all, applied).await;
        // Mostly nothing is refused, and this is it.
        let first = if self.refused.is_empty() { all } else { self.render_known(cache, view)? };
        if let Some(wait) = self.haproxy_turn.wait(Instant::now())
            && !self.is_in_place(&first).await?
        {
            applied.wait(wait);
            applied.haproxy_is_behind = true;
            return Ok((first, false));
        }
        match self.narrow(cache, view, first).await {
            Ok(rendered) => Ok((rendered, true)),
            Err(ProxyError::Check { source: source @ CheckError::Unavailable(_), .. }) => {
                applied.unchecked.push(format!("haproxy.cfg: {source}"));
                applied.haproxy_is_behind = true;
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
            // One that does not start is asked again: its image may be another one.
            if !self.is_away && self.is_in_place(&rendered).await? {
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

    pub(super) fn refuse(&mut self, source: &str, rendered: &Rendered, what: String) {
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
    pub(super) async fn hold_back(&self, rendered: &mut Rendered, apps: &Apps) {
        let mut installed = BTreeMap::new();
        for name in back::HOSTS {
            // What can't be read leads nobody here: those who come wait.
            let text = read_optional(&self.settings.haproxy_dir().join(name)).await;
            let text = text.unwrap_or_default().unwrap_or_default();
            installed.insert(name, String::from_utf8_lossy(&text).into_owned());
        }
        let late = self.served.late(apps);
        let me = rendered.me.as_str();
        rendered.maps = back::hold_all_back(&rendered.maps, &installed, me, &late);
    }

    /// Writes the maps and the configuration, then tells the running process: all that can be done of it, whatever fails.
    pub(super) async fn install_haproxy(
        &mut self,
        rendered: &Rendered,
        is_accepted: bool,
        applied: &mut Applied,
        failures: &mut Failures,
    ) {
        let are_written = failures.note(self.write_maps(rendered).await).is_some();
        // A process that starts anew reads the maps: with older ones it would lead hosts astray.
        if is_accepted && are_written {
            let installed = self.install_if_new(rendered, applied).await;
            applied.haproxy_is_behind |= failures.note(installed).is_none();
        }
        failures.note(self.keep_servers(rendered).await);
        self.tell_haproxy(rendered, applied, failures).await;
    }

    async fn write_maps(&self, rendered: &Rendered) -> Result<(), ProxyError> {
        for (name, text) in &rendered.maps {
            let path = self.settings.haproxy_dir().join(name);
            if read_optional(&path).await?.as_deref() != Some(text.as_bytes()) {
                write_atomic(&path, text.as_str(), 0o644).await?;
            }
        }
        Ok(())
    }

    async fn install_if_new(
        &mut self,
        rendered: &Rendered,
        applied: &mut Applied,
    ) -> Result<(), ProxyError> {
        if self.is_in_place(rendered).await? && self.is_running(rendered).await? {
            return Ok(());
        }
        match self.haproxy_turn.wait(Instant::now()) {
            None => self.install_config(rendered, applied).await,
            Some(wait) => {
                applied.wait(wait);
                applied.haproxy_is_behind = true;
                Ok(())
            }
        }
    }

    /// The hosts are led where they belong, even by a process that did not reload, or does not know an app's servers, and
    /// whose files could not be written.
    async fn tell_haproxy(
        &self,
        rendered: &Rendered,
        applied: &mut Applied,
        failures: &mut Failures,
    ) {
        let switched = self.control.apply_servers(&rendered.servers).await;
        let are_switched = switched.is_ok();
        applied.is_routed = true;
        for name in maps::FILES {
            // What waits for an app's own servers waits on.
            if !are_switched && name == maps::HELD {
                continue;
            }
            let text = rendered.maps.get(name).map_or("", String::as_str);
            match failures.note(self.control.apply_map(name, text).await) {
                Some(Effect::NotRunning) => applied.haproxy_is_down = true,
                Some(Effect::Changed(count)) => applied.maps_changed += count,
                None => applied.is_routed = false,
            }
        }
        match failures.note(switched) {
            Some(Effect::NotRunning) => applied.haproxy_is_down = true,
            Some(Effect::Changed(count)) => applied.servers_changed += count,
            None => applied.is_routed = false,
        }
        applied.is_routed &= !applied.haproxy_is_down;
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
                let mut left_out = Vec::new();
                for source in rendered.haproxy_parts.keys() {
                    if !text.contains(&format!("# {source}\n")) {
                        let what = format!("HAProxy did not reload with it: {what}");
                        self.refuse(source, rendered, what.clone());
                        applied.problems.push(Problem::new(source, what));
                        left_out.push(source.clone());
                    }
                }
                self.note_taken(&left_out, rendered).await;
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
