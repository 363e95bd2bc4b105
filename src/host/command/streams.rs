//! What goes into a child and comes out of it.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Child;
use tokio::time::timeout;

use super::tail::{Lines, Tail};
use super::{Command, Loudness, Output};

/// How long the pipes may stay open after the process has ended, held by a child that it left behind.
const PIPE_GRACE: Duration = Duration::from_secs(1);
const ERROR_LINES: usize = 15;

/// Both output streams of one run, and what is kept of them.
pub(super) struct Streams {
    program: String,
    loudness: Loudness,
    stdout: Tail,
    stderr: Tail,
    pub(super) left_open: bool,
}

impl Streams {
    pub(super) fn new(command: &Command) -> Self {
        Self {
            program: command.program.to_string_lossy().into_owned(),
            loudness: command.loudness,
            stdout: Tail::new(command.keep),
            stderr: Tail::new(command.keep),
            left_open: false,
        }
    }

    /// Feeds and reads the child until it has ended and its pipes are closed, or held by others for too long.
    pub(super) async fn follow(
        &mut self,
        child: &mut Child,
        stdin: Option<&[u8]>,
    ) -> io::Result<ExitStatus> {
        let (to, from, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let feed = async {
            if let (Some(mut to), Some(bytes)) = (to, stdin) {
                // A child that does not read its stdin is none of our business: its status tells.
                let _ = to.write_all(bytes).await;
                let _ = to.shutdown().await;
            }
        };
        let log = |stream| Lines::new(&self.program, stream, self.loudness);
        let (mut out_lines, mut err_lines) = (log("stdout"), log("stderr"));
        let read = async {
            tokio::join!(
                feed,
                read(from, &mut self.stdout, &mut out_lines),
                read(errors, &mut self.stderr, &mut err_lines),
            )
        };
        tokio::pin!(read);
        let status = tokio::select! {
            ended = &mut read => {
                ended.1?;
                ended.2?;
                return child.wait().await;
            }
            status = child.wait() => status?,
        };
        self.left_open = timeout(PIPE_GRACE, read).await.is_err();
        Ok(status)
    }

    /// The last lines of stderr; where those are few, the last ones of stdout before them (a build's own output).
    pub(super) fn complaint(&self) -> String {
        let stderr = self.stderr.last_lines(ERROR_LINES);
        let room = ERROR_LINES - stderr.lines().count();
        if self.loudness == Loudness::Secret || room == 0 {
            return stderr;
        }
        let mut text = self.stdout.last_lines(room);
        if !text.is_empty() && !stderr.is_empty() {
            text.push('\n');
        }
        text + &stderr
    }

    pub(super) fn output(self) -> Output {
        Output {
            truncated: self.stdout.is_cut(),
            stdout: self.stdout.into_text(),
            stderr: self.stderr.into_text(),
        }
    }
}

async fn read(
    from: Option<impl AsyncRead + Unpin>,
    tail: &mut Tail,
    lines: &mut Lines<'_>,
) -> io::Result<()> {
    let Some(mut from) = from else {
        return Ok(());
    };
    let mut chunk = [0; 8192];
    loop {
        let n = from.read(&mut chunk).await?;
        if n == 0 {
            lines.end();
            return Ok(());
        }
        tail.push(&chunk[..n]);
        lines.push(&chunk[..n]);
    }
}
