//! What is known of the node's Caddy, by its container and by what the same image takes in the check container.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::{CheckError, ContainerFacts};
use crate::proxy::caddy::{CaddyAbilities, is_about_abilities};
use crate::proxy::settings::{CADDY_ALIAS, HAPROXY_ALIAS};

/// An answer counts for so long: every change of a map asks.
const FRESH: Duration = Duration::from_secs(5);
/// While containers are made anew, one after the other, their images differ.
const GRACE: Duration = Duration::from_secs(60);

/// What was found out so far.
#[derive(Default)]
pub(super) struct Knowledge {
    last: Option<(Instant, CaddyAbilities)>,
    /// The image that was probed last, and whether it took the probe.
    probed: Option<(String, bool)>,
    differ_since: Option<Instant>,
    haproxy: BTreeSet<IpAddr>,
    caddy: BTreeSet<IpAddr>,
    apart: bool,
}

impl Knowledge {
    /// The last answer, if it is not old.
    pub(super) fn fresh(&self) -> Option<CaddyAbilities> {
        let (at, abilities) = self.last.as_ref()?;
        (at.elapsed() < FRESH).then(|| abilities.clone())
    }

    /// Makes an answer of what was seen of Caddy, of the check container and of HAProxy; probes an image once.
    pub(super) async fn take<F>(
        &mut self,
        found: &[ContainerFacts],
        probe: impl FnOnce() -> F,
    ) -> Result<CaddyAbilities, CheckError>
    where
        F: Future<Output = Result<Value, CheckError>>,
    {
        let [caddy, check, haproxy] = found else {
            return unknown("too few containers");
        };
        if caddy.image.is_empty() || check.image.is_empty() {
            return unknown("Caddy or its check container is not there");
        }
        // One that was stopped comes back with the address that it had, or is asked for again.
        for (known, seen) in [(&mut self.haproxy, haproxy), (&mut self.caddy, caddy)] {
            if !seen.addresses.is_empty() {
                known.clone_from(&seen.addresses);
            }
        }
        // While one of them is being made anew it is as it was.
        if !haproxy.image.is_empty() {
            self.apart =
                caddy.aliases.contains(CADDY_ALIAS) && haproxy.aliases.contains(HAPROXY_ALIAS);
        }
        let apart = self.apart;
        let is_current = match self.is_same_image(caddy, check)? {
            true => self.takes_probe(&caddy.image, probe).await?,
            false => false,
        };
        if is_current && self.haproxy.is_empty() {
            return unknown("HAProxy has no address yet");
        }
        let abilities = match is_current {
            true => {
                CaddyAbilities { haproxy: self.haproxy.clone(), caddy: self.caddy.clone(), apart }
            }
            false => CaddyAbilities { apart, ..CaddyAbilities::default() },
        };
        self.last = Some((Instant::now(), abilities.clone()));
        Ok(abilities)
    }

    /// What the check container takes says nothing of another image. For a while that is only a question of time.
    fn is_same_image(
        &mut self,
        caddy: &ContainerFacts,
        check: &ContainerFacts,
    ) -> Result<bool, CheckError> {
        if caddy.image == check.image {
            self.differ_since = None;
            return Ok(true);
        }
        let since = *self.differ_since.get_or_insert_with(Instant::now);
        match since.elapsed() < GRACE {
            true => unknown("Caddy's check container has another image than Caddy"),
            false => Ok(false),
        }
    }

    async fn takes_probe<F>(
        &mut self,
        image: &str,
        probe: impl FnOnce() -> F,
    ) -> Result<bool, CheckError>
    where
        F: Future<Output = Result<Value, CheckError>>,
    {
        if let Some((_, takes)) = self.probed.as_ref().filter(|(probed, _)| probed == image) {
            return Ok(*takes);
        }
        let takes = match probe().await {
            Ok(_) => true,
            Err(CheckError::Refused(what)) if is_about_abilities(&what) => false,
            // Too little memory, say: that is nothing to remember.
            Err(CheckError::Refused(what) | CheckError::Unavailable(what)) => {
                return unknown(&what);
            }
        };
        self.probed = Some((image.to_owned(), takes));
        Ok(takes)
    }
}

fn unknown<T>(what: &str) -> Result<T, CheckError> {
    Err(CheckError::Unavailable(what.to_owned()))
}

#[cfg(test)]
mod tests;
