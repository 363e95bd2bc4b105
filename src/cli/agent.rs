//! `tandem agent`

use clap::Args;

use crate::agent::{self, AgentError};
use crate::config::{Config, RawSettings};
use crate::consul::Client;
use crate::error::{CommandFailure, ErrorKind};

/// Run this node's agent: follow events, carry out deployments, keep the proxies right
///
/// Settings come from flags, TANDEM_* variables and a YAML file (keys as the flags, with _ for -), in this order.
/// The agent runs in the foreground until SIGTERM or SIGINT and survives the loss and return of Consul and Docker.
#[derive(Debug, Args)]
pub(super) struct AgentArgs {
    #[command(flatten)]
    settings: RawSettings,
}

pub(super) async fn run(args: AgentArgs, client: Client) -> Result<(), CommandFailure> {
    let config = load(&args.settings)?;
    agent::run(config, client).await.map_err(|error| agent_failure(&error))
}

/// The settings, or everything that is wrong with them.
pub(super) fn load(settings: &RawSettings) -> Result<Config, CommandFailure> {
    Config::load(settings).map_err(|error| CommandFailure::from_error(ErrorKind::Usage, &error))
}

pub(super) fn agent_failure(error: &AgentError) -> CommandFailure {
    let kind = match error {
        AgentError::CertificateKey(_)
        | AgentError::Second { .. }
        | AgentError::NameTaken { .. } => ErrorKind::Usage,
        AgentError::Journal(_)
        | AgentError::Folder(..)
        | AgentError::Proxies(_)
        | AgentError::Signals(_)
        | AgentError::Ended(_) => ErrorKind::Unavailable,
    };
    let failure = CommandFailure::from_error(kind, error);
    if !matches!(error, AgentError::NameTaken { .. }) {
        return failure;
    }
    failure.hint(
        "give each machine a name of its own (`node` in its settings, or the name of its Consul agent)",
    )
}
