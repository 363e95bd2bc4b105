//! The running proxies, and the check containers: the one seam through which this module acts on anything but files.

#[cfg(any(test, feature = "testing"))]
mod fake;
mod listeners;
mod local;
mod master;
mod pushed;
mod runtime;
mod servers;
mod stack;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

use super::caddy::CaddyConfig;

#[cfg(any(test, feature = "testing"))]
pub use fake::{FakeControl, servers};
pub use local::LocalControl;
pub use stack::{Release, Unfit};

/// So much of a stream a check may print: what Caddy makes of one app's text is smaller.
pub const MAX_CHECK_OUTPUT: usize = 1024 * 1024;

/// What a command in a container gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecOutput {
    /// The exit status.
    pub code: i64,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

/// What tells a container from the one that had its name before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContainerFacts {
    /// The id of its image.
    pub image: String,
    /// Its addresses, in all of its networks; none while it does not run.
    pub addresses: BTreeSet<IpAddr>,
}

/// Runs a command in a container.
#[async_trait]
pub trait CheckRunner: Send + Sync {
    /// Runs `argv` in a running container and waits for its end. An error means that it is not known how the command
    /// ended: no such container, no Docker, the deadline. Of each stream at least [`MAX_CHECK_OUTPUT`] bytes are kept.
    async fn exec(
        &self,
        container: &str,
        argv: &[String],
        deadline: Duration,
    ) -> Result<ExecOutput, String>;

    /// Looks at a container, which may have ended; none if there is none of that name. An error means that it is not known.
    async fn look(&self, container: &str) -> Result<Option<ContainerFacts>, String>;
}

/// Why a configuration did not pass a check.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// The proxy's own words.
    #[error("{0}")]
    Refused(String),
    /// The check could not be made: nothing is known about the configuration.
    #[error("the check could not be made: {0}")]
    Unavailable(String),
}

/// Why a running proxy did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The proxy's own words.
    #[error("{proxy} refused: {what}")]
    Refused {
        /// HAProxy or Caddy.
        proxy: &'static str,
        /// What it said.
        what: String,
    },
    /// The exchange with it broke.
    #[error("lost {proxy} in an exchange")]
    Lost {
        /// HAProxy or Caddy.
        proxy: &'static str,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What a command to a proxy did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// So many things changed; none if it was so already.
    Changed(usize),
    /// The proxy does not run. It reads the files when it starts.
    NotRunning,
}

/// The proxies of this node.
#[async_trait]
pub trait ProxyControl: Send + Sync {
    /// Has HAProxy check a whole configuration, against the map files in place. Changes nothing.
    async fn check_haproxy(&self, text: &str) -> Result<(), CheckError>;

    /// Has Caddy read and provision a Caddyfile in a process of its own. Changes nothing.
    async fn adapt(&self, text: &str) -> Result<Value, CheckError>;

    /// Which Caddy [`adapt`](Self::adapt) asks: another text if it is another one.
    async fn caddy_identity(&self) -> Result<String, CheckError>;

    /// Why this release can't work with the node's proxies, if it is known that it can't. Asked for often.
    async fn unfit(&self) -> Option<Unfit>;

    /// The `description` of the configuration that HAProxy runs (see `render::fingerprint`); none if it does not run.
    async fn running_haproxy(&self) -> Result<Option<String>, ControlError>;

    /// On which of these ports, where HAProxy binds them, something listens: HAProxy itself, too, if it runs.
    async fn taken_ports(&self, ports: &BTreeSet<u16>) -> BTreeSet<u16>;

    /// Makes HAProxy read its file again and waits until the new process serves. If it refuses, the old one serves on.
    async fn reload_haproxy(&self) -> Result<Effect, ControlError>;

    /// Makes a map of the running HAProxy equal to `text`, the content of its file. Idempotent.
    async fn apply_map(&self, file: &str, text: &str) -> Result<Effect, ControlError>;

    /// Enables and disables servers of the running HAProxy, by backend and server. Idempotent.
    async fn apply_servers(
        &self,
        servers: &BTreeMap<(String, String), bool>,
    ) -> Result<Effect, ControlError>;

    /// Whether Caddy runs the configuration with a mark; none if it does not run.
    async fn caddy_runs(&self, mark: &str) -> Result<Option<bool>, ControlError>;

    /// The requests that Caddy has passed on and not answered yet, by `host:port`; none if it does not run. Upgraded
    /// connections count as long as they are open.
    async fn caddy_requests(&self) -> Result<BTreeMap<String, u64>, ControlError>;

    /// Makes Caddy run a configuration, unless it does already. If it refuses, the old one stays.
    async fn load_caddy(&self, config: &CaddyConfig) -> Result<Effect, ControlError>;
}
