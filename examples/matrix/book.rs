//! What runs showed, one JSON line each: to go on where a run of the matrix was broken off, and for the table.

use std::collections::{BTreeMap, HashSet};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::list::Run;
use crate::run::Seen;

/// One run's line.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Case, fault and moment: the run's name.
    pub(crate) run: String,
    pub(crate) case: String,
    pub(crate) fault: String,
    pub(crate) moment: String,
    /// The moment's place in the plan.
    pub(crate) place: usize,
    pub(crate) survived: bool,
    /// The status of the step a moment after the strike; none: the step never came.
    pub(crate) struck: Option<String>,
    pub(crate) outcome: String,
    pub(crate) reason: Option<String>,
    /// Seconds, as the writer saw it.
    pub(crate) downtime: Option<f64>,
    /// Seconds that the whole run took.
    pub(crate) seconds: f64,
    pub(crate) findings: Vec<String>,
    /// When it began, RFC 3339.
    pub(crate) at: String,
    /// What was run.
    #[serde(default)]
    pub(crate) commit: String,
}

impl Entry {
    pub(crate) fn new(run: &Run, seen: &Seen, seconds: f64, at: String, commit: &str) -> Self {
        Self {
            commit: commit.to_owned(),
            run: run.to_string(),
            case: run.case.name(),
            fault: run.fault.name().to_owned(),
            moment: run.moment.to_string(),
            place: run.place,
            survived: seen.findings.is_empty(),
            struck: seen.struck.clone(),
            outcome: seen.outcome.clone(),
            reason: seen.reason.clone(),
            downtime: seen.downtime.map(|time| (time.as_secs_f64() * 10.0).round() / 10.0),
            seconds: (seconds * 10.0).round() / 10.0,
            findings: seen.findings.clone(),
            at,
        }
    }

    /// One line for people.
    pub(crate) fn line(&self) -> String {
        let verdict = match (self.survived, &self.struck) {
            (false, _) => "FAILED",
            (true, None) => "not struck",
            (true, Some(_)) => "survived",
        };
        let down = self.downtime.map(|time| format!(", down {time} s")).unwrap_or_default();
        let struck = self.struck.as_deref().map(|s| format!(" [{s}]")).unwrap_or_default();
        let mut line = format!(
            "{:<56}{struck} {verdict}: {}{down} ({} s)",
            self.run, self.outcome, self.seconds
        );
        for finding in &self.findings {
            line += &format!("\n      {finding}");
        }
        line
    }
}

/// All lines, in memory and in the file if there is one.
#[derive(Debug, Default)]
pub(crate) struct Book {
    path: Option<PathBuf>,
    pub(crate) entries: Vec<Entry>,
}

impl Book {
    /// Goes on with what is in the file; it need not be there yet.
    pub(crate) fn open(path: Option<&Path>) -> Self {
        let text = path.and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
        let read = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"));
        Self { path: path.map(Path::to_owned), entries: text.lines().map(read).collect() }
    }

    /// The runs that need not be done again: what did not survive is worth another try.
    pub(crate) fn survived(&self) -> HashSet<String> {
        let survived = self.newest().into_iter().filter(|entry| entry.survived);
        survived.map(|entry| entry.run.clone()).collect()
    }

    /// The last line of each run.
    pub(crate) fn newest(&self) -> Vec<&Entry> {
        let by_run: BTreeMap<_, _> = self.entries.iter().map(|e| (e.run.as_str(), e)).collect();
        let is_newest = |entry: &&Entry| std::ptr::eq(by_run[entry.run.as_str()], *entry);
        self.entries.iter().filter(is_newest).collect()
    }

    pub(crate) fn add(&mut self, entry: Entry) {
        if let Some(path) = &self.path {
            let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
            writeln!(file, "{}", serde_json::to_string(&entry).unwrap()).unwrap();
        }
        self.entries.push(entry);
    }
}
