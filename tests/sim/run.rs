//! One seed: a cluster, its history, its end.

use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use chrono::DateTime;
use tandem::clock;
use tandem::consul::memory::MemoryConsul;
use tandem::exec::Records;
use tandem::host::volume::Wire;
use tandem::model::deployment::{Deployment, State};
use tandem::model::{AppRecord, DeployId, NodeName, keys};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::apps::{App, Flaw};
use crate::chances::Chances;
use crate::director::{self, Action, Director};
use crate::faults;
use crate::gossip::Gossip;
use crate::kv;
use crate::rng::Rng;
use crate::settled;
use crate::trace::{Sink, Trace};
use crate::world::{Machine, Spent, World};
use crate::writer::{self, View};

/// How long everything may take to come to an end once nothing fails any more.
const PATIENCE: Duration = Duration::from_secs(3 * 3600);
/// How often somebody looks whether it has.
const LOOK: Duration = Duration::from_secs(5);
/// What comes late comes within this.
const AFTERMATH: Duration = Duration::from_secs(30);

/// What a run showed.
pub(crate) struct Report {
    pub(crate) wrong: Vec<String>,
    pub(crate) trace: Vec<String>,
    /// Virtual seconds.
    pub(crate) took: Duration,
}

/// Runs one seed in a folder of its own.
pub(crate) fn run(seed: u64, often: &[String], sink: Sink, folder: &Path) -> Report {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().expect("a runtime");
    let report = runtime.block_on(play(seed, often, sink, folder));
    drop(runtime);
    report
}

async fn play(seed: u64, often: &[String], sink: Sink, folder: &Path) -> Report {
    clock::testing::start(DateTime::UNIX_EPOCH + Duration::from_secs(1_750_000_000));
    let begun = Instant::now();
    let (deaths, died) = mpsc::unbounded_channel();
    let (orders, ordered) = mpsc::unbounded_channel();
    let world = Arc::new(world(seed, often, sink, folder, deaths, orders));
    world.trace.line("user", || format!("seed {seed}: {:?}", world.chances));
    let mut director = Director::new(world.clone(), died, ordered);
    for node in 0..world.machines.len() {
        let delay = world.rng.millis(0..2_000);
        director.after(delay, Action::Start(node));
    }
    director.until(Instant::now() + Duration::from_secs(3)).await;
    let writer = tokio::spawn(writer::write(world.clone()));
    if world.rng.percent(60) {
        for app in 0..world.apps.len() {
            director.deploy(app, None, Flaw::None);
        }
        settle(&mut director, "before all faults").await;
    }
    history(&mut director).await;
    director.calm();
    settle(&mut director, "after all faults").await;
    if world.all_wrong().is_empty() {
        again(&mut director).await;
    }
    writer.abort();
    Report { wrong: world.all_wrong(), trace: world.trace.take(), took: begun.elapsed() }
}

fn world(
    seed: u64,
    often: &[String],
    sink: Sink,
    folder: &Path,
    deaths: mpsc::UnboundedSender<(usize, u32)>,
    orders: mpsc::UnboundedSender<Action>,
) -> World {
    let rng = Rng::new(seed);
    let chances = Chances::draw(&rng, often);
    let consul = MemoryConsul::new();
    let machines = 3 + rng.below(100).saturating_sub(69).div_ceil(16) as usize;
    let wire = Arc::<Wire>::default();
    if chances.clones > 0 {
        wire.send_clones();
    }
    let machine = |number: usize| {
        let name = NodeName::parse(&format!("node{number}")).expect("a name");
        consul.client(&name);
        let dir = folder.join(name.as_str());
        std::fs::create_dir_all(dir.join("deploy")).expect("a folder");
        let machine = Machine::new(name, format!("10.77.0.{number}"), dir);
        machine.fakes.volumes.connect(&wire, &machine.address);
        director::make_room(&machine, if rng.percent(5) { 0 } else { 20 + rng.below(60) });
        machine
    };
    let machines: Vec<Machine> = (1..=machines).map(machine).collect();
    let apps = if rng.percent(75) { 1 } else { 2 };
    World {
        views: Mutex::new(vec![vec![View::default(); apps]; machines.len()]),
        trace: Trace::new(sink),
        chances,
        machines,
        apps: (1..=apps).map(App::new).collect(),
        gossip: Gossip::default(),
        deaths,
        orders,
        outages: Mutex::new(vec![None; apps]),
        wild: AtomicBool::new(false),
        spent: Spent::default(),
        renewed: Mutex::default(),
        under_way: 0.into(),
        wrong: Mutex::default(),
        consul,
        records: Records::default(),
        rng,
    }
}

/// Events, and what befalls the nodes meanwhile.
async fn history(director: &mut Director) {
    let world = director.world.clone();
    let (rng, chances) = (&world.rng, world.chances.clone());
    world.wild.store(true, std::sync::atomic::Ordering::Relaxed);
    let mut at = Duration::ZERO;
    for _ in 0..1 + rng.below(3) {
        director.after(at, Action::Ask(rng.index(world.apps.len())));
        for share in [
            (chances.killed, 0),
            (chances.node_off, 1),
            (chances.node_cut, 2),
            (chances.session_lost, 3),
            (chances.docker_down, 4),
            (chances.scheduler, 5),
        ] {
            if !rng.percent(share.0) {
                continue;
            }
            let node = rng.index(world.machines.len());
            let time =
                rng.millis(rng.pick(&[1_000..15_000, 15_000..60_000, 60_000..240_000]).clone());
            let action = match share.1 {
                0 => Action::Kill(node),
                1 => Action::PowerOff(node, time),
                2 => Action::Cut(node, time),
                3 => Action::EndSession(node),
                4 => Action::DockerDown(node, time),
                _ => Action::Schedule(node),
            };
            let moment = at + rng.millis(0..30_000);
            director.after(moment, action);
        }
        for kind in 0..faults::KINDS {
            if let Some((action, delay)) = faults::draw(&world, kind) {
                director.after(at + delay, action);
            }
        }
        at += rng.millis(rng.pick(&[0..2_000, 0..30_000, 30_000..150_000]).clone());
    }
    let end = director.last().unwrap_or_else(Instant::now);
    let end = end + rng.millis(0..60_000);
    director.until(end).await;
    // Who is waited for in vain is not to be back because the history is over.
    if let Some(back) = director.lasting() {
        director.until(back + rng.millis(0..60_000)).await;
    }
}

/// Everything comes to an end, and then it is looked at.
async fn settle(director: &mut Director, when: &str) {
    let world = director.world.clone();
    let deadline = Instant::now() + PATIENCE;
    loop {
        director.until(Instant::now() + LOOK).await;
        if settled::is_idle(&world) {
            director.until(Instant::now() + AFTERMATH).await;
            if settled::is_idle(&world) {
                break;
            }
        }
        if Instant::now() > deadline {
            world.broken(format!("{when}: it is not over after hours"));
            break;
        }
    }
    settled::check(&world, when);
}

/// A deployment right after succeeds; where a disk has failed the app, it may be refused for just that reason. Then it goes
/// on by the event that the refusal names, if it names one, or the app is destroyed and begun anew.
async fn again(director: &mut Director) {
    let world = director.world.clone();
    let app = world.rng.index(world.apps.len());
    let owner = &world.apps[app];
    faults::copies::put_aside(&world, app);
    let refused = deploy_once_more(director, app).await;
    let Some(why) = refused.filter(|_| !owner.hands.lock().unwrap().are_felt()) else { return };
    if !owner.is_hurt() || !why.contains(GONE) {
        let what = "the deployment after everything was over did not complete";
        return world.broken(format!("{}: {what}: {why}", owner.name));
    }
    let way = faults::copies::way_on(&why).filter(|_| world.rng.percent(60));
    if let Some(event) = way
        && goes_on(director, app, event).await
    {
        return;
    }
    director.destroy(app);
    settle(director, "after what was left was destroyed").await;
    if let Some(why) = deploy_once_more(director, app).await {
        world.broken(format!("{}: it can't be begun anew: {why}", owner.name));
    }
}

/// Goes on with the copies, and deploys once more; false where one of the volumes has no copy there.
async fn goes_on(director: &mut Director, app: usize, event: &str) -> bool {
    let world = director.world.clone();
    let name = &world.apps[app].name;
    faults::copies::ask(director, app, event);
    settle(director, "after it went on with copies").await;
    match outcome(&world, app) {
        Some(why) if why.contains(NO_COPIES) => return false,
        Some(why) => world.broken(format!("{name}: it does not go on with the copies: {why}")),
        None => faults::copies::put_aside(&world, app),
    }
    if world.all_wrong().is_empty()
        && let Some(why) = deploy_once_more(director, app).await
    {
        world.broken(format!("{name}: what went on with copies can't be deployed: {why}"));
    }
    true
}

/// What is said where a node has not told of copies of all of an app's volumes.
const NO_COPIES: &str = "verified cop";

/// What is said of volumes that are not where they should be.
const GONE: &str = "is gone from";

/// Deploys an app; why that did not complete.
async fn deploy_once_more(director: &mut Director, app: usize) -> Option<String> {
    let world = director.world.clone();
    let owner = &world.apps[app];
    let entry: Option<AppRecord> = kv::read(&world.consul, &keys::app(&owner.name));
    director.deploy(app, entry.as_ref(), Flaw::None);
    settle(director, "after one more deployment").await;
    outcome(&world, app)
}

/// Why the last event of all did not complete, if it did not.
fn outcome(world: &World, app: usize) -> Option<String> {
    let owner = &world.apps[app];
    let last = world.gossip.all().pop().expect("an event");
    let entry: Option<AppRecord> = kv::read(&world.consul, &keys::app(&owner.name));
    if entry.is_some_and(|entry| entry.deploy_id == last.id) {
        return None;
    }
    let id = DeployId::parse(&last.id).expect("an id");
    let record: Option<Deployment> = kv::read(&world.consul, &keys::deployment(&owner.name, &id));
    // One that an earlier event followed, which reached its first node only now, completed all the same.
    match record {
        Some(record) if record.state == State::Completed => None,
        record => Some(record.and_then(|record| record.reason).unwrap_or_default()),
    }
}
