//! Whether the node's proxies are such that this release can work with them: late enough releases, at the addresses that
//! the settings have. Those of an earlier stack are not, and are left as they are.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use tokio::time::Instant;

use super::{CheckRunner, ContainerFacts};
use crate::proxy::ProxySettings;

/// That all is well counts for so long: every change of a map asks.
const FRESH: Duration = Duration::from_secs(30);
/// How long Docker may take to show a container. The maps wait for the answer, and what is asked changes rarely.
pub(super) const LOOK_DEADLINE: Duration = Duration::from_secs(2);
/// How long a Docker that hung is not asked again: not each change of a map waits for it.
const ASK_AGAIN: Duration = Duration::from_secs(10);
/// To tell its release a program takes no time; Docker may.
const DEADLINE: Duration = Duration::from_secs(10);

/// Said of a Docker that hangs.
pub(super) const SILENT: &str = "Docker does not answer";

/// The number of a release: 2.11.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release(pub u16, pub u16);

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

impl Release {
    /// The first number of a release in what a program says of itself.
    fn find(text: &str) -> Option<Self> {
        text.split_whitespace().find_map(|word| {
            let mut parts = word.strip_prefix('v').unwrap_or(word).split('.');
            Some(Self(parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
        })
    }
}

/// The first Caddy that reads the PROXY protocol and keeps streams over a load.
const CADDY: Release = Release(2, 7);
/// The oldest HAProxy that its makers still mended when this was written.
const HAPROXY: Release = Release(2, 8);

/// Why this release can't work with a proxy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{proxy} {what}; nothing of the proxies is changed until the stack.yml of this release is in place: docs/operating.md, \"Upgrading the stack\""
)]
pub struct Unfit {
    /// HAProxy or Caddy.
    pub proxy: &'static str,
    what: String,
}

impl Unfit {
    /// It is too old.
    pub fn old(proxy: &'static str, found: Release, oldest: Release) -> Self {
        Self { proxy, what: format!("{found} is too old: {oldest} or later is needed") }
    }

    fn elsewhere(proxy: &'static str, container: &str, address: Ipv4Addr) -> Self {
        let what = format!(
            "is not where it is looked for: the container {container} does not have the address {address}"
        );
        Self { proxy, what }
    }
}

/// A proxy as it has to be.
struct Wanted<'a> {
    proxy: &'static str,
    container: &'a str,
    check_container: &'a str,
    address: Ipv4Addr,
    oldest: Release,
    /// What tells its release.
    command: [&'static str; 2],
}

fn both(settings: &ProxySettings) -> [Wanted<'_>; 2] {
    [
        Wanted {
            proxy: "HAProxy",
            container: &settings.haproxy_container,
            check_container: &settings.haproxy_check_container,
            address: settings.haproxy_address,
            oldest: HAPROXY,
            command: ["haproxy", "-v"],
        },
        Wanted {
            proxy: "Caddy",
            container: &settings.caddy_container,
            check_container: &settings.caddy_check_container,
            address: settings.caddy_address,
            oldest: CADDY,
            command: ["caddy", "version"],
        },
    ]
}

/// What was found out so far.
#[derive(Default)]
pub(super) struct Stack {
    last: Option<(Instant, Option<Unfit>)>,
    /// When Docker, which was asked, did not answer.
    unanswered: Option<Instant>,
    /// By image; none: it does not say.
    releases: BTreeMap<String, Option<Release>>,
}

impl Stack {
    /// Why the stack is not fit. While that can't be asked, and while containers are not there, it is as it was.
    pub(super) async fn unfit(
        &mut self,
        settings: &ProxySettings,
        runner: &dyn CheckRunner,
    ) -> Option<Unfit> {
        if let Some((at, None)) = self.last
            && at.elapsed() < FRESH
        {
            return None;
        }
        if self.unanswered.is_some_and(|at| at.elapsed() < ASK_AGAIN) {
            return self.as_it_was();
        }
        let mut found = None;
        for wanted in both(settings) {
            let Ok(unfit) = self.look(&wanted, runner).await else {
                return self.as_it_was();
            };
            found = found.or(unfit);
        }
        self.last = Some((Instant::now(), found.clone()));
        found
    }

    fn as_it_was(&self) -> Option<Unfit> {
        self.last.clone().and_then(|(_, last)| last)
    }

    async fn look(
        &mut self,
        wanted: &Wanted<'_>,
        runner: &dyn CheckRunner,
    ) -> Result<Option<Unfit>, String> {
        let release = self.release(wanted, runner).await?;
        if let Some(found) = release.filter(|found| *found < wanted.oldest) {
            return Ok(Some(Unfit::old(wanted.proxy, found, wanted.oldest)));
        }
        let ContainerFacts { addresses, .. } = self.seen(runner, wanted.container).await?;
        let is_elsewhere = !addresses.contains(&IpAddr::V4(wanted.address));
        let unfit = || Unfit::elsewhere(wanted.proxy, wanted.container, wanted.address);
        Ok(is_elsewhere.then(unfit))
    }

    /// The release of the image that both of a proxy's containers have.
    async fn release(
        &mut self,
        wanted: &Wanted<'_>,
        runner: &dyn CheckRunner,
    ) -> Result<Option<Release>, String> {
        let container = wanted.check_container;
        let image = match self.shown(runner, container).await? {
            Some(facts) => facts.image,
            None => return Err(format!("{container} is not there")),
        };
        if let Some(known) = self.releases.get(&image) {
            return Ok(*known);
        }
        let said = runner.exec(container, &wanted.command.map(str::to_owned), DEADLINE).await?;
        if said.code != 0 {
            return Err(format!("{container} does not tell its release"));
        }
        let release = Release::find(&String::from_utf8_lossy(&said.stdout));
        self.releases.insert(image, release);
        Ok(release)
    }

    /// A container that runs.
    async fn seen(
        &mut self,
        runner: &dyn CheckRunner,
        container: &str,
    ) -> Result<ContainerFacts, String> {
        let found = self.shown(runner, container).await?;
        let found = found.filter(|facts| !facts.addresses.is_empty());
        found.ok_or_else(|| format!("{container} does not run"))
    }

    /// What Docker shows of a container; one that hangs keeps nobody waiting.
    async fn shown(
        &mut self,
        runner: &dyn CheckRunner,
        container: &str,
    ) -> Result<Option<ContainerFacts>, String> {
        match look(runner, container).await {
            Some(found) => found,
            None => {
                self.unanswered = Some(Instant::now());
                Err(SILENT.to_owned())
            }
        }
    }
}

/// What Docker says of a container; none if it says nothing in time.
pub(super) async fn look(
    runner: &dyn CheckRunner,
    container: &str,
) -> Option<Result<Option<ContainerFacts>, String>> {
    tokio::time::timeout(LOOK_DEADLINE, runner.look(container)).await.ok()
}

#[cfg(test)]
mod tests;
