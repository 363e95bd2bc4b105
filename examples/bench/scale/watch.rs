//! Watches in the nodes: each is ready before the change is written, looks every few milliseconds, and says when it saw it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, SystemTime};

use crate::support::Lab;

/// What a watch runs until it succeeds; `$1` and so on are its arguments.
pub(crate) const LED: &str = r#"echo "get map /var/lib/tandem/haproxy/http.map $1" \
    | socat - UNIX-CONNECT:/run/tandem/haproxy/admin.sock | grep -q "val[a-z]*=\"$2\"""#;
/// The node's agent names a problem of an app.
pub(crate) const NAMED: &str =
    r#"curl -fsS "http://127.0.0.1:8500/v1/kv/tandem/nodes/$1?raw" | grep -q "$2: ""#;
/// Consul's whole answer about `app/` after an index.
pub(crate) const ANSWERED: &str =
    r#"curl -fsS -o /dev/null "http://127.0.0.1:8500/v1/kv/app/?recurse&wait=300s&index=$1""#;

/// A watch that runs.
pub(crate) struct Watch {
    child: Child,
    lines: BufReader<ChildStdout>,
    what: String,
}

impl Watch {
    /// Starts one in a node, and returns when it looks.
    pub(crate) fn start(node: &str, condition: &str, args: &[&str]) -> Self {
        let script = format!(
            "echo ready; deadline=$((SECONDS + 600)); until {{ {condition}; }} 2>/dev/null; do \
             [ $SECONDS -lt $deadline ] || exit 1; sleep 0.005; done; echo \"${{EPOCHREALTIME/[.,]/}}\""
        );
        let argv = [&["bash", "-c", &script, "watch"], args].concat();
        // The lab's own way into a node, whose output is read while it runs.
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/lab/lab");
        let mut command = Command::new(script);
        command.args(["exec", node]).args(argv).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut watch = Self { child, lines, what: format!("{args:?} on {node}") };
        assert_eq!(watch.line(), "ready");
        watch
    }

    /// When it saw what it waited for.
    pub(crate) fn end(mut self) -> SystemTime {
        let time = time(&self.line());
        let _ = self.child.wait();
        time.unwrap_or_else(|| panic!("waited in vain for {}", self.what))
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }
}

/// From microseconds since 1970.
pub(crate) fn time(microseconds: &str) -> Option<SystemTime> {
    let microseconds = microseconds.trim().parse().ok()?;
    Some(SystemTime::UNIX_EPOCH + Duration::from_micros(microseconds))
}

/// Writes or deletes a key by node1's Consul; returns when that was begun.
pub(crate) fn write(lab: &Lab, key: &str, value: Option<&str>) -> SystemTime {
    let url = format!("http://127.0.0.1:8500/v1/kv/{key}");
    let script = match value {
        Some(_) => {
            r#"echo "${EPOCHREALTIME/[.,]/}"; exec curl -fsS -o /dev/null -X PUT --data-binary "$2" "$1""#
        }
        None => r#"echo "${EPOCHREALTIME/[.,]/}"; exec curl -fsS -o /dev/null -X DELETE "$1""#,
    };
    let said = lab.node("node1", &["bash", "-c", script, "write", &url, value.unwrap_or_default()]);
    time(&said).unwrap_or_else(|| panic!("{said}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read() {
        assert_eq!(time("1500000\n"), Some(SystemTime::UNIX_EPOCH + Duration::from_millis(1500)));
        assert_eq!(time("x"), None);
        assert_eq!(time(""), None);
    }
}
