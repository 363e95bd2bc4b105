//! A whole that Caddy refuses although it took each text alone: which app it is that it does not take, found by loading
//! what changed in parts. What worked is served on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Applied, Proxies, ProxyError, read_optional};
use crate::model::AppName;
use crate::proxy::Problem;
use crate::proxy::caddy::{AppRoutes, Apps, within};
use crate::proxy::control::ControlError;
use crate::proxy::render::{AppSites, Pages};

/// What Caddy refused may have been so for what is around it: it is tried again after this.
const AGAIN: Duration = Duration::from_secs(60);
/// So many parts of a whole that is refused are tried at once, each by a load.
const TRIALS: usize = 16;
/// Of those that are left then.
const NOT_TRIED: &str = "it was not tried alone";

/// What Caddy did not take with the others.
pub(super) type Refusals = BTreeMap<AppName, Refused>;

/// An app that Caddy refused, as it was then.
pub(super) struct Refused {
    app: (Arc<AppSites>, Arc<AppRoutes>),
    /// Caddy's words.
    what: String,
    since: Instant,
}

impl Proxies {
    /// What changed is taken up part by part, and what is refused alone left out; what worked stays. Pages are only data,
    /// and never the reason.
    pub(super) async fn load_without_new(
        &mut self,
        apps: Apps,
        pages: &Pages,
        what: &str,
        applied: &mut Applied,
    ) -> Result<(), ProxyError> {
        let (mut good, new) = self.apart(apps).await?;
        self.load_as_is(&good, pages, applied).await?;
        let mut left = halves(new, what, &mut self.served.refused);
        let mut trials = 0;
        while let Some(part) = left.pop() {
            if trials == TRIALS {
                note(part, NOT_TRIED, &mut self.served.refused);
                continue;
            }
            trials += 1;
            let mut more = good.clone();
            more.extend(part.iter().map(|(name, app)| (name.clone(), app.clone())));
            match self.load_as_is(&more, pages, applied).await {
                Ok(()) => good = more,
                Err(ProxyError::Control(ControlError::Refused { what, .. })) => {
                    left.extend(halves(part, &what, &mut self.served.refused));
                }
                Err(error) => return Err(error),
            }
        }
        self.say_refused(applied);
        Ok(())
    }

    /// What worked, and what is new: of an app that changed, its former version is what worked.
    async fn apart(&self, apps: Apps) -> Result<(Apps, Apps), ProxyError> {
        let in_file = self.in_file(&apps).await?;
        let (mut good, mut new) = (Apps::new(), Apps::new());
        for (name, app) in apps {
            let served = self.served.apps.get(&name);
            if served == Some(&app) || in_file.contains(&name) {
                good.insert(name, app);
            } else {
                good.extend(served.cloned().map(|old| (name.clone(), old)));
                new.insert(name, app);
            }
        }
        Ok((good, new))
    }

    /// For a process that has not told Caddy anything yet: which apps Caddy serves already as they are to be, by the file
    /// that holds what it took last.
    async fn in_file(&self, apps: &Apps) -> Result<BTreeSet<AppName>, ProxyError> {
        if self.served.is_known() {
            return Ok(BTreeSet::new());
        }
        let text = read_optional(&self.settings.caddy_file()).await?.unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        Ok(within(&self.settings, apps, &text))
    }

    /// What Caddy has refused is tried again after some time, or when it changes.
    pub(super) fn forgive_refused(&mut self, apps: &Apps, applied: &mut Applied) {
        self.served.refused.retain(|name, refused| {
            refused.since.elapsed() < AGAIN && apps.get(name) == Some(&refused.app)
        });
        for refused in self.served.refused.values() {
            applied.wait(AGAIN.saturating_sub(refused.since.elapsed()));
        }
        self.say_refused(applied);
    }

    /// Of what Caddy has refused, what was there before is served on, and nothing of what is new.
    pub(super) fn without_refused(&self, apps: &mut Apps) {
        for (name, refused) in &self.served.refused {
            if apps.get(name) == Some(&refused.app) {
                apps.remove(name);
                apps.extend(self.served.apps.get(name).map(|old| (name.clone(), old.clone())));
            }
        }
    }

    fn say_refused(&self, applied: &mut Applied) {
        let refused = self.served.refused.iter();
        applied.problems.extend(refused.map(|(name, refused)| {
            let what = format!("Caddy refuses the whole with it: {}", refused.what);
            Problem::new(format!("app/{name}"), what)
        }));
    }
}

/// The halves of a part that was refused; of a single app there are none, and it is noted.
fn halves(mut part: Apps, what: &str, refused: &mut Refusals) -> Vec<Apps> {
    match part.keys().nth(part.len() / 2).cloned().filter(|_| part.len() > 1) {
        Some(middle) => {
            let second = part.split_off(&middle);
            vec![second, part]
        }
        None => {
            note(part, what, refused);
            Vec::new()
        }
    }
}

fn note(part: Apps, what: &str, refused: &mut Refusals) {
    let since = Instant::now();
    let of = |(name, app)| (name, Refused { app, what: what.to_owned(), since });
    refused.extend(part.into_iter().map(of));
}
