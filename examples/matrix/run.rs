//! One run: the app where the case begins, the event, the fault at its moment, and whether all is well afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use tandem::model::deployment::{Deployment, State, Status, StepRecord};

use crate::app::{App, Which};
use crate::case::{HOME, Kind, Pair};
use crate::check::Stand;
use crate::consul::Consul;
use crate::fault::Fault;
use crate::list::{Moment, Run, name};
use crate::overlap::Overlap;
use crate::strike::{Second, Strike};
use crate::support::{Lab, NODES};
use crate::tenant::{PATIENCE, SETTLING, Tenant};
use crate::writer::{Writer, post};

/// More rows than this, and the app begins anew.
const MANY_ROWS: i64 = 4000;
/// Where the second of two events moves the app.
const SECOND: Pair = Pair { master: "node2", slave: Some("node3") };
/// Where the app is that data is migrated to.
const TARGET: Pair = Pair { master: "node3", slave: None };

/// The lab and what is in it between the runs.
pub(crate) struct Bench {
    pub(crate) main: Tenant,
    /// What other runs deploy.
    aside: BTreeMap<Which, Tenant>,
    /// The target of a migrate; there is none but in the runs with one.
    pub(crate) other: Tenant,
    /// So that each version has a name of its own.
    versions: u32,
}

/// What a run showed.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The deployment's outcome, and that of the second event.
    pub(crate) outcome: String,
    pub(crate) reason: Option<String>,
    /// The status that the step had a moment after the strike; none if it was never struck.
    pub(crate) struck: Option<String>,
    pub(crate) downtime: Option<Duration>,
    /// What was wrong afterwards.
    pub(crate) findings: Vec<String>,
    /// The ids of the deployments.
    pub(crate) ids: Vec<String>,
    pub(crate) story: Vec<String>,
}

impl Bench {
    /// What a lab has that just came up.
    pub(crate) fn new(lab: &Lab) -> Self {
        let main = Tenant::new(App::of(lab, Which::Guestbook));
        let other = Tenant::new(App::other(lab));
        Self { main, aside: BTreeMap::new(), other, versions: 0 }
    }

    /// Carries a run out. What does not work in the lab itself is a panic.
    pub(crate) fn run(&mut self, lab: &Lab, run: &Run, seen: &mut Seen) {
        let consul = Consul::new(lab, run.case.node);
        consul.open();
        self.turn_to(lab, run.which);
        self.prepare(lab, &consul, run);
        self.strike(lab, &consul, run, seen);
        if seen.findings.is_empty() {
            self.deploy_after(lab, &consul, seen);
        }
        if self.other.stand.is_some() && seen.findings.is_empty() {
            self.other.destroy(lab, &consul);
        }
    }

    /// Makes it the app of this run: what the others deployed stays as it is.
    fn turn_to(&mut self, lab: &Lab, which: Which) {
        if self.main.app.site.which != which {
            let next = self.aside.remove(&which);
            let next = next.unwrap_or_else(|| Tenant::new(App::of(lab, which)));
            let former = std::mem::replace(&mut self.main, next);
            self.aside.insert(former.app.site.which, former);
        }
    }

    fn next_version(&mut self) -> String {
        self.versions += 1;
        format!("version {}", self.versions)
    }

    /// The app is where the case begins.
    fn prepare(&mut self, lab: &Lab, consul: &Consul<'_>, run: &Run) {
        let stale = run.case.kind == Kind::New || self.main.ledger.last > MANY_ROWS;
        if self.main.stand.is_some() && stale {
            self.main.destroy(lab, consul);
        }
        if self.main.stand.is_none() && run.case.kind != Kind::New {
            let version = self.next_version();
            let deployed = self.main.deploy(lab, consul, HOME, version);
            deployed.unwrap_or_else(|(id, findings)| panic!("to begin with, {id}: {findings:#?}"));
        }
        if run.fault == Fault::Migrate {
            let deployed = self.other.deploy(lab, consul, TARGET, "the target".to_owned());
            deployed.unwrap_or_else(|(id, findings)| panic!("the target, {id}: {findings:#?}"));
            // A number that no row of the source has.
            self.other.ledger.last = -10;
            let ip = lab.ip(TARGET.master);
            post(&ip, self.other.app.site, &mut self.other.ledger).expect("the target takes a row");
        }
    }

    /// The event, the fault, the outcome, and what is wrong then.
    fn strike(&mut self, lab: &Lab, consul: &Consul<'_>, run: &Run, seen: &mut Seen) {
        let version = self.next_version();
        let app = &self.main.app;
        app.publish(lab, &version, run.fault.version());
        let second = self.second(run.fault);
        let mut strike = Strike::prepare(lab, consul, run.fault, run.case.node, second);
        let before = self.main.ledger.acknowledged.clone();
        let ledger = std::mem::take(&mut self.main.ledger);
        let writer = Writer::start(&lab.ip(through(run)), app.site, ledger);
        let overlap = Overlap::start(lab, &app.project);
        if run.moment == Moment::Before {
            strike.strike();
            seen.struck = Some("before".to_owned());
        }
        let id = consul.fire("deploy", &app.deploy(run.case.kind.to(), run.updates()));
        seen.ids.push(id.clone());
        let record = self.follow(consul, run, &id, &mut strike, seen);
        judge(&record, seen);
        if seen.struck.is_none() && record.state != State::Completed {
            let reason = record.reason.as_deref().unwrap_or("none");
            seen.findings.push(format!("{} before the fault: {reason}", record.state));
        }
        if record.state == State::Completed {
            self.main.stand = Some(Stand { pair: run.case.kind.to(), id, version });
        }
        if let Some(second) = &strike.second {
            self.see_second(lab, consul, run.fault, second, before, seen);
        }
        let patience = if seen.findings.is_empty() { SETTLING } else { Duration::ZERO };
        seen.findings.extend(self.main.settled(lab, consul, patience));
        let written = writer.end();
        self.main.ledger = written.ledger;
        seen.story = written.story;
        seen.downtime = (run.case.kind != Kind::New).then_some(written.downtime);
        let twice = overlap.end();
        seen.findings.extend(twice.into_iter().map(|when| format!("ran twice: {when}")));
        if self.main.stand.is_none() {
            self.main.ledger = Default::default();
        }
        if seen.findings.is_empty() {
            seen.findings = self.main.settled(lab, consul, SETTLING);
        }
    }

    /// The event that is the fault.
    fn second(&self, fault: Fault) -> Option<Second> {
        let app = &self.main.app;
        match fault {
            Fault::TwoEvents => Some(Second { name: "deploy", payload: app.deploy(SECOND, false) }),
            Fault::Destroy => Some(Second { name: "destroy", payload: app.destroy() }),
            Fault::Migrate => {
                Some(Second { name: "migrate", payload: app.migrate(&self.other.app) })
            }
            _ => None,
        }
    }

    /// Follows the record, strikes at the moment, mends when that is due, until there is an outcome.
    fn follow(
        &self,
        consul: &Consul<'_>,
        run: &Run,
        id: &str,
        strike: &mut Strike<'_>,
        seen: &mut Seen,
    ) -> Deployment {
        let (key, since, mut index) = (self.main.app.record_key(id), Instant::now(), 0);
        let mut last = "none".to_owned();
        loop {
            assert!(since.elapsed() < PATIENCE, "no outcome of {id}; last: {last}");
            let wait = if strike.is_over() { 2000 } else { 200 };
            let look = consul.look(&key, index, Duration::from_millis(wait));
            index = look.index;
            let Some(record) = look.record else {
                strike.tend(false);
                continue;
            };
            if let Some(status) = has_come(&record, &run.moment).filter(|_| !strike.is_struck()) {
                strike.strike();
                std::thread::sleep(Duration::from_millis(20));
                let after = consul.look(&key, 0, Duration::ZERO).record;
                let after = after.and_then(|record| has_come(&record, &run.moment));
                seen.struck = Some(after.unwrap_or(status).to_string());
            }
            let ended = record.state.is_final();
            strike.tend(ended);
            if ended && strike.is_over() {
                return record;
            }
            last = format!("{} {:?}", record.state, record.reason);
        }
    }

    /// The outcome of the second event, and where it leaves the apps.
    fn see_second(
        &mut self,
        lab: &Lab,
        consul: &Consul<'_>,
        fault: Fault,
        id: &str,
        before: BTreeSet<i64>,
        seen: &mut Seen,
    ) {
        seen.ids.push(id.to_owned());
        let tenant = if fault == Fault::Migrate { &self.other } else { &self.main };
        let record = tenant.outcome(consul, id);
        judge(&record, seen);
        if record.state == State::Completed {
            match fault {
                Fault::Destroy => self.main.stand = None,
                Fault::TwoEvents => {
                    if let Some(stand) = &mut self.main.stand {
                        (stand.pair, stand.id) = (SECOND, id.to_owned());
                    }
                }
                Fault::Migrate => self.other.ledger.acknowledged = before,
                _ => {}
            }
        }
        if fault == Fault::Migrate {
            let wrong = self.other.settled(lab, consul, SETTLING);
            seen.findings.extend(wrong.into_iter().map(|what| format!("the target: {what}")));
        }
    }

    /// A deployment right after succeeds, serves, and takes rows through every node.
    fn deploy_after(&mut self, lab: &Lab, consul: &Consul<'_>, seen: &mut Seen) {
        let version = self.next_version();
        match self.main.deploy(lab, consul, HOME, version) {
            Ok(id) => seen.ids.push(id),
            Err((id, findings)) => {
                seen.ids.push(id);
                seen.findings = told_right_after(findings);
                return;
            }
        }
        let site = self.main.app.site;
        let posted = NODES.map(|node| (node, post(&lab.ip(node), site, &mut self.main.ledger)));
        let refused = posted
            .into_iter()
            .filter_map(|(node, answer)| Some(format!("a row through {node}: {}", answer.err()?)));
        let mut findings: Vec<_> = refused.collect();
        findings.extend(self.main.settled(lab, consul, SETTLING));
        seen.findings = told_right_after(findings);
    }
}

fn told_right_after(findings: Vec<String>) -> Vec<String> {
    findings.into_iter().map(|what| format!("the deployment right after: {what}")).collect()
}

/// Where rows are posted: a node that is not struck, best one without a master.
fn through(run: &Run) -> &'static str {
    let masters = [run.case.kind.from().map(|pair| pair.master), Some(run.case.kind.to().master)];
    let mut nodes = NODES;
    nodes.sort_by_key(|node| (run.case.node == *node, masters.contains(&Some(node))));
    nodes[0]
}

/// The status of the moment's step, if the moment has come.
fn has_come(record: &Deployment, moment: &Moment) -> Option<Status> {
    let (planned, undo) = match moment {
        Moment::Before => return None,
        Moment::Step(planned) => (planned, false),
        Moment::Undo(planned) => (planned, true),
    };
    let is_it =
        |step: &&StepRecord| step.node.as_str() == planned.node && name(&step.step) == planned.step;
    let step = record.steps.iter().find(is_it)?;
    let has_come = match undo {
        true => matches!(step.status, Status::Undoing | Status::Undone | Status::Stuck),
        false => step.started_at.is_some(),
    };
    has_come.then_some(step.status)
}

/// What a record itself tells.
fn judge(record: &Deployment, seen: &mut Seen) {
    let state = record.state.to_string();
    seen.outcome =
        if seen.outcome.is_empty() { state } else { format!("{}, then {state}", seen.outcome) };
    let reason = record.reason.clone().unwrap_or_default();
    if record.state != State::Completed && reason.is_empty() {
        seen.findings.push(format!("{} is {} without a reason", record.id, record.state));
    }
    if record.state == State::Stuck {
        seen.findings.push(format!("stuck: {reason}; {}", record.warnings.join("; ")));
    }
    seen.reason = seen.reason.take().or(record.reason.clone());
}
