//! The planner by example: a folder in fixtures/scenarios is a test. `UPDATE=1` writes what the planner says now.
//!
//! `event.json` is `{"name": …, "payload": …}` as fired, `facts.json` the snapshot of facts, `plan.txt` the plan as a
//! dry run prints it, or the reason why there is none.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::fmt::Write;
use std::path::{Path, PathBuf};

use tandem::event::{Decoded, decode};
use tandem::model::DeployId;
use tandem::plan::{Facts, Plan, plan};

fn told(folder: &Path) -> String {
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let event: serde_json::Value = serde_json::from_str(&read("event.json")).unwrap();
    let facts: Facts = serde_json::from_str(&read("facts.json")).unwrap();
    let payload = event["payload"].to_string();
    let request = match decode(event["name"].as_str().unwrap(), payload.as_bytes()) {
        Ok(Decoded::Request(request)) => request,
        Ok(other) => panic!("{}: not a request: {other:?}", folder.display()),
        Err(error) => return format!("rejected: {error}\n"),
    };
    match plan(&DeployId::parse("new").unwrap(), &request, &facts) {
        Ok(plan) => listing(&plan),
        Err(refusal) => format!("refused: {refusal}\n"),
    }
}

fn listing(plan: &Plan) -> String {
    let mut text = String::new();
    if let Some(choice) = &plan.choice.reason {
        writeln!(text, "picked: {choice}").unwrap();
    }
    for warning in &plan.choice.warnings {
        writeln!(text, "warning: {warning}").unwrap();
    }
    for (node, transition) in &plan.transitions {
        writeln!(text, "{node}: {} -> {}", transition.from, transition.to).unwrap();
    }
    for step in &plan.steps {
        writeln!(text, "{:>3}  {:<8} {}", step.stage, step.node.as_str(), step.step).unwrap();
    }
    text
}

fn folders() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/scenarios");
    let entries = std::fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<_> = entries.filter(|path| path.is_dir()).collect();
    folders.sort();
    assert!(!folders.is_empty(), "scenarios are missing below {}", root.display());
    folders
}

#[test]
fn plans_are_as_recorded() {
    for folder in folders() {
        let told = told(&folder);
        let recorded = folder.join("plan.txt");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&recorded, &told).unwrap();
        }
        let expected = std::fs::read_to_string(&recorded).unwrap_or_default();
        assert_eq!(
            told,
            expected,
            "{} (UPDATE=1 records what the planner says now)",
            folder.display()
        );
    }
}

#[test]
fn every_transition_has_an_example() {
    let plans: String = folders().iter().map(|folder| told(folder)).collect();
    for from in ["master", "slave", "nothing"] {
        for to in ["master", "slave", "nothing"] {
            let transition = format!(": {from} -> {to}\n");
            assert!(plans.contains(&transition), "{transition}");
        }
    }
}
