//! An app in the lab: where it is, what was promised of its rows, and how it is deployed, destroyed and looked at.

use std::time::{Duration, Instant};

use tandem::model::deployment::{Deployment, State};

use crate::app::App;
use crate::case::Pair;
use crate::check::{Check, Stand};
use crate::consul::Consul;
use crate::fault::Version;
use crate::support::Lab;
use crate::writer::Ledger;

/// How long a deployment may take, its fault included.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);
/// How long everything may take to settle after the outcome.
pub(crate) const SETTLING: Duration = Duration::from_secs(60);

/// An app and what is known of it.
pub(crate) struct Tenant {
    pub(crate) app: App,
    /// None: it is not deployed.
    pub(crate) stand: Option<Stand>,
    pub(crate) ledger: Ledger,
}

impl Tenant {
    pub(crate) fn new(app: App) -> Self {
        Self { app, stand: None, ledger: Ledger::default() }
    }

    /// Deploys a sound version and looks whether it serves.
    ///
    /// # Errors
    /// The outcome, or what is wrong, and the id.
    pub(crate) fn deploy(
        &mut self,
        lab: &Lab,
        consul: &Consul<'_>,
        pair: Pair,
        version: String,
    ) -> Result<String, (String, Vec<String>)> {
        self.app.publish(lab, &version, Version::Sound);
        let record = self.finished(consul, "deploy", &self.app.deploy(pair, false));
        let id = record.id.to_string();
        if record.state != State::Completed {
            let reason = record.reason.unwrap_or_default();
            return Err((id, vec![format!("{}: {reason}", record.state)]));
        }
        self.stand = Some(Stand { pair, id: id.clone(), version });
        match self.settled(lab, consul, SETTLING) {
            findings if findings.is_empty() => Ok(id),
            findings => Err((id, findings)),
        }
    }

    /// Destroys the app and looks whether anything is left; a panic if so.
    pub(crate) fn destroy(&mut self, lab: &Lab, consul: &Consul<'_>) {
        let record = self.finished(consul, "destroy", &self.app.destroy());
        assert_eq!(record.state, State::Completed, "{} can't be destroyed", self.app.name);
        self.stand = None;
        self.ledger = Ledger::default();
        let findings = self.settled(lab, consul, SETTLING);
        assert!(findings.is_empty(), "after the end of {}: {findings:#?}", self.app.name);
    }

    /// Fires an event and waits for its outcome.
    fn finished(&self, consul: &Consul<'_>, name: &str, payload: &str) -> Deployment {
        self.outcome(consul, &consul.fire(name, payload))
    }

    /// Waits for a deployment's outcome.
    pub(crate) fn outcome(&self, consul: &Consul<'_>, id: &str) -> Deployment {
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

    /// Looks until nothing is wrong, for a bounded time, and at least once.
    pub(crate) fn settled(
        &self,
        lab: &Lab,
        consul: &Consul<'_>,
        patience: Duration,
    ) -> Vec<String> {
        let (stand, ledger) = (self.stand.as_ref(), &self.ledger);
        let since = Instant::now();
        loop {
            let findings = Check { lab, consul, app: &self.app, stand, ledger }.findings();
            if findings.is_empty() || since.elapsed() >= patience {
                return findings;
            }
            std::thread::sleep(Duration::from_millis(1000));
        }
    }
}
