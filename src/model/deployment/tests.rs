use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::model::{AppId, Branch, Repo};
use crate::plan::{Facts, NodeFacts, plan};

const NODES: [&str; 3] = ["node1", "node2", "node3"];

fn node(name: &str) -> NodeName {
    NodeName::parse(name).unwrap()
}

/// A move of an app from node1 to node2, its slave, which swap their roles.
pub(super) fn moved() -> Deployment {
    planned(Some(Some(1)), Some(Some(0)), false, "node2")
}

fn deployment(old: Option<Option<usize>>, new: Option<Option<usize>>, update: bool) -> Deployment {
    planned(old, new, update, "node1")
}

fn planned(
    old: Option<Option<usize>>,
    new: Option<Option<usize>>,
    update: bool,
    master: &str,
) -> Deployment {
    let app =
        AppId { repo: Repo::parse("git://h/app").unwrap(), branch: Branch::parse("main").unwrap() };
    let there = NodeFacts { alive: true, agent: true, ..NodeFacts::default() };
    let former: Option<AppRecord> = old.map(|replica| {
        serde_json::from_value(serde_json::json!({
            "repo_url": "git://h/app", "branch": "main", "deploy_id": "former",
            "master": "node1", "slave": replica.map(|n| NODES[n]),
        }))
        .unwrap()
    });
    let request = match new {
        Some(replica) => Request::Deploy {
            app,
            master: Some(node(master)),
            replica: replica.map(|n| node(NODES[n])).into(),
            update,
            from_replica: false,
        },
        None => Request::Destroy { app },
    };
    let facts = Facts {
        nodes: NODES.map(|name| (node(name), there.clone())).into(),
        app: former.clone(),
        ..Facts::default()
    };
    let id = DeployId::parse("new").unwrap();
    let planned = plan(&id, &request, &facts).unwrap();
    Deployment {
        format: FORMAT,
        id,
        request,
        epoch: 1,
        accepted_at: String::new(),
        accepted_by: node("node1"),
        state: State::Running,
        committed: false,
        reason: None,
        choice: None,
        former,
        source: None,
        placement: planned.placement,
        prepared: None,
        transitions: planned.transitions,
        steps: planned.steps,
        warnings: Vec::new(),
        finished_at: None,
    }
}

/// Lets nodes act one after the other in the order of `turns` until the outcome. Step `fails` fails. Each node
/// forgets after every third mark that it announced a step and starts over, as a restarted agent does.
fn play(
    mut deployment: Deployment,
    fails: usize,
    turns: &[usize],
) -> (Deployment, Vec<(usize, &'static str)>) {
    let mut log = Vec::new();
    for turn in 0..2000 {
        let me = node(NODES[turns[turn % turns.len()]]);
        let restarted = turn % 3 == 2;
        match deployment.next(&me) {
            Next::Run(index) => {
                deployment.mark(index, Mark::Running, "t").unwrap();
                if restarted {
                    continue;
                }
                if index == fails {
                    deployment.mark(index, Mark::Failed("x".to_owned()), "t").unwrap();
                    log.push((index, "failed"));
                } else {
                    let commits =
                        matches!(deployment.steps[index].step, Step::Commit | Step::Forget);
                    deployment.committed |= commits;
                    // Something has changed: a comparison that finds nothing skips steps.
                    let output = BTreeMap::from([("web".to_owned(), "is new".to_owned())]);
                    deployment.mark(index, Mark::Done(output), "t").unwrap();
                    log.push((index, "done"));
                }
            }
            Next::Undo(index) => {
                deployment.mark(index, Mark::Undoing, "t").unwrap();
                if !restarted {
                    deployment.mark(index, Mark::Undone, "t").unwrap();
                    log.push((index, "undone"));
                }
            }
            Next::Finish(state) => deployment.state = state,
            Next::Wait => {}
            Next::Over => return (deployment, log),
        }
    }
    panic!("no outcome after 2000 turns: {deployment:#?}");
}

fn replica() -> impl Strategy<Value = Option<usize>> {
    prop_oneof![Just(None), Just(Some(1)), Just(Some(2))]
}

proptest! {
    /// Whatever fails, in whatever order nodes act and restart: the end is the new version, or everything that was
    /// begun is undone in the opposite order.
    #[test]
    fn every_failure_ends_in_the_new_version_or_the_old_one(
        old in proptest::option::of(replica()),
        new in replica(),
        destroy in any::<bool>(),
        update in any::<bool>(),
        fails in 0_usize..30,
        turns in Just(vec![0, 1, 2, 0, 2, 1, 1, 0]).prop_shuffle(),
    ) {
        let new = if destroy && old.is_some() { None } else { Some(new) };
        let start = deployment(old, new, update);
        let point = start.steps.iter().position(|s| matches!(s.step, Step::Commit | Step::Forget)).unwrap();
        let steps = start.steps.len();
        let (end, log) = play(start, fails, &turns);
        let early = fails <= point;
        if early {
            prop_assert!(matches!(end.state, State::Refused | State::Undone), "{}", end.state);
            prop_assert!(!end.committed);
            prop_assert!(end.reason.is_some());
            let begun: Vec<_> = log.iter().filter(|(_, what)| *what != "undone").map(|(i, _)| *i).collect();
            let undone: Vec<_> = log.iter().filter(|(_, what)| *what == "undone").map(|(i, _)| *i).collect();
            let stage = |i: &usize| end.steps[*i].stage;
            prop_assert!(undone.iter().map(stage).rev().is_sorted(), "{undone:?}");
            for index in begun {
                prop_assert!(undone.contains(&index), "step {index} was begun and not undone");
            }
        } else {
            prop_assert_eq!(end.state, State::Completed);
            prop_assert!(end.committed);
            let warned = usize::from(fails < steps);
            prop_assert_eq!(end.warnings.len(), warned);
        }
    }

    /// A stage begins only when the one before it has ended.
    #[test]
    fn stages_wait_for_each_other(old in proptest::option::of(replica()), new in replica(), turns in Just(vec![0, 1, 2, 2, 1]).prop_shuffle()) {
        let (end, log) = play(deployment(old, Some(new), false), usize::MAX, &turns);
        let stages: Vec<_> = log.iter().map(|(index, _)| end.steps[*index].stage).collect();
        prop_assert!(stages.is_sorted(), "{stages:?}");
        prop_assert!(end.steps.iter().all(|step| step.status == Status::Done));
    }
}

#[test]
fn marks_that_the_status_does_not_allow_are_refused() {
    let mut deployment = deployment(None, Some(None), false);
    let done = Mark::Done(BTreeMap::new());
    assert!(deployment.mark(0, done.clone(), "t").is_err(), "done before it ran");
    deployment.mark(0, Mark::Running, "t").unwrap();
    deployment.mark(0, Mark::Running, "t").unwrap();
    deployment.mark(0, done.clone(), "t").unwrap();
    assert!(deployment.mark(0, done, "t").is_err(), "done twice");
    assert_eq!(deployment.mark(99, Mark::Running, "t"), Err(Illegal::NoSuchStep(99)));
}

#[test]
fn a_record_survives_its_json() {
    let deployment = deployment(Some(Some(1)), Some(Some(2)), true);
    let json = serde_json::to_string(&deployment).unwrap();
    assert_eq!(serde_json::from_str::<Deployment>(&json).unwrap(), deployment);
    assert!(json.contains(r#""slave":"node3""#), "{json}");
}
