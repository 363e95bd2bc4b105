//! What a run that did not survive leaves for whoever looks for the reason.

use std::path::{Path, PathBuf};

use crate::consul::Consul;
use crate::list::Run;
use crate::run::{Bench, Seen};
use crate::state;
use crate::support::{Lab, NODES};

/// Lines of each log that are kept.
const LINES: usize = 3000;

/// Keeps records, logs and the state of every node in a directory named after the run.
pub(crate) fn keep(folder: &Path, lab: &Lab, bench: &Bench, run: &Run, seen: &Seen) -> PathBuf {
    let folder = folder.join(run.to_string().replace('/', "_"));
    std::fs::create_dir_all(&folder).unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    write("findings.txt", &seen.findings.join("\n"));
    write("writer.txt", &seen.story.join("\n"));
    let consul = Consul::new(lab, run.case.node);
    for prefix in ["app/", "maintenance/", "tandem/"] {
        let keys = consul.keys(prefix).into_iter().filter(|key| concerns(key, seen));
        for key in keys {
            let value = consul.value(&key).unwrap_or_default();
            write(&format!("{}.json", key.replace('/', "_")), &format!("{value:#}"));
        }
    }
    write("keys.txt", &consul.keys("").join("\n"));
    for (node, facts) in state::of_nodes(lab, &bench.main.app) {
        write(&format!("{node}.txt"), &format!("{facts:#?}"));
    }
    for node in NODES {
        for part in ["agent", "buttervolume", "docker", "consul"] {
            let output = lab.try_run(&["logs", node, part]);
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let lines: Vec<_> = text.lines().collect();
            let end = &lines[lines.len().saturating_sub(LINES)..];
            write(&format!("{node}-{part}.log"), &end.join("\n"));
        }
    }
    folder
}

/// Of the records only those of the run.
fn concerns(key: &str, seen: &Seen) -> bool {
    !key.starts_with("tandem/deployments/") || seen.ids.iter().any(|id| key.ends_with(id))
}
