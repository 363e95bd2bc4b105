//! The simulation: real agents on machines, a Consul and a network that exist in memory only, whose history is drawn
//! from a seed. What is simulated and what is not is in docs/architecture.md.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test: what fails ends it"
)]

mod agents;
mod apps;
mod asks;
mod chances;
mod checks;
mod director;
mod faults;
mod gate;
mod gossip;
mod kv;
mod network;
mod outage;
mod rng;
mod run;
mod seams;
mod settled;
mod tell;
mod trace;
mod world;
mod writer;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use clap::Parser;

use run::Report;
use trace::Sink;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs clusters of real agents on machines in memory, through histories of events, faults and crashes drawn from
/// seeds, and looks whether what Tandem promises holds.
///
/// A seed is one history: the same seed gives the same one. A seed that breaks a rule is printed with the rule;
/// `--seed N` plays it again and prints every transaction, step and crash in order.
#[derive(Parser)]
#[command(name = "sim")]
struct Args {
    /// How many seeds are run
    #[arg(long, default_value_t = 2_000)]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// One seed only, with its whole story
    #[arg(long)]
    seed: Option<u64>,
    /// Run every seed twice, and compare the stories
    #[arg(long)]
    twice: bool,
    /// Of clock-jumps, entry-edited, foreign-writer, kv-emptied, partner-dies, reinstalled, second-agent
    /// and volume-lost, these only, and often
    #[arg(long, value_delimiter = ',')]
    often: Vec<String>,
    /// How many run side by side; 0: one per processor
    #[arg(long, default_value_t = 0)]
    threads: usize,
}

fn main() -> ExitCode {
    let args = Args::parse();
    remember_panics();
    match args.seed {
        Some(seed) => replay(seed, &args.often),
        None => run_all(&args),
    }
}

thread_local! {
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// A panic in a task of an agent is as wrong as any.
fn remember_panics() {
    std::panic::set_hook(Box::new(|info| {
        PANICS.with_borrow_mut(|panics| panics.push(info.to_string()));
    }));
}

fn play(seed: u64, often: &[String], sink: Sink, folder: &std::path::Path) -> Report {
    let report = catch_unwind(AssertUnwindSafe(|| run::run(seed, often, sink, folder)));
    let mut report = report.unwrap_or_else(|_| Report {
        wrong: Vec::new(),
        trace: Vec::new(),
        took: std::time::Duration::ZERO,
    });
    report.wrong.extend(PANICS.take());
    if folder.exists() {
        std::fs::remove_dir_all(folder).expect("the folder of a run");
    }
    report
}

/// Memory rather than disk, where there is such a folder.
fn base() -> tempfile::TempDir {
    let memory = PathBuf::from("/dev/shm");
    let place = if memory.is_dir() { memory } else { std::env::temp_dir() };
    tempfile::Builder::new().prefix("tandem-sim-").tempdir_in(place).expect("a folder")
}

fn replay(seed: u64, often: &[String]) -> ExitCode {
    let base = base();
    let report = play(seed, often, Sink::Print, &base.path().join("0"));
    println!("seed {seed}: {} s of virtual time", report.took.as_secs());
    for wrong in &report.wrong {
        println!("WRONG: {wrong}");
    }
    if report.wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run_all(args: &Args) -> ExitCode {
    let threads = match args.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    };
    let base = base();
    let next = AtomicU64::new(args.from);
    let end = args.from + args.seeds;
    let failed: Mutex<BTreeMap<u64, Vec<String>>> = Mutex::default();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (next, failed, folder) = (&next, &failed, base.path().join(thread.to_string()));
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let wrong = one(seed, args, &folder);
                    if !wrong.is_empty() {
                        println!("seed {seed}: {}", wrong[0]);
                        failed.lock().unwrap().insert(seed, wrong);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    println!(
        "{} seeds in {:.1} s, {} of them wrong",
        args.seeds,
        begun.elapsed().as_secs_f64(),
        failed.len()
    );
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    let seeds: Vec<String> = failed.keys().take(20).map(u64::to_string).collect();
    println!("make sim SEED={} tells its story; others: {}", seeds[0], seeds[1..].join(" "));
    ExitCode::FAILURE
}

fn one(seed: u64, args: &Args, folder: &std::path::Path) -> Vec<String> {
    let run = |sink| play(seed, &args.often, sink, folder);
    if !args.twice {
        return run(Sink::None).wrong;
    }
    let (first, second) = (run(Sink::Keep), run(Sink::Keep));
    let differs = first.trace.iter().zip(&second.trace).find(|(one, other)| one != other);
    match differs {
        Some((one, other)) => vec![format!("two runs differ: {one:?} and {other:?}")],
        None => first.wrong,
    }
}
