//! `tandem handle`

use std::sync::Arc;

use clap::Args;
use tokio::io::AsyncReadExt;

use crate::agent::{self, Intake};
use crate::config::RawSettings;
use crate::consul::{Client, event};
use crate::error::{CommandFailure, ErrorKind};

/// Take in the events that a Consul watch passes on standard input
///
/// The other way in beside the agent's own following, for nodes whose Consul runs a watch of type `event`
/// (handlers/consul-watch.json). Reads the JSON list of events, writes each down once, and ends.
#[derive(Debug, Args)]
pub(super) struct HandleArgs {
    #[command(flatten)]
    settings: RawSettings,
}

pub(super) async fn run(args: HandleArgs, client: Client) -> Result<(), CommandFailure> {
    let config = super::agent::load(&args.settings)?;
    let mut text = Vec::new();
    tokio::io::stdin()
        .read_to_end(&mut text)
        .await
        .map_err(|error| CommandFailure::from_error(ErrorKind::Usage, &error))?;
    let events = event::parse_list(&text)
        .map_err(|error| CommandFailure::from_error(ErrorKind::Usage, &error))?;
    let context = agent::context_alone(config, &client)
        .await
        .map_err(|error| super::agent::agent_failure(&error))?;
    let intake = Arc::new(Intake { ctx: Arc::new(context) });
    let history = intake.ctx.journal.is_new();
    for task in intake.take_in(events, history).await {
        task.await.map_err(|error| CommandFailure::from_error(ErrorKind::Failed, &error))?;
    }
    Ok(())
}
