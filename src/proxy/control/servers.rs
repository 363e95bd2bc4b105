//! HAProxy's Runtime API: which servers of the running process are enabled.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::runtime::{command, quiet};
use super::{ControlError, Effect};

/// Set in a server's administrative state while it is disabled, by the configuration or by a command.
const MAINTENANCE: u32 = 1;

/// Enables and disables servers, by backend and server, where the running process has them otherwise.
pub(super) async fn apply(
    socket: &Path,
    wanted: &BTreeMap<(String, String), bool>,
    deadline: Duration,
) -> Result<Effect, ControlError> {
    if wanted.is_empty() {
        return Ok(Effect::Changed(0));
    }
    let Some(shown) = command(socket, "show servers state\n", deadline).await? else {
        return Ok(Effect::NotRunning);
    };
    let running = states(&shown);
    let mut changes: Vec<_> = wanted
        .iter()
        .filter_map(|((backend, server), is_enabled)| {
            let known = running.get(&(backend.as_str(), server.as_str()))?;
            (known.is_enabled != *is_enabled).then_some((backend, server, *is_enabled, known))
        })
        .collect();
    // Never none in between: the new one first.
    changes.sort_by_key(|(_, _, is_enabled, _)| !is_enabled);
    for (backend, server, is_enabled, known) in &changes {
        let state = if *is_enabled { "ready" } else { "maint" };
        quiet(socket, &format!("set server {backend}/{server} state {state}\n"), deadline).await?;
        // A container that was stopped may leave connections that nobody ends.
        if known.is_container && !is_enabled {
            let end = format!("shutdown sessions server {backend}/{server}\n");
            quiet(socket, &end, deadline).await?;
        }
    }
    Ok(Effect::Changed(changes.len()))
}

/// What the running process has of a server.
#[derive(Debug, PartialEq, Eq)]
struct Running {
    is_enabled: bool,
    /// Known by name, as containers are; other nodes are known by address.
    is_container: bool,
}

/// `show servers state`: a version, a heading, then a line for each server, whose columns begin with the backend's number
/// and name, the server's, its address, and its operational and administrative state; the 18th is its name in DNS.
fn states(shown: &str) -> BTreeMap<(&str, &str), Running> {
    shown.lines().filter(|line| !line.starts_with('#')).filter_map(state).collect()
}

fn state(line: &str) -> Option<((&str, &str), Running)> {
    let columns: Vec<_> = line.split_ascii_whitespace().collect();
    let (backend, server) = (columns.get(1)?, columns.get(3)?);
    let admin: u32 = columns.get(6)?.parse().ok()?;
    let is_container = columns.get(17).is_some_and(|name| *name != "-");
    let running = Running { is_enabled: admin & MAINTENANCE == 0, is_container };
    Some(((backend, server), running))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_are_read() {
        let shown = "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight\n\
                     7 backend-ssh 1 node1 - 0 37 1 1 9 1 0 0 0 0 0 0 web 22 - 0 0 - - 0\n\
                     7 backend-ssh 2 node2 10.0.0.2 2 0 1 1 9 1 0 0 0 0 0 0 - 2222 - 0 0 - - 0\n\n";
        let states = states(shown);
        assert_eq!(states.len(), 2);
        let (here, there) =
            (&states[&("backend-ssh", "node1")], &states[&("backend-ssh", "node2")]);
        assert_eq!(*here, Running { is_enabled: false, is_container: true });
        assert_eq!(*there, Running { is_enabled: true, is_container: false });
    }
}
