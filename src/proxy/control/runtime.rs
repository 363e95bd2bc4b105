//! HAProxy's Runtime API: the maps of the running process.

use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::{ControlError, Effect};
use crate::proxy::haproxy::maps::entries;

/// Up to so many differences are changed one by one; above it the whole map is replaced in one step.
const FEW: usize = 8;
/// A command with its payload has to fit in HAProxy's buffer of 16 KiB.
const MAX_PAYLOAD: usize = 8 * 1024;

/// Sends one command and reads the whole answer; `None` if nobody listens.
pub(super) async fn command(
    socket: &Path,
    text: &str,
    deadline: Duration,
) -> Result<Option<String>, ControlError> {
    let exchange = async {
        let mut stream = match UnixStream::connect(socket).await {
            Ok(stream) => stream,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        stream.write_all(text.as_bytes()).await?;
        // The master's CLI keeps the session open without this.
        stream.shutdown().await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok(Some(String::from_utf8_lossy(&answer).into_owned()))
    };
    let result = match timeout(deadline, exchange).await {
        Ok(result) => result,
        Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut)),
    };
    result.map_err(|source| ControlError::Lost { proxy: "HAProxy", source: Box::new(source) })
}

fn is_absent(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionRefused, NotFound};
    matches!(error.kind(), NotFound | ConnectionRefused)
}

/// Makes a map equal to the text of its file.
pub(super) async fn apply(
    socket: &Path,
    map: &Path,
    text: &str,
    deadline: Duration,
) -> Result<Effect, ControlError> {
    let shown = command(socket, &format!("show map {}\n", map.display()), deadline).await?;
    let Some(shown) = shown else {
        return Ok(Effect::NotRunning);
    };
    if shown.starts_with("Unknown map") {
        return refused(&shown);
    }
    // Each line is `0xID KEY VALUE`.
    let running: Vec<_> =
        shown.lines().filter_map(|line| line.split_once(' ')?.1.split_once(' ')).collect();
    change(socket, map, &running, text, deadline).await
}

/// As [`apply`], for a map that is known to be as the text `known`.
pub(super) async fn apply_to(
    socket: &Path,
    map: &Path,
    known: &str,
    text: &str,
    deadline: Duration,
) -> Result<Effect, ControlError> {
    match known == text {
        true => Ok(Effect::Changed(0)),
        false => change(socket, map, &entries(known), text, deadline).await,
    }
}

async fn change(
    socket: &Path,
    map: &Path,
    running: &[(&str, &str)],
    text: &str,
    deadline: Duration,
) -> Result<Effect, ControlError> {
    let map = map.display();
    let wanted = entries(text);
    let differences = differences(running, &wanted);
    if running == wanted || (differences.is_empty() && !is_ordered(text)) {
        return Ok(Effect::Changed(0));
    }
    let changed = differences.len().max(1);
    if differences.len() <= FEW && !is_ordered(text) {
        for difference in differences {
            quiet(socket, &difference.command(&map.to_string()), deadline).await?;
        }
    } else {
        replace(socket, &map.to_string(), &wanted, deadline).await?;
    }
    Ok(Effect::Changed(changed))
}

/// Maps of suffixes: the first that fits is taken, so their order matters and entries can't just be added.
fn is_ordered(text: &str) -> bool {
    text.starts_with('.')
}

/// One change of a map.
#[derive(Debug, PartialEq, Eq)]
enum Difference<'a> {
    Add(&'a str, &'a str),
    Set(&'a str, &'a str),
    Delete(&'a str),
}

impl Difference<'_> {
    fn command(&self, map: &str) -> String {
        match self {
            Self::Add(key, value) => format!("add map {map} {key} {value}\n"),
            Self::Set(key, value) => format!("set map {map} {key} {value}\n"),
            Self::Delete(key) => format!("del map {map} {key}\n"),
        }
    }
}

fn differences<'a>(
    running: &[(&'a str, &'a str)],
    wanted: &[(&'a str, &'a str)],
) -> Vec<Difference<'a>> {
    let index = |entries: &[(&'a str, &'a str)]| {
        entries.iter().copied().collect::<std::collections::BTreeMap<_, _>>()
    };
    let (old, new) = (index(running), index(wanted));
    let mut differences: Vec<_> = new
        .iter()
        .filter_map(|(key, value)| match old.get(key) {
            Some(known) if known == value => None,
            Some(_) => Some(Difference::Set(key, value)),
            None => Some(Difference::Add(key, value)),
        })
        .collect();
    differences.extend(
        old.keys().filter(|key| !new.contains_key(*key)).map(|key| Difference::Delete(key)),
    );
    differences
}

/// Replaces a map in one step: a new version is filled, then made current.
async fn replace(
    socket: &Path,
    map: &str,
    wanted: &[(&str, &str)],
    deadline: Duration,
) -> Result<(), ControlError> {
    let prepared = command(socket, &format!("prepare map {map}\n"), deadline).await?;
    let prepared = prepared.unwrap_or_default();
    let version = prepared.trim().strip_prefix("New version created:").map(str::trim);
    let Some(version) = version.filter(|version| version.chars().all(|c| c.is_ascii_digit()))
    else {
        return refused(&prepared);
    };
    let mut payload = String::new();
    for (key, value) in wanted {
        payload.push_str(&format!("{key} {value}\n"));
        if payload.len() > MAX_PAYLOAD {
            quiet(socket, &format!("add map @{version} {map} <<\n{payload}\n"), deadline).await?;
            payload.clear();
        }
    }
    if !payload.is_empty() {
        quiet(socket, &format!("add map @{version} {map} <<\n{payload}\n"), deadline).await?;
    }
    quiet(socket, &format!("commit map @{version} {map}\n"), deadline).await
}

/// Sends a command that says nothing where it succeeds.
pub(super) async fn quiet(
    socket: &Path,
    text: &str,
    deadline: Duration,
) -> Result<(), ControlError> {
    match command(socket, text, deadline).await? {
        Some(answer) if !answer.trim().is_empty() => refused(&answer),
        _ => Ok(()),
    }
}

fn refused<T>(answer: &str) -> Result<T, ControlError> {
    Err(ControlError::Refused { proxy: "HAProxy", what: answer.trim().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_differences_are_sent() {
        let running = [("a", "1"), ("b", "1"), ("c", "1")];
        let wanted = [("a", "1"), ("b", "2"), ("d", "1")];
        assert_eq!(
            differences(&running, &wanted),
            [Difference::Set("b", "2"), Difference::Add("d", "1"), Difference::Delete("c")]
        );
    }
}
