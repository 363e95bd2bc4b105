//! Logs on stderr: for a person, or as JSON.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::error::{CommandFailure, ErrorKind};

/// consulrs and rustify log every request, and every blocking query that merely ends, as an error.
const QUIET: &str = "consulrs=off,rustify=off,hyper=warn,reqwest=warn,bollard=warn";

/// Starts logging with a filter.
pub(super) fn start(filter: &str, json: bool) -> Result<(), CommandFailure> {
    let filter = EnvFilter::try_new(format!("{QUIET},{filter}")).map_err(|error| {
        CommandFailure::new(ErrorKind::Usage, format!("--log or TANDEM_LOG: {error}"))
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    if json {
        builder.json().flatten_event(true).init();
    } else {
        builder.with_target(false).init();
    }
    Ok(())
}
