//! The table, as Markdown.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::book::Entry;
use crate::case::Case;
use crate::fault::Fault;
use crate::list::Run;

/// The whole report; `all`: the runs that there are.
pub(crate) fn report(entries: &[Entry], all: &[Run]) -> String {
    let survived = entries.iter().filter(|entry| entry.survived).count();
    let days: BTreeSet<_> = entries.iter().map(|entry| entry.at.split('T').next()).collect();
    let days: Vec<_> = days.into_iter().flatten().collect();
    let mut text = format!(
        "# Cases × faults\n\nWritten by `make matrix`. {}, on a lab of three nodes: {} of {} runs were done, {survived} survived, \
         {} did not. The lines are in [matrix.jsonl](matrix.jsonl).\n\n",
        days.join(" and "),
        entries.len(),
        all.len(),
        entries.len() - survived
    );
    text += "A cell: how many runs survived of how many were done; each is the fault at another step.\n\n";
    summary(&mut text, entries);
    failures(&mut text, entries);
    undone(&mut text, entries, all);
    commits(&mut text, entries);
    legend(&mut text, entries);
    text.push_str("## Each run\n\n");
    for case in Case::all() {
        details(&mut text, case, entries);
    }
    text
}

fn faults_in(entries: &[Entry]) -> Vec<Fault> {
    let present = |fault: &Fault| entries.iter().any(|entry| entry.fault == fault.name());
    Fault::ALL.into_iter().filter(present).collect()
}

fn header(text: &mut String, first: &str, faults: &[Fault]) {
    let names: Vec<_> = faults.iter().map(|fault| fault.name()).collect();
    writeln!(text, "| {first} | {} |", names.join(" | ")).unwrap();
    writeln!(text, "|---|{}", "---|".repeat(faults.len())).unwrap();
}

/// Cases × faults: how many runs survived of how many.
fn summary(text: &mut String, entries: &[Entry]) {
    let faults = faults_in(entries);
    header(text, "case", &faults);
    for case in Case::all() {
        let name = case.name();
        let cells: Vec<_> = faults
            .iter()
            .map(|fault| {
                let of_cell: Vec<_> = entries
                    .iter()
                    .filter(|e| e.case == name && e.fault == fault.name() && e.struck.is_some())
                    .collect();
                let survived = of_cell.iter().filter(|entry| entry.survived).count();
                match of_cell.len() {
                    0 => String::new(),
                    all if all == survived => format!("{survived}/{all}"),
                    all => format!("**{survived}/{all}**"),
                }
            })
            .collect();
        if cells.iter().any(|cell| !cell.is_empty()) {
            writeln!(text, "| {} | {} |", case.words(), cells.join(" | ")).unwrap();
        }
    }
    text.push('\n');
}

fn failures(text: &mut String, entries: &[Entry]) {
    let failed: Vec<_> = entries.iter().filter(|entry| !entry.survived).collect();
    if failed.is_empty() {
        return;
    }
    text.push_str("## What did not survive\n\n");
    for entry in failed {
        let reason = entry.reason.as_deref().unwrap_or("none");
        let outcome = if entry.outcome.is_empty() { "no outcome" } else { &entry.outcome };
        writeln!(text, "- `{}`: {outcome}, reason on record: {reason}", entry.run).unwrap();
        for finding in &entry.findings {
            writeln!(text, "  - {}", finding.replace('\n', " ")).unwrap();
        }
    }
    text.push('\n');
}

/// What was not run, by case and fault.
fn undone(text: &mut String, entries: &[Entry], all: &[Run]) {
    let done: BTreeSet<_> = entries.iter().map(|entry| entry.run.as_str()).collect();
    let mut left: BTreeMap<String, BTreeMap<&str, usize>> = BTreeMap::new();
    for run in all.iter().filter(|run| !done.contains(run.to_string().as_str())) {
        *left.entry(run.case.name()).or_default().entry(run.fault.name()).or_default() += 1;
    }
    if left.is_empty() {
        return;
    }
    text.push_str("## What was not run\n\n");
    for (case, faults) in left {
        let faults: Vec<_> =
            faults.iter().map(|(fault, count)| format!("{fault} {count}")).collect();
        writeln!(text, "- `{case}`: {}", faults.join(", ")).unwrap();
    }
    text.push('\n');
}

/// Which commits were run: the code moves on.
fn commits(text: &mut String, entries: &[Entry]) {
    let mut commits: BTreeMap<&str, usize> = BTreeMap::new();
    for entry in entries.iter().filter(|entry| !entry.commit.is_empty()) {
        *commits.entry(&entry.commit).or_default() += 1;
    }
    let commits: Vec<_> = commits.iter().map(|(name, count)| format!("{name}: {count}")).collect();
    if !commits.is_empty() {
        writeln!(text, "Runs by commit: {}.\n", commits.join(", ")).unwrap();
    }
}

fn legend(text: &mut String, entries: &[Entry]) {
    text.push_str("## The faults\n\n| fault | what happens |\n|---|---|\n");
    for fault in faults_in(entries) {
        writeln!(text, "| {} | {} |", fault.name(), fault.words()).unwrap();
    }
    text.push_str(
        "\nBelow: the outcome, and for how many seconds rows were not taken. `-`: the step did not come.\n\n",
    );
}

/// One case: the moments of its runs by fault.
fn details(text: &mut String, case: Case, entries: &[Entry]) {
    let name = case.name();
    let of_case: Vec<_> = entries.iter().filter(|entry| entry.case == name).cloned().collect();
    if of_case.is_empty() {
        return;
    }
    let faults = faults_in(&of_case);
    writeln!(text, "### {} ({})\n", case.words(), case.node).unwrap();
    header(text, "struck at", &faults);
    let moments: BTreeMap<_, _> =
        of_case.iter().map(|entry| ((entry.place, entry.moment.clone()), ())).collect();
    for (place, moment) in moments.into_keys() {
        let cells: Vec<_> = faults
            .iter()
            .map(|fault| {
                let found = of_case
                    .iter()
                    .find(|e| (e.place, &e.moment) == (place, &moment) && e.fault == fault.name());
                found.map(cell).unwrap_or_default()
            })
            .collect();
        writeln!(text, "| {moment} | {} |", cells.join(" | ")).unwrap();
    }
    text.push('\n');
}

fn cell(entry: &Entry) -> String {
    let down = entry.downtime.map(|time| format!(" {time:.1}")).unwrap_or_default();
    match (entry.survived, &entry.struck) {
        (false, _) => format!("**failed** {}{down}", entry.outcome),
        (true, None) => "-".to_owned(),
        (true, Some(_)) => format!("{}{down}", entry.outcome),
    }
}
