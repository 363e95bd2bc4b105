//! The table, as Markdown.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::book::Entry;
use crate::case::Case;
use crate::fault::Fault;

/// The whole report. `version`: what was run; `date`: when.
pub(crate) fn report(entries: &[Entry], version: &str, date: &str) -> String {
    let survived = entries.iter().filter(|entry| entry.survived).count();
    let mut text = format!(
        "# Cases × faults\n\n{date}, {version}, on a lab of three nodes: {} runs, {survived} survived, \
         {} did not.\n\n",
        entries.len(),
        entries.len() - survived
    );
    summary(&mut text, entries);
    failures(&mut text, entries);
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
