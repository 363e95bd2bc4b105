//! Every pair after every other, and a destroy.

use std::collections::BTreeSet;

use tandem::model::NodeName;
use tandem::model::deployment::{State, Status, Step};

use crate::run::{Fault, Pair, Run, Wish, is_commit};
use crate::table;
use crate::world::{World, name};

const NODES: usize = 4;

/// One of each kind: by their names nodes differ in nothing.
const FORMER: [Option<Pair>; 3] = [None, Some((1, None)), Some((1, Some(2)))];

/// The nodes by their numbers, and the other way round: what is side by side happens in either order.
fn orders() -> [Vec<NodeName>; 2] {
    let numbers: Vec<NodeName> = (1..=NODES).map(name).collect();
    [numbers.iter().rev().cloned().collect(), numbers]
}

fn nobody() -> BTreeSet<NodeName> {
    BTreeSet::new()
}

/// Every pair that there can be, a destroy, and a migration from each node.
fn wishes() -> Vec<Wish> {
    let mut wishes = vec![Wish::Destroy];
    for master in 1..=NODES {
        wishes.push(Wish::Migrate(master));
        wishes.push(Wish::Deploy((master, None)));
        let slaves = (1..=NODES).filter(|slave| *slave != master);
        wishes.extend(slaves.map(|slave| Wish::Deploy((master, Some(slave)))));
    }
    wishes
}

/// Clusters in which the app is where `former` says, after some moving about.
fn cluster(former: Option<Pair>) -> World {
    let mut world = World::new(NODES);
    let Some(former) = former else { return world };
    for (number, pair) in [(2, Some(1)), former].into_iter().enumerate() {
        let wish = (Wish::Deploy(pair), false);
        let mut run = Run::accept(world, number, wish, &nobody()).unwrap();
        assert_eq!(run.go(&orders()[0], &nobody(), Fault::No), Ok(State::Completed));
        world = run.world;
    }
    world
}

/// Runs `test` with each deployment that can be: of a new version and of the one that runs, with `update` and without.
fn each(mut test: impl FnMut(&str, &Run)) {
    let mut count = 0;
    for former in FORMER {
        for wish in wishes() {
            for (update, pushed) in [(false, false), (false, true), (true, false), (true, true)] {
                let mut world = cluster(former);
                world.head += u32::from(pushed);
                let what = format!("{former:?}, {wish:?}, update {update}, pushed {pushed}");
                match Run::accept(world, 9, (wish, update), &nobody()) {
                    Ok(run) => test(&what, &run),
                    Err(refusal) => {
                        let needs_app = !matches!(wish, Wish::Deploy(_));
                        assert!(former.is_none() && needs_app, "{what}: {refusal}");
                    }
                }
                count += 1;
            }
        }
    }
    assert_eq!(count, FORMER.len() * wishes().len() * 4);
}

#[test]
fn each_leaves_behind_what_its_roles_say() {
    each(|what, run| {
        for order in orders() {
            let mut run = run.clone();
            assert_eq!(run.go(&order, &nobody(), Fault::No), Ok(State::Completed), "{what}");
            assert_eq!(table::check(&run), Ok(()), "{what}");
        }
    });
}

/// Before the commit nothing is removed and one master at most runs, at any step ([`World::tick`], [`World::keeps`]);
/// whichever step fails, the app is where it was.
#[test]
fn each_leads_back_from_every_step_before_the_commit() {
    each(|what, run| {
        let steps = &run.deployment.steps;
        let commit = steps.iter().position(|step| is_commit(&step.step)).unwrap();
        for (index, step) in steps.iter().enumerate().take(commit + 1) {
            for fault in [Fault::Before(index), Fault::After(index)] {
                if fault == Fault::After(commit) {
                    continue;
                }
                for order in orders() {
                    let mut run = run.clone();
                    let outcome = run.go(&order, &nobody(), fault);
                    let what = format!("{what}: {fault:?} {}", step.step);
                    if run.deployment.committed {
                        // It was not necessary.
                        assert_eq!(outcome, Ok(State::Completed), "{what}");
                        continue;
                    }
                    let undone = [Ok(State::Undone), Ok(State::Refused)];
                    assert!(undone.contains(&outcome), "{what}: {outcome:?}");
                    assert_eq!(run.world.essence(), run.before.essence(), "{what}");
                }
            }
        }
    });
}

/// Whichever step behind the commit is done last, the end is the same.
#[test]
fn each_is_completed_by_what_is_done_later() {
    each(|what, run| {
        let steps = &run.deployment.steps;
        let commit = steps.iter().position(|step| is_commit(&step.step)).unwrap();
        for (index, step) in steps.iter().enumerate().skip(commit + 1) {
            let what = format!("{what}: {} on {} last", step.step, step.node);
            let mut run = run.clone();
            let outcome = run.go(&orders()[0], &nobody(), Fault::Late(index));
            assert_eq!(outcome, Ok(State::Completed), "{what}");
            assert_eq!(run.pay(), Ok(()), "{what}");
            assert_eq!(table::check(&run), Ok(()), "{what}");
        }
    });
}

/// The same version on the same master needs no pause.
#[test]
fn each_leaves_alone_what_runs_already() {
    let mut count = 0;
    each(|what, run| {
        let changes = run.world.head != run.world.entry.as_ref().map_or(0, |entry| entry.code);
        let compares = run.deployment.steps.iter().any(|step| step.step == Step::Compare);
        if compares && !changes {
            let mut run = run.clone();
            assert_eq!(run.go(&orders()[0], &nobody(), Fault::No), Ok(State::Completed), "{what}");
            let stop = run.deployment.steps.iter().find(|step| step.step == Step::Stop);
            assert_eq!(stop.unwrap().status, Status::Skipped, "{what}");
            count += 1;
        }
    });
    assert_eq!(count, 2 * NODES);
}

/// By the steps themselves, whatever the model makes of them.
#[test]
fn each_commits_once_and_removes_behind_it() {
    each(|what, run| {
        let steps = &run.deployment.steps;
        let commits = steps.iter().filter(|step| is_commit(&step.step)).count();
        assert_eq!(commits, 1, "{what}");
        let (before, _) = steps.split_at(steps.iter().position(|s| is_commit(&s.step)).unwrap());
        let early = before.iter().find(|step| {
            matches!(
                step.step,
                Step::Deregister
                    | Step::Schedule
                    | Step::Unschedule
                    | Step::Remove
                    | Step::DropCopies
                    | Step::Leave
                    | Step::RemoveCheckouts { .. }
                    | Step::ReleaseImages
            )
        });
        assert_eq!(early, None, "{what}");
        let touches = steps.iter().map(|step| !step.step.is_harmless());
        assert!(touches.is_sorted(), "{what}: what can fail without harm comes first");
        assert!(steps.is_sorted_by_key(|step| step.stage), "{what}");
        let together = |a: usize, b: usize| steps[a].stage == steps[b].stage;
        for b in 1..steps.len() {
            let twice = (0..b).find(|a| together(*a, b) && steps[*a].node == steps[b].node);
            assert_eq!(twice, None, "{what}: one node, two steps side by side");
        }
    });
}
