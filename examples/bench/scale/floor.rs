//! What the same takes without an agent, on the same machine in the same minute: Consul telling a watcher of a write,
//! HAProxy changing an entry, Caddy loading what it runs.

use serde::Serialize;

use super::apps::App;
use super::watch::{ANSWERED, Watch, write};
use crate::probe::seconds;
use crate::stats::Summary;
use crate::support::{Lab, NODES};

const TIMES: usize = 5;
/// Commands in a row, so that the time of one can be told.
const COMMANDS: u32 = 100;

/// Seconds.
#[derive(Debug, Serialize)]
pub(crate) struct Floor {
    /// From a write until curl on every node has Consul's whole answer about `app/`.
    pub(crate) consul: Summary,
    /// One `set map` by socat.
    pub(crate) set_map: Summary,
    /// Caddy's `/load` of the file that it runs, by curl, not skipped.
    pub(crate) load: Summary,
}

pub(crate) fn measure(lab: &Lab, node: &str, app: &App) -> Floor {
    let repeat = |mut once: Box<dyn FnMut(usize) -> f64 + '_>| {
        Summary::of((0..TIMES).map(&mut once).collect::<Vec<_>>())
    };
    Floor {
        consul: repeat(Box::new(|run| consul(lab, run, app))),
        set_map: repeat(Box::new(|_| set_map(lab, node, app))),
        load: repeat(Box::new(|_| load(lab, node))),
    }
}

/// Writes a record that says the same, but for a field that nobody reads.
fn consul(lab: &Lab, run: usize, app: &App) -> f64 {
    let mut record = app.record(lab);
    record["bench"] = serde_json::json!(format!("{run} {:?}", std::time::SystemTime::now()));
    let watches = NODES.map(|node| {
        let url = "http://127.0.0.1:8500/v1/kv/app/?recurse";
        let script = format!("curl -fsS -o /dev/null -D - '{url}' | tr -d '\\r'");
        let headers = lab.node(node, &["bash", "-c", &script]);
        Watch::start(node, ANSWERED, &[index(&headers)])
    });
    let at = write(lab, &app.key(), Some(&record.to_string()));
    watches.map(Watch::end).into_iter().map(|seen| seconds(at, seen)).fold(0.0, f64::max)
}

/// Consul's index in an answer's headers.
fn index(headers: &str) -> &str {
    let line = headers.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("x-consul-index").then_some(value.trim())
    });
    line.unwrap_or_else(|| panic!("no index in {headers}"))
}

/// Sets an entry to what it is.
fn set_map(lab: &Lab, node: &str, app: &App) -> f64 {
    let script = r#"start=${EPOCHREALTIME/[.,]/}
        for ((n = 0; n < $3; n++)); do
            echo "set map /var/lib/tandem/haproxy/http.map $1 $2" \
                | socat - UNIX-CONNECT:/run/tandem/haproxy/admin.sock >/dev/null || exit 1
        done; echo $((${EPOCHREALTIME/[.,]/} - start))"#;
    let (host, count) = (app.host(), COMMANDS.to_string());
    let said = lab.node(node, &["bash", "-c", script, "set-map", &host, app.master, &count]);
    microseconds(&said) / f64::from(COMMANDS)
}

/// Has Caddy load its file although it runs that.
fn load(lab: &Lab, node: &str) -> f64 {
    let script = r#"start=${EPOCHREALTIME/[.,]/}
        curl -fsS -o /dev/null --unix-socket /run/tandem/caddy/admin.sock -H "Content-Type: application/json" \
            -H "Cache-Control: must-revalidate" --data-binary @/var/lib/tandem/caddy/caddy.json http://localhost/load \
            || exit 1
        echo $((${EPOCHREALTIME/[.,]/} - start))"#;
    microseconds(&lab.node(node, &["bash", "-c", script]))
}

/// In seconds.
fn microseconds(text: &str) -> f64 {
    text.trim().parse::<f64>().unwrap_or_else(|_| panic!("no time: {text}")) / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        assert_eq!(index("HTTP/1.1 200 OK\nX-Consul-Index: 7\nVary: x\n"), "7");
        assert_eq!(index("x-consul-index:12"), "12");
        assert!((microseconds("1500\n") - 0.0015).abs() < 1e-9);
    }
}
