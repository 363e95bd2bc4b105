//! The matrix: each case of a deployment under each fault at each step, on a real lab of three nodes. `make matrix`.
//!
//! A run begins with the guestbook where the case begins, fires the event, strikes when the record says that the step is
//! running, mends the fault, and looks whether all is well: no acknowledged row is lost, one master runs, everything is
//! as the roles say, and a deployment right after succeeds. It ends with 1 if a run did not survive.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::wildcard_enum_match_arm,
    reason = "it drives the lab's own command as the tests do, and what fails ends a run"
)]

mod app;
mod book;
mod case;
mod check;
mod consul;
mod evidence;
mod fault;
mod list;
mod overlap;
mod process;
mod report;
mod run;
mod sample;
mod state;
mod strike;
mod tenant;
mod writer;

/// The lab as the tests see it.
#[allow(dead_code, unused_imports, reason = "the tests use more of it")]
#[path = "../../tests/lab"]
mod lab {
    pub(crate) mod support;
}

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use clap::Parser;

pub(crate) use lab::support;

use book::{Book, Entry};
use list::Run;
use run::{Bench, Seen};
use support::Lab;

/// Agents that settle soon: the runs are many.
const SETTINGS: [&str; 7] = [
    "TANDEM_SETTLE=1s",
    "TANDEM_NODE_GRACE=20s",
    "TANDEM_SESSION_TTL=10s",
    "TANDEM_HEALTHY_TIMEOUT=20s",
    "TANDEM_CLONE_TIMEOUT=10s",
    "TANDEM_UP_TIMEOUT=60s",
    "TANDEM_REPLICA_INTERVAL=3s",
];

/// Runs cases × faults on a lab of its own.
#[derive(Parser)]
struct Args {
    /// Only cases whose name contains this (may be repeated)
    #[arg(long)]
    case: Vec<String>,
    /// Only faults of this name (may be repeated)
    #[arg(long)]
    fault: Vec<String>,
    /// Only moments that contain this: STEP@NODE or before (may be repeated)
    #[arg(long)]
    step: Vec<String>,
    /// Only the fixed sample that `make test` runs
    #[arg(long)]
    sample: bool,
    /// Only each Nth run, from the Ith on: I/N
    #[arg(long, value_parser = shard)]
    shard: Option<(usize, usize)>,
    /// So many labs side by side, which take the runs from one list
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=8))]
    labs: u8,
    /// Print the names of the runs and end
    #[arg(long)]
    list: bool,
    /// Print a JSON line per run
    #[arg(long)]
    json: bool,
    /// Keep results in this file, and skip what has survived in it
    #[arg(long)]
    resume: Option<PathBuf>,
    /// Write the table to this file
    #[arg(long)]
    output: Option<PathBuf>,
    /// Where logs and records of failed runs go
    #[arg(long, default_value = "target/matrix")]
    evidence: PathBuf,
}

fn shard(text: &str) -> Result<(usize, usize), String> {
    let parts = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
    parts.filter(|(i, n)| (1..=*n).contains(i)).ok_or_else(|| "I/N with I from 1 to N".to_owned())
}

impl Args {
    fn wanted(&self, run: &Run) -> bool {
        let any = |filters: &[String], is: &dyn Fn(&str) -> bool| {
            filters.is_empty() || filters.iter().any(|filter| is(filter))
        };
        any(&self.case, &|filter| run.case.name().contains(filter))
            && any(&self.fault, &|filter| run.fault.name() == filter)
            && any(&self.step, &|filter| run.moment.to_string().contains(filter))
    }

    fn runs(&self) -> Vec<Run> {
        let all = list::all();
        let chosen = if self.sample { sample::of(&all) } else { all };
        let wanted = chosen.into_iter().filter(|run| self.wanted(run)).enumerate();
        let (first, of) = self.shard.unwrap_or((1, 1));
        wanted.filter(|(place, _)| place % of == first - 1).map(|(_, run)| run).collect()
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let runs = args.runs();
    if args.list {
        for run in &runs {
            let adds = sample::adds(&run.to_string()).map(|what| format!("\t{what}"));
            println!("{run}{}", adds.unwrap_or_default());
        }
        return ExitCode::SUCCESS;
    }
    let mut book = Book::open(args.resume.as_deref());
    let survived = book.survived();
    let left = runs.iter().filter(|run| !survived.contains(&run.to_string())).collect();
    let work = Work { args: &args, commit: commit(), left, taken: AtomicUsize::new(0) };
    let shared = Mutex::new(&mut book);
    std::thread::scope(|scope| {
        for number in 1..=args.labs {
            let (work, shared) = (&work, &shared);
            scope.spawn(move || work.on_lab(&lab_name(number), shared));
        }
    });
    let newest: Vec<_> = book.newest().into_iter().cloned().collect();
    let survived = newest.iter().filter(|entry| entry.survived).count();
    if let Some(path) = &args.output {
        std::fs::write(path, report::report(&newest, &list::all())).unwrap();
    } else if !args.json {
        println!("{survived} of {} runs survived", newest.len());
    }
    if survived == newest.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What the labs have before them.
struct Work<'a> {
    args: &'a Args,
    commit: String,
    left: Vec<&'a Run>,
    /// How many of them were taken.
    taken: AtomicUsize,
}

impl Work<'_> {
    /// Runs what no other lab has taken, until nothing is left.
    fn on_lab(&self, name: &str, book: &Mutex<&mut Book>) {
        let (lab, mut bench) = (Lab::named(name), None);
        loop {
            let place = self.taken.fetch_add(1, Ordering::Relaxed);
            let Some(run) = self.left.get(place) else { break };
            let entry = carry_out(self.args, &lab, &mut bench, run, &self.commit);
            let mut book = book.lock().unwrap();
            if self.args.json {
                println!("{}", serde_json::to_string(&entry).unwrap());
            } else {
                println!("{:>4}/{} {}", place + 1, self.left.len(), entry.line());
            }
            book.add(entry);
        }
        lab.run(&["down"]);
    }
}

/// `LAB`, and its name with a number for those beside it.
fn lab_name(number: u8) -> String {
    let first = std::env::var("LAB").unwrap_or_else(|_| "tandem".to_owned());
    if number == 1 { first } else { format!("{first}-{number}") }
}

/// What is checked out, with a `+` if something is changed.
fn commit() -> String {
    let git = |args: &[&str]| {
        let output = std::process::Command::new("git").args(args).output();
        output
            .ok()
            .filter(|o| o.status.success())
            .map(|o| String::from_utf8_lossy(&o.stdout).into_owned())
    };
    let head = git(&["rev-parse", "--short", "HEAD"]).unwrap_or_default().trim().to_owned();
    let changed = git(&["status", "--porcelain", "--", "src"]).is_none_or(|text| !text.is_empty());
    if changed { head + "+" } else { head }
}

/// One run; the lab is made anew before the first one and after one that did not survive.
fn carry_out(args: &Args, lab: &Lab, bench: &mut Option<Bench>, run: &Run, commit: &str) -> Entry {
    let (began, at) = (Instant::now(), chrono::Utc::now().to_rfc3339());
    let mut seen = Seen::default();
    let tried = catch_unwind(AssertUnwindSafe(|| {
        bench.get_or_insert_with(|| fresh(lab)).run(lab, run, &mut seen);
    }));
    if let Err(panic) = tried {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        seen.findings.push(text.unwrap_or_else(|| "a panic".to_owned()));
    }
    let entry = Entry::new(run, &seen, began.elapsed().as_secs_f64(), at, commit);
    if !entry.survived
        && let Some(bench) = bench.take()
    {
        let kept = catch_unwind(AssertUnwindSafe(|| {
            evidence::keep(&args.evidence, lab, &bench, run, &seen)
        }));
        match kept {
            Ok(folder) => eprintln!("kept: {}", folder.display()),
            Err(_) => eprintln!("the logs could not be kept"),
        }
    }
    entry
}

/// A new lab, healthy and without apps.
fn fresh(lab: &Lab) -> Bench {
    lab.run(&["down"]);
    let settings = SETTINGS.iter().flat_map(|setting| ["--agent-env", setting]);
    lab.run(&["up", "3"].into_iter().chain(settings).collect::<Vec<_>>());
    Bench::new(lab)
}
