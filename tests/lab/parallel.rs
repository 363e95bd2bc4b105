//! Deployments of different apps go on side by side, a node takes only so many heavy steps at once, and what is stuck
//! holds up nobody else. All of it is read from the records' times.

use tandem::model::NodeName;
use tandem::model::deployment::{Deployment, Status, Step, StepRecord};

use crate::deploy::body;
use crate::support::{Lab, NODES, Repo, until};

/// The setting `parallel`, as `fixtures/with-lab` has it.
const LIMIT: usize = 2;
const APPS: usize = 4;

/// What the build of `hanging-build` runs: it ends when somebody ends it.
const HANGS: &str = "^sleep 98765$";

/// A build that hangs; it is ended with the test, however that ends.
struct Hanging<'a>(&'a Lab);

impl Drop for Hanging<'_> {
    fn drop(&mut self) {
        self.0.try_node("node1", &["pkill", "-KILL", "-f", HANGS]);
    }
}

fn record(lab: &Lab, id: &str) -> Deployment {
    let record = lab.record(id).unwrap();
    serde_json::from_value(record).unwrap()
}

fn step<'a>(record: &'a Deployment, wanted: &Step) -> &'a StepRecord {
    record.steps.iter().find(|step| step.step == *wanted).unwrap()
}

fn until_running(lab: &Lab, id: &str, wanted: &Step) {
    until(&format!("{wanted} of {id}"), || {
        lab.record(id)?;
        (step(&record(lab, id), wanted).status == Status::Running).then_some(())
    });
}

/// From when to when a step ran, if it began: the times are all of one length, and so they sort as texts.
type Span = (String, String);

fn span(step: &StepRecord) -> Option<Span> {
    let began = step.started_at.clone()?;
    let open = || "still running".to_owned();
    Some((began, step.ended_at.clone().unwrap_or_else(open)))
}

fn overlap(one: &Span, other: &Span) -> bool {
    one.0 < other.1 && other.0 < one.1
}

/// The most heavy steps that a node had at work at the same moment.
fn most_at_once(records: &[Deployment], node: &str) -> usize {
    let node = NodeName::parse(node).unwrap();
    let steps = records.iter().flat_map(|record| &record.steps);
    let heavy = steps.filter(|step| step.node == node && step.step.is_heavy());
    let spans: Vec<Span> = heavy.filter_map(span).collect();
    let at_work = |moment: &str| {
        let is_in = |span: &&Span| span.0.as_str() <= moment && moment < span.1.as_str();
        spans.iter().filter(is_in).count()
    };
    spans.iter().map(|(began, _)| at_work(began)).max().unwrap_or_default()
}

fn spans(record: &Deployment) -> Vec<Span> {
    record.steps.iter().filter_map(span).collect()
}

fn share_time(one: &Deployment, other: &Deployment) -> bool {
    let others = spans(other);
    spans(one).iter().any(|span| others.iter().any(|other| overlap(span, other)))
}

#[test]
fn apps_are_deployed_side_by_side_within_the_limit_whatever_is_stuck() {
    let lab = Lab::get();
    let host = |name: &str| format!("{name}.test");
    let publish = |fixture: &str, name: &str, more: &[(&str, &str)]| {
        let host = host(name);
        let mut edits = vec![("hello.test", host.as_str())];
        edits.extend_from_slice(more);
        Repo::publish_edited(&lab, fixture, name, &edits)
    };
    // A build that does not end, and an app that does not become healthy: Docker calls it neither up nor ill.
    let hangs = publish("hanging-build", "side-hangs", &[]);
    let sick = publish("broken-unhealthy", "side-sick", &[("retries: 3", "retries: 1000")]);
    let names: Vec<String> = (1..=APPS).map(|number| format!("side-{number}")).collect();
    let apps: Vec<Repo> = names.iter().map(|name| publish("hello", name, &[])).collect();

    let hanging = Hanging(&lab);
    let hung = lab.fire("deploy", &hangs.deploy("node1", None));
    until_running(&lab, &hung, &Step::Build);
    let waiting = lab.fire("deploy", &sick.deploy("node1", None));
    until_running(&lab, &waiting, &Step::AwaitHealthy);
    // As it is now: an undo moves the times at which its steps ended.
    let sick_record = record(&lab, &waiting);

    let fire = |repo: &Repo| lab.fire("deploy", &repo.deploy("node1", Some("node2")));
    let ids: Vec<String> = apps.iter().map(fire).collect();
    for id in &ids {
        let record = lab.outcome(id);
        assert_eq!(record["state"], "completed", "{record:#}");
    }
    let stuck = record(&lab, &hung);
    let build = step(&stuck, &Step::Build);
    assert_eq!(build.status, Status::Running, "it outlasted them all: {stuck:#?}");
    let outcome = lab.outcome(&waiting);
    assert_eq!(outcome["state"], "undone", "{outcome:#}");

    let deployed: Vec<Deployment> = ids.iter().map(|id| record(&lab, id)).collect();
    let pairs = (0..APPS).flat_map(|one| (0..one).map(move |other| (one, other)));
    let together = pairs.filter(|(one, other)| share_time(&deployed[*one], &deployed[*other]));
    assert!(together.count() > 0, "one after the other: {deployed:#?}");
    let awaits = span(step(&record(&lab, &waiting), &Step::AwaitHealthy)).unwrap();
    let meanwhile = |record: &Deployment| spans(record).iter().any(|span| overlap(span, &awaits));
    assert!(deployed.iter().any(meanwhile), "all waited for an app that is not healthy");

    let mut all = deployed;
    all.extend([stuck, sick_record]);
    for node in NODES {
        let most = most_at_once(&all, node);
        assert!(most <= LIMIT, "{most} heavy steps at once on {node}: {all:#?}");
    }
    assert_eq!(
        most_at_once(&all, "node1"),
        LIMIT,
        "the hanging build has one slot, the others share one"
    );
    for name in &names {
        assert!(body(&lab, "node3", &host(name), "/").contains("hello"), "{name}");
    }

    // With the build that hung its slot is free again, and nothing of it is left.
    drop(hanging);
    let outcome = lab.outcome(&hung);
    assert_eq!(outcome["state"], "refused", "{outcome:#}");
    let ids: Vec<String> = apps.iter().map(|repo| lab.fire("destroy", &repo.destroy())).collect();
    for id in &ids {
        let record = lab.outcome(id);
        assert_eq!(record["state"], "completed", "{record:#}");
    }
    for repo in apps.iter().chain([&hangs, &sick]) {
        assert_eq!(lab.leftovers(repo), [""; 0], "of {}", repo.name);
    }
}
