//! Events with other names: the executable `handlers/NAME` gets the payload on its standard input.

use tracing::{error, info};

use crate::event::HandlerName;
use crate::exec::Context;
use crate::host::command::Command;
use crate::model::DeployId;

/// Runs the handler of an event, if the node has one; says in the log how it ended.
pub(super) async fn run(ctx: &Context, id: &DeployId, name: &HandlerName, payload: &[u8]) {
    let path = ctx.config.handlers_dir.join(name.as_str());
    let event = name.as_str();
    match tokio::fs::metadata(&path).await {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) | Err(_) => {
            error!(event, id = %id, path = %path.display(), "no handler for this event: put an executable there");
            return;
        }
    }
    let command = Command::new(&path)
        .cwd("/")
        .env("TANDEM_EVENT_ID", id.as_str())
        .env("TANDEM_EVENT_NAME", event)
        .env("TANDEM_NODE", ctx.me.as_str())
        .stdin(payload.to_vec());
    match command.run(ctx.config.deadlines.script).await {
        Ok(_) => info!(event, id = %id, "handler done"),
        Err(problem) => error!(event, id = %id, reason = %problem, "handler failed"),
    }
}
