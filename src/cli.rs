//! The commands: each needs nothing but Consul, save the agent itself, and `check`, which needs Compose alone.

mod agent;
mod check;
mod drain;
mod follow;
mod forget;
mod handle;
mod logging;
mod printer;
mod render;
mod status;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::consul::{Client, ConsulError};
use crate::error::{CommandFailure, ErrorKind};
use crate::host::compose::ComposeCli;
use printer::Printer;

/// Tandem moves apps between the nodes of a small cluster, with their data.
///
/// Every node runs `tandem agent`. An operator fires events through Consul:
///
///   consul event -name=deploy '{"repo":"ssh://git@host/app","branch":"main","master":"node1","slave":"node2"}'
///   consul event -name=destroy '{"repo":"ssh://git@host/app","branch":"main"}'
///
/// and looks at the result with `tandem status` and `tandem follow`. Consul is found as Consul's own tools find it:
/// CONSUL_HTTP_ADDR, CONSUL_HTTP_TOKEN, CONSUL_CACERT and their kin.
///
/// Exit codes: 0 done; 1 a deployment failed; 2 wrong arguments or settings; 3 Consul does not answer; 4 not found.
#[derive(Debug, Parser)]
#[command(name = "tandem", version, verbatim_doc_comment)]
struct Args {
    /// Log filter, such as `info`, `debug` or `tandem::exec=debug`
    #[arg(long, global = true, env = "TANDEM_LOG", default_value = "info", value_name = "FILTER")]
    log: String,
    /// Log as JSON, one object a line
    #[arg(long, global = true, env = "TANDEM_LOG_JSON", value_parser = clap::builder::FalseyValueParser::new())]
    log_json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Agent(agent::AgentArgs),
    Handle(handle::HandleArgs),
    Status(status::StatusArgs),
    Follow(follow::FollowArgs),
    Drain(drain::DrainArgs),
    Undrain(drain::UndrainArgs),
    Forget(forget::ForgetArgs),
    Check(check::CheckArgs),
    Render(render::RenderArgs),
}

/// Parses the arguments, runs the command, and turns its failure into text and an exit code.
pub fn main() -> ExitCode {
    let args = Args::parse();
    if let Err(failure) = logging::start(&args.log, args.log_json) {
        return report(&failure);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(&CommandFailure::from_error(ErrorKind::Unavailable, &error)),
    };
    match runtime.block_on(run(args.command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report(&failure),
    }
}

async fn run(command: Command) -> Result<(), CommandFailure> {
    let out = &mut Printer::stdout();
    match command {
        Command::Agent(args) => agent::run(args, client()?).await,
        Command::Handle(args) => handle::run(args, client()?).await,
        Command::Status(args) => {
            let client = client()?;
            status::run(&args, &client, &client, out).await
        }
        Command::Follow(args) => follow::run(&args, &client()?, out).await,
        Command::Drain(args) => {
            let client = client()?;
            drain::drain(&args, &client, &client, out).await
        }
        Command::Undrain(args) => drain::undrain(&args, &client()?, out).await,
        Command::Forget(args) => forget::run(&args, &client()?, out).await,
        Command::Render(args) => {
            let client = client()?;
            render::run(&args, &client, &client, out).await
        }
        Command::Check(args) => check::run(&args, &ComposeCli::default(), out).await,
    }
}

fn client() -> Result<Client, CommandFailure> {
    Client::from_env(&|name| std::env::var(name).ok())
        .map_err(|error| CommandFailure::from_error(ErrorKind::Usage, &error))
}

/// A failed call of Consul, with what to do about it.
fn consul_failure(error: &ConsulError) -> CommandFailure {
    CommandFailure::from_error(ErrorKind::Unavailable, error)
        .hint("is the Consul agent running here? CONSUL_HTTP_ADDR says where it is looked for")
}

fn report(failure: &CommandFailure) -> ExitCode {
    let mut text = format!("tandem: {}\n", failure.text);
    if let Some(hint) = failure.hint {
        text.push_str(&format!("  hint: {hint}\n"));
    }
    // Nobody is left to tell if this fails too.
    let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
    failure.exit_code()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Args::command().debug_assert();
        assert!(Args::try_parse_from(["tandem", "drain", "node1", "new disk"]).is_ok());
        assert!(Args::try_parse_from(["tandem", "undrain", "node1"]).is_ok());
        for wrong in ["", "../node1", "-x", "a b"] {
            assert!(Args::try_parse_from(["tandem", "drain", wrong]).is_err(), "{wrong:?}");
        }
    }
}
