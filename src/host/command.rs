//! The only door to other processes: argv, a cleared environment, a deadline for the whole process group.

mod group;
mod orphans;
mod streams;
mod tail;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::Child;
use tokio::time::timeout;

pub use orphans::end_orphans;

use group::Group;
use streams::Streams;

/// How much of each output stream is kept, unless [`Command::keep`] says otherwise.
const KEPT: usize = 64 * 1024;
const BUSY_TRIES: u32 = 20;
const BUSY_PAUSE: Duration = Duration::from_millis(10);
const MAX_SUMMARY: usize = 200;

/// Why a command did not succeed. What the process wrote on stderr is part of the message, not its cause.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// There is no such program, or it may not be run.
    #[error("cannot start {program}")]
    Start {
        /// The program.
        program: String,
        /// The cause.
        source: io::Error,
    },
    /// It ended with another status than 0.
    #[error("`{command}` ended with {status}{}", after_colon(stderr))]
    Failed {
        /// Program and arguments, shortened.
        command: String,
        /// The exit status or the signal.
        status: ExitStatus,
        /// The last lines that it wrote, those of stderr at the end.
        stderr: String,
    },
    /// It was killed at the deadline, with its children.
    #[error("`{command}` was ended after {after:?}{}", after_colon(stderr))]
    TimedOut {
        /// Program and arguments, shortened.
        command: String,
        /// The deadline.
        after: Duration,
        /// The last lines that it wrote.
        stderr: String,
    },
    /// Its pipes or its status could not be read.
    #[error("lost touch with `{command}`")]
    Io {
        /// Program and arguments, shortened.
        command: String,
        /// The cause.
        source: io::Error,
    },
}

fn after_colon(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

/// What a successful command wrote: the last part of each stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// Whether the beginning of `stdout` was dropped to keep the bound.
    pub truncated: bool,
}

/// How loud the lines of a command are in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loudness {
    /// Not at all: they may hold secrets.
    Secret,
    Debug,
    Info,
}

/// A program with its arguments, to be run once.
#[derive(Debug, Clone)]
#[must_use]
pub struct Command {
    program: OsString,
    args: Vec<OsString>,
    cwd: Option<PathBuf>,
    env: BTreeMap<OsString, OsString>,
    stdin: Option<Vec<u8>>,
    loudness: Loudness,
    keep: usize,
}

impl Command {
    /// A command without arguments; `program` is a path or found in PATH.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            cwd: None,
            env: BTreeMap::new(),
            stdin: None,
            loudness: Loudness::Debug,
            keep: KEPT,
        }
    }

    /// Adds arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Adds one argument.
    pub fn arg(self, arg: impl AsRef<OsStr>) -> Self {
        self.args([arg])
    }

    /// Sets the directory it runs in.
    pub fn cwd(mut self, dir: impl Into<PathBuf>) -> Self {
        self.cwd = Some(dir.into());
        self
    }

    /// Sets a variable of its environment, over those that pass from Tandem's own.
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.insert(key.as_ref().to_owned(), value.as_ref().to_owned());
        self
    }

    /// Writes `bytes` on its stdin, which is empty otherwise.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// Logs its lines at info as they come, for what takes long; they are logged at debug otherwise.
    pub fn progress(mut self, on: bool) -> Self {
        self.loudness = if on { Loudness::Info } else { Loudness::Debug };
        self
    }

    /// Logs none of its lines, because they may hold secrets.
    pub fn secret(mut self) -> Self {
        self.loudness = Loudness::Secret;
        self
    }

    /// Keeps up to `bytes` of each stream in place of 64 KiB.
    pub fn keep(mut self, bytes: usize) -> Self {
        self.keep = bytes;
        self
    }

    /// Runs it to its end and checks its status.
    ///
    /// At the deadline, or when the future is dropped, the whole process group is ended.
    pub async fn run(self, deadline: Duration) -> Result<Output, CommandError> {
        let command = self.summary();
        let mut child = self.start().await?;
        let group = Group::of(&child);
        let mut streams = Streams::new(&self);
        let end = timeout(deadline, streams.follow(&mut child, self.stdin.as_deref())).await;
        let status = match end {
            Ok(Ok(status)) => status,
            Ok(Err(source)) => return Err(CommandError::Io { command, source }),
            Err(_) => {
                group.end(&mut child).await;
                return Err(CommandError::TimedOut {
                    command,
                    after: deadline,
                    stderr: streams.complaint(),
                });
            }
        };
        if streams.left_open {
            group.kill_rest();
        }
        group.forget();
        if status.success() {
            return Ok(streams.output());
        }
        Err(CommandError::Failed { command, status, stderr: streams.complaint() })
    }

    async fn start(&self) -> Result<Child, CommandError> {
        let mut tries = 1;
        loop {
            match self.spawn() {
                Ok(child) => return Ok(child),
                // A file that was written just now is open in a child of another thread until that one's exec.
                Err(error)
                    if error.kind() == io::ErrorKind::ExecutableFileBusy && tries < BUSY_TRIES =>
                {
                    tries += 1;
                    tokio::time::sleep(BUSY_PAUSE).await;
                }
                Err(source) => {
                    return Err(CommandError::Start {
                        program: self.program.to_string_lossy().into_owned(),
                        source,
                    });
                }
            }
        }
    }

    fn summary(&self) -> String {
        let words: Vec<_> = std::iter::once(&self.program)
            .chain(&self.args)
            .map(|word| word.to_string_lossy())
            .collect();
        let text = words.join(" ");
        match text.char_indices().nth(MAX_SUMMARY) {
            Some((cut, _)) => format!("{}…", &text[..cut]),
            None => text,
        }
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one place that starts processes")]
    fn spawn(&self) -> io::Result<Child> {
        let mut command = tokio::process::Command::new(&self.program);
        command
            .args(&self.args)
            .env_clear()
            .envs(std::env::vars_os().filter(|(key, _)| passes(key)))
            .env("LC_ALL", "C.UTF-8")
            .env(orphans::WORKS_FOR, std::process::id().to_string())
            .envs(&self.env)
            .stdin(if self.stdin.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        if let Some(dir) = &self.cwd {
            command.current_dir(dir);
        }
        command.spawn()
    }
}

/// Whether a variable of Tandem's own environment reaches its children.
fn passes(key: &OsStr) -> bool {
    let Some(key) = key.to_str() else {
        return false;
    };
    let proxies = ["http_proxy", "https_proxy", "no_proxy", "all_proxy"];
    ["PATH", "HOME", "SSH_AUTH_SOCK"].contains(&key)
        || key.starts_with("DOCKER_")
        || proxies.contains(&key.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests;
