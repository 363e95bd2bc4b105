//! One run: the app where the case begins, the event, the fault at its moment, and whether all is well afterwards.

use std::time::{Duration, Instant};

use tandem::model::deployment::{Deployment, State, Status};

use crate::app::{App, publish};
use crate::case::{HOME, Kind, Pair};
use crate::check::{Check, Stand};
use crate::consul::Consul;
use crate::fault::{Fault, Version};
use crate::list::{Moment, Run};
use crate::overlap::Overlap;
use crate::strike::{Second, Strike};
use crate::support::{Lab, NODES};
use crate::writer::{Ledger, Writer, Written, post};

/// How long a deployment may take, its fault included.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long everything may take to settle after the outcome.
const SETTLING: Duration = Duration::from_secs(60);
/// More rows than this, and the app begins anew.
const MANY_ROWS: i64 = 4000;

/// The lab between the runs.
pub(crate) struct Bench {
    pub(crate) lab: Lab,
    pub(crate) app: App,
    /// The app as the last run left it.
    stand: Option<Stand>,
    ledger: Ledger,
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
    /// A lab that just came up.
    pub(crate) fn new(lab: Lab) -> Self {
        let app = App::first(&lab);
        Self { lab, app, stand: None, ledger: Ledger::default(), versions: 0 }
    }

    /// Carries a run out. What does not work in the lab itself is a panic.
    pub(crate) fn run(&mut self, run: &Run, seen: &mut Seen) {
        let lab = Lab::unchecked();
        let consul = Consul::new(&lab, run.case.node);
        consul.open();
        self.prepare(&consul, run.case.kind);

        self.strike(&consul, run, seen);
        if seen.findings.is_empty() {
            self.deploy_after(&consul, seen);
        }
    }

    /// The app is where the case begins.
    fn prepare(&mut self, consul: &Consul<'_>, kind: Kind) {
        let stale = kind == Kind::New || self.ledger.last > MANY_ROWS;
        if self.stand.is_some() && stale {
            let record = self.finished(consul, "destroy", &self.app.destroy());
            assert_eq!(record.state, State::Completed, "the app can't be destroyed");
            self.stand = None;
            self.ledger = Ledger::default();
            self.assert_well(consul);
        }
        if self.stand.is_none() && kind != Kind::New {
            let version = self.next_version();
            publish(&self.lab, &version, Version::Sound);
            let record = self.finished(consul, "deploy", &self.app.deploy(HOME));
            assert_eq!(record.state, State::Completed, "the app can't be deployed: {record:?}");
            self.stand = Some(Stand { pair: HOME, id: record.id.to_string(), version });
            self.assert_well(consul);
        }
    }

    fn next_version(&mut self) -> String {
        self.versions += 1;
        format!("version {}", self.versions)
    }

    fn assert_well(&self, consul: &Consul<'_>) {
        let findings = self.settled(consul, self.stand.as_ref(), None);
        assert!(findings.is_empty(), "before the run: {findings:#?}");
    }

    /// The event, the fault, the outcome, and what is wrong then.
    fn strike(&mut self, consul: &Consul<'_>, run: &Run, seen: &mut Seen) {
        let version = self.next_version();
        publish(&self.lab, &version, run.fault.version());
        let second = self.second(run.fault);
        let lab = Lab::unchecked();
        let mut strike = Strike::prepare(&lab, consul, run.fault, run.case.node, second);
        let writer = Writer::start(&self.lab.ip(through(run)), std::mem::take(&mut self.ledger));
        let overlap = Overlap::start();
        if run.moment == Moment::Before {
            strike.strike();
            seen.struck = Some("before".to_owned());
        }
        let id = consul.fire("deploy", &self.app.deploy(run.case.kind.to()));
        seen.ids.push(id.clone());
        let record = self.follow(consul, run, &id, &mut strike, seen);
        let mut stand = self.after(&record, run.case.kind.to(), &version);
        judge(&record, seen);
        if let Some(second) = &strike.second {
            seen.ids.push(second.clone());
            let record = self.awaited(consul, second);
            judge(&record, seen);
            stand = self.after_second(run.fault, &record, stand, &version);
        }
        let settling = if seen.findings.is_empty() { SETTLING } else { Duration::ZERO };
        seen.findings.extend(self.settled_within(settling, consul, stand.as_ref(), None));
        self.tell(writer.end(), run, seen);
        let twice = overlap.end();
        seen.findings.extend(twice.into_iter().map(|when| format!("ran twice: {when}")));
        self.stand = stand;
        if self.stand.is_none() {
            self.ledger = Ledger::default();
        }
        if seen.findings.is_empty() {
            seen.findings = self.settled(consul, self.stand.as_ref(), Some(&self.ledger));
        }
    }

    fn tell(&mut self, written: Written, run: &Run, seen: &mut Seen) {
        self.ledger = written.ledger;
        seen.story = written.story;
        seen.downtime = (run.case.kind != Kind::New).then_some(written.downtime);
    }

    /// The event that is the fault.
    fn second(&self, fault: Fault) -> Option<Second> {
        match fault {
            Fault::TwoEvents => Some(Second { name: "deploy", payload: self.app.deploy(SECOND) }),
            Fault::Destroy => Some(Second { name: "destroy", payload: self.app.destroy() }),
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
        let (key, since, mut index) = (self.app.record_key(id), Instant::now(), 0);
        let mut last = "none".to_owned();
        loop {
            let wait = if strike.is_over() { 2000 } else { 200 };
            let look = consul.look(&key, index, Duration::from_millis(wait));
            index = look.index;
            let Some(record) = look.record else {
                strike.tend(false);
                assert!(since.elapsed() < PATIENCE, "no outcome of {id}; last: {last}");
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
            assert!(since.elapsed() < PATIENCE, "no outcome of {id}; last: {last}");
        }
    }

    /// Where the app has to be after a deployment to `pair`.
    fn after(&self, record: &Deployment, pair: Pair, version: &str) -> Option<Stand> {
        if record.state == State::Completed {
            let id = record.id.to_string();
            return Some(Stand { pair, id, version: version.to_owned() });
        }
        self.stand.clone()
    }

    fn after_second(
        &self,
        fault: Fault,
        record: &Deployment,
        stand: Option<Stand>,
        version: &str,
    ) -> Option<Stand> {
        match (record.state, fault) {
            (State::Completed, Fault::Destroy) => None,
            (State::Completed, Fault::TwoEvents) => {
                let (id, version) = (record.id.to_string(), version.to_owned());
                Some(Stand { pair: SECOND, id, version })
            }
            _ => stand,
        }
    }

    /// Fires an event and waits for its outcome.
    fn finished(&self, consul: &Consul<'_>, name: &str, payload: &str) -> Deployment {
        self.awaited(consul, &consul.fire(name, payload))
    }

    fn awaited(&self, consul: &Consul<'_>, id: &str) -> Deployment {
        let (key, since, mut index) = (self.app.record_key(id), Instant::now(), 0);
        loop {
            let look = consul.look(&key, index, Duration::from_secs(2));
            index = look.index;
            match look.record {
                Some(record) if record.state.is_final() => return record,
                _ => assert!(since.elapsed() < PATIENCE, "no outcome of {id}"),
            }
        }
    }

    /// Looks until nothing is wrong, for a bounded time.
    fn settled(
        &self,
        consul: &Consul<'_>,
        stand: Option<&Stand>,
        ledger: Option<&Ledger>,
    ) -> Vec<String> {
        self.settled_within(SETTLING, consul, stand, ledger)
    }

    fn settled_within(
        &self,
        patience: Duration,
        consul: &Consul<'_>,
        stand: Option<&Stand>,
        ledger: Option<&Ledger>,
    ) -> Vec<String> {
        let since = Instant::now();
        loop {
            let check = Check { lab: &self.lab, consul, app: &self.app, stand, ledger };
            let findings = check.findings();
            if findings.is_empty() || since.elapsed() >= patience {
                return findings;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// A deployment right after succeeds, serves, and takes rows through every node.
    fn deploy_after(&mut self, consul: &Consul<'_>, seen: &mut Seen) {
        let version = self.next_version();
        publish(&self.lab, &version, Version::Sound);
        let record = self.finished(consul, "deploy", &self.app.deploy(HOME));
        let id = record.id.to_string();
        seen.ids.push(id.clone());
        if record.state != State::Completed {
            let reason = record.reason.unwrap_or_default();
            seen.findings.push(format!("the deployment right after: {}: {reason}", record.state));
            return;
        }
        self.stand = Some(Stand { pair: HOME, id, version });
        let mut findings = self.settled(consul, self.stand.as_ref(), None);
        for node in NODES {
            if let Err(error) = post(&self.lab.ip(node), &mut self.ledger) {
                findings.push(format!("a row through {node}: {error}"));
            }
        }
        findings.extend(self.settled(consul, self.stand.as_ref(), Some(&self.ledger)));
        seen.findings.extend(findings.into_iter().map(|what| format!("right after: {what}")));
    }
}

/// Where the second of two events moves the app.
const SECOND: Pair = Pair { master: "node2", slave: Some("node3") };

/// Where rows are posted: a node that is not struck, best one without a master.
fn through(run: &Run) -> &'static str {
    let masters = [run.case.kind.from().map(|pair| pair.master), Some(run.case.kind.to().master)];
    let mut nodes = NODES;
    nodes.sort_by_key(|node| (run.case.node == *node, masters.contains(&Some(node))));
    nodes[0]
}

/// The status of the moment's step, if that has begun.
fn has_come(record: &Deployment, moment: &Moment) -> Option<Status> {
    let Moment::Step(planned) = moment else {
        return None;
    };
    let step = record
        .steps
        .iter()
        .find(|step| step.node.as_str() == planned.node && step.step.to_string() == planned.step)?;
    step.started_at.as_ref().map(|_| step.status)
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
