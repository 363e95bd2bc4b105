//! What flows into and out of containers.

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::models::ExecConfig;
use futures_util::{Stream, StreamExt};
use tokio::io::AsyncWriteExt;

use crate::host::docker::ExecOutput;

const MAX_OUTPUT: usize = 1024 * 1024;

pub(super) async fn exec(
    docker: &Docker,
    container: &str,
    argv: &[String],
    stdin: Option<Vec<u8>>,
) -> Result<ExecOutput, Error> {
    let config = ExecConfig {
        attach_stdin: Some(stdin.is_some()),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        cmd: Some(argv.to_vec()),
        ..ExecConfig::default()
    };
    let id = docker.create_exec(container, config).await?.id;
    let (mut stdout, mut stderr) = (String::new(), String::new());
    match docker.start_exec(&id, None).await? {
        bollard::exec::StartExecResults::Attached { output, mut input } => {
            let feed = async {
                if let Some(bytes) = stdin {
                    // A command that does not read its input tells by its code.
                    let _ = input.write_all(&bytes).await;
                    let _ = input.shutdown().await;
                }
            };
            let read = collect(output, |chunk| match chunk {
                LogOutput::StdErr { message } => append(&mut stderr, &message),
                LogOutput::StdOut { message }
                | LogOutput::StdIn { message }
                | LogOutput::Console { message } => append(&mut stdout, &message),
            });
            tokio::join!(feed, read).1?;
        }
        bollard::exec::StartExecResults::Detached => {}
    }
    let code = docker.inspect_exec(&id).await?.exit_code.unwrap_or(-1);
    Ok(ExecOutput { code, stdout, stderr })
}

pub(super) async fn collect(
    mut stream: impl Stream<Item = Result<LogOutput, Error>> + Unpin,
    mut take: impl FnMut(LogOutput),
) -> Result<(), Error> {
    while let Some(chunk) = stream.next().await {
        take(chunk?);
    }
    Ok(())
}

pub(super) fn append(text: &mut String, bytes: &[u8]) {
    if text.len() < MAX_OUTPUT {
        text.push_str(&String::from_utf8_lossy(bytes));
    }
}
