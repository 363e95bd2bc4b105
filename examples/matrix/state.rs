//! What every node and Consul have of the app, asked for in one go.

use std::collections::BTreeMap;

use crate::app::App;
use crate::support::{Lab, NODES};

/// Facts of one node: kind → lines.
#[derive(Debug, Default)]
pub(crate) struct NodeState {
    facts: BTreeMap<String, Vec<String>>,
}

impl NodeState {
    pub(crate) fn get(&self, kind: &str) -> &[String] {
        self.facts.get(kind).map_or(&[], Vec::as_slice)
    }

    fn parse(text: &str) -> Self {
        let mut facts: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for line in text.lines() {
            let (kind, fact) = line.split_once(' ').unwrap_or((line, ""));
            facts.entry(kind.to_owned()).or_default().push(fact.to_owned());
        }
        facts.values_mut().for_each(|lines| lines.sort());
        Self { facts }
    }
}

/// Asks all nodes at once.
pub(crate) fn of_nodes(lab: &Lab, app: &App) -> BTreeMap<&'static str, NodeState> {
    std::thread::scope(|scope| {
        let asked = NODES.map(|node| (node, scope.spawn(move || of_node(lab, app, node))));
        asked.into_iter().map(|(node, answer)| (node, answer.join().unwrap())).collect()
    })
}

fn of_node(lab: &Lab, app: &App, node: &str) -> NodeState {
    const SCRIPT: &str = include_str!("node-state");
    let argv = ["bash", "-c", SCRIPT, "node-state", &app.name, &app.project];
    let output = lab.try_node(node, &argv);
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return NodeState::parse(&format!("error the node can't be asked: {said}"));
    }
    NodeState::parse(&String::from_utf8_lossy(&output.stdout))
}
