//! HAProxy's master process: reloads, verified.

use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::runtime::command;
use super::{ControlError, Effect};

const STEP: Duration = Duration::from_millis(50);

/// The processes, as `show proc` lists them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Processes {
    /// Reloads that failed.
    failed: u64,
    /// The process that takes connections.
    worker: Option<String>,
}

/// Reloads and waits until a new worker serves, or until the master says that it failed.
pub(super) async fn reload(socket: &Path, deadline: Duration) -> Result<Effect, ControlError> {
    let until = Instant::now() + deadline;
    let Some(before) = command(socket, "show proc\n", deadline).await? else {
        return Ok(Effect::NotRunning);
    };
    let before = processes(&before);
    // It says how that ended, unless the session is cut while it executes itself anew.
    let answer = command(socket, "reload\n", deadline).await;
    let answer = answer.ok().flatten().unwrap_or_default();
    if answer.contains("Success=0") {
        return failed(answer.trim());
    }
    while Instant::now() < until {
        sleep(STEP).await;
        let Ok(Some(now)) = command(socket, "show proc\n", STEP * 20).await else {
            continue;
        };
        let now = processes(&now);
        if now.failed > before.failed {
            return failed("the reload failed; the process before it serves on");
        }
        if now.worker.is_some() && now.worker != before.worker {
            return Ok(Effect::Changed(1));
        }
    }
    // It may come yet, and then it runs what is on disk.
    let what = format!("no new process {} s after a reload", deadline.as_secs());
    Err(ControlError::Lost {
        proxy: "HAProxy",
        source: std::io::Error::new(std::io::ErrorKind::TimedOut, what).into(),
    })
}

fn failed(what: &str) -> Result<Effect, ControlError> {
    Err(ControlError::Refused { proxy: "HAProxy", what: what.to_owned() })
}

fn processes(shown: &str) -> Processes {
    let mut failed = 0;
    let mut worker = None;
    let mut section = "";
    for line in shown.lines() {
        if let Some(title) = line.strip_prefix('#') {
            section = title.trim();
            continue;
        }
        let mut words = line.split_whitespace();
        let (pid, kind) = (words.next(), words.next());
        if kind == Some("master") {
            // `1 [failed: 0]`
            let count = line.split("failed:").nth(1).unwrap_or_default();
            failed = count.split(']').next().unwrap_or_default().trim().parse().unwrap_or(0);
        } else if kind == Some("worker") && section == "workers" && worker.is_none() {
            worker = pid.map(str::to_owned);
        }
    }
    Processes { failed, worker }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn show_proc_is_read() {
        let shown = "#<PID>          <type>          <reloads>       <uptime>        <version>\n\
            9               master          2 [failed: 1]   0d00h00m05s     2.6.12\n\
            # workers\n\
            21              worker          0               0d00h00m01s     2.6.12\n\
            # old workers\n\
            12              worker          2               0d00h00m05s     2.6.12\n\
            # programs\n";
        let worker = Some("21".to_owned());
        assert_eq!(processes(shown), Processes { failed: 1, worker });
    }
}
