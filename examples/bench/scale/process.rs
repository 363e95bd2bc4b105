//! What the processes of a node take.

use serde::Serialize;

use crate::support::{Lab, NODES, told};

/// One node, when everything was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Node {
    pub(crate) node: &'static str,
    /// MB, resident.
    pub(crate) agent: f64,
    /// The most that the agent has had.
    pub(crate) agent_peak: f64,
    /// The master process and its workers.
    pub(crate) haproxy: f64,
    pub(crate) caddy: f64,
    /// MB that the agent has had written to disk since it started.
    pub(crate) written: f64,
    /// Reloads of HAProxy since it started.
    pub(crate) reloads: u64,
    /// Of Caddy, since the agent's log began.
    pub(crate) loads: u64,
}

/// The processes' numbers, then the lines of `/proc` that are wanted of each.
const SCRIPT: &str = r#"
    tell() { echo "$1"; grep -E '^(VmRSS|VmHWM):' "/proc/$2/status"; }
    read -r agent _ </run/lab/agent.pid; tell agent "$agent"; grep '^write_bytes:' "/proc/$agent/io"
    for name in haproxy caddy; do
        pid=$(docker inspect -f '{{.State.Pid}}' "$name"); tell "$name" "$pid"
        for child in $(cat /proc/"$pid"/task/*/children); do tell "$name" "$child"; done
    done"#;

impl Node {
    pub(crate) fn of(lab: &Lab, node: &'static str) -> Self {
        let said = Said(lab.node(node, &["bash", "-c", SCRIPT]));
        let (reloads, loads) = counts(lab, node);
        Self {
            node,
            agent: said.sum("agent", "VmRSS:") * 1.024 / 1e3,
            agent_peak: said.sum("agent", "VmHWM:") * 1.024 / 1e3,
            haproxy: said.sum("haproxy", "VmRSS:") * 1.024 / 1e3,
            caddy: said.sum("caddy", "VmRSS:") * 1.024 / 1e3,
            written: said.sum("agent", "write_bytes:") / 1e6,
            reloads,
            loads,
        }
    }
}

/// Lines of processes, each behind the name of its program.
struct Said(String);

impl Said {
    fn sum(&self, program: &str, field: &str) -> f64 {
        let mut of = "";
        let mut sum = 0.0;
        for line in self.0.lines() {
            match line.strip_prefix(field) {
                Some(value) if of == program => {
                    sum += value.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or_default();
                }
                Some(_) => {}
                None if !line.contains(':') => of = line.trim(),
                None => {}
            }
        }
        sum
    }
}

/// The reloads of HAProxy and the loads of Caddy so far, by node.
pub(crate) fn caddy_loads_and_reloads(lab: &Lab) -> Vec<(u64, u64)> {
    NODES.iter().map(|node| counts(lab, node)).collect()
}

fn counts(lab: &Lab, node: &str) -> (u64, u64) {
    let socket = "UNIX-CONNECT:/run/tandem/haproxy/master.sock";
    let output = lab.node_with_stdin(node, &["socat", "-", socket], b"show proc\n");
    let shown = told(&output);
    let loads = lab.agent_log(node).matches("caddy_loaded=true").count();
    (reloads(&shown).unwrap_or_else(|| panic!("{node}: {shown}")), loads as u64)
}

/// `PID master RELOADS [failed: N] …`
fn reloads(shown: &str) -> Option<u64> {
    let words = shown.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let master = words.into_iter().find(|words| words.get(1) == Some(&"master"))?;
    master.get(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_master_tells_its_reloads() {
        let shown = "#<PID>  <type>  <reloads>  <uptime>  <version>\n\
            9       master  12 [failed: 1]  0d00h00m05s  2.6.12\n# workers\n21  worker  0  0d00h00m01s  2.6.12\n";
        assert_eq!(reloads(shown), Some(12));
        assert_eq!(reloads("nothing"), None);
    }

    #[test]
    fn the_lines_of_a_program_are_added_up() {
        let said = Said(
            "agent\nVmHWM:\t  30 kB\nVmRSS:\t  20 kB\nwrite_bytes: 4096\nhaproxy\nVmRSS: 5 kB\nhaproxy\nVmRSS: 7 kB\n"
                .to_owned(),
        );
        assert!((said.sum("agent", "VmRSS:") - 20.0).abs() < 1e-9);
        assert!((said.sum("agent", "write_bytes:") - 4096.0).abs() < 1e-9);
        assert!((said.sum("haproxy", "VmRSS:") - 12.0).abs() < 1e-9);
        assert!(said.sum("caddy", "VmRSS:").abs() < 1e-9);
    }
}
