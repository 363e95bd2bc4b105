//! What a run that did not survive leaves for whoever looks for the reason.

use std::path::{Path, PathBuf};

use crate::consul::Consul;
use crate::list::Run;
use crate::run::{Bench, Seen};
use crate::state;
use crate::support::NODES;

/// Lines of each log that are kept.
const LINES: usize = 3000;

/// Keeps records, logs and the state of every node in a directory named after the run.
pub(crate) fn keep(folder: &Path, bench: &Bench, run: &Run, seen: &Seen) -> PathBuf {
    let folder = folder.join(run.to_string().replace('/', "_"));
    std::fs::create_dir_all(&folder).unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    write("findings.txt", &seen.findings.join("\n"));
    write("writer.txt", &seen.story.join("\n"));
    let consul = Consul::new(&bench.lab, run.case.node);
    let name = &bench.app.name;
    let mut keys: Vec<_> = seen.ids.iter().map(|id| bench.app.record_key(id)).collect();
    keys.extend([format!("tandem/apps/{name}"), format!("app/{name}")]);
    for key in keys {
        let value = consul.value(&key).unwrap_or_default();
        write(&format!("{}.json", key.replace('/', "_")), &format!("{value:#}"));
    }
    write("keys.txt", &consul.keys("").join("\n"));
    for (node, facts) in state::of_nodes(&bench.lab, &bench.app) {
        write(&format!("{node}.txt"), &format!("{facts:#?}"));
    }
    for node in NODES {
        for part in ["agent", "buttervolume", "docker", "consul"] {
            let output = bench.lab.try_run(&["logs", node, part]);
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let lines: Vec<_> = text.lines().collect();
            let end = &lines[lines.len().saturating_sub(LINES)..];
            write(&format!("{node}-{part}.log"), &end.join("\n"));
        }
    }
    folder
}
