//! Whether an app is up: a judgement on its containers. Pure.

use std::collections::BTreeMap;
use std::fmt;

use super::{Container, Health, State};
use crate::model::manifest::{Ends, Manifest, Service};

/// How often each container (by id) had been restarted when it was first seen.
pub type Baseline = BTreeMap<String, u64>;

/// What is wrong, and with what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// The service.
    pub service: String,
    /// Its container's name, if it has one.
    pub container: Option<String>,
    /// What it does in place of running well.
    pub what: String,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.container {
            Some(container) => {
                write!(f, "service {} (container {container}) {}", self.service, self.what)
            }
            None => write!(f, "service {} {}", self.service, self.what),
        }
    }
}

/// The state of an app as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Every service runs (and its health check agrees), or has completed if that is what it is for.
    Healthy,
    /// Something is not there yet.
    Waiting(Complaint),
    /// Something ended and is started again, as its restart policy says: it may be waiting for another service.
    Again(Complaint),
    /// Something went wrong, and will not heal by waiting.
    Failed(Complaint),
}

/// Judges the containers of an app against its manifest; the worst service decides.
pub fn health(containers: &[Container], manifest: &Manifest, baseline: &Baseline) -> Verdict {
    let (mut waiting, mut again) = (None, None);
    for (name, service) in &manifest.services {
        let mut own = containers.iter().filter(|c| c.service == *name).peekable();
        if own.peek().is_none() && service.replicas > 0 {
            waiting = waiting.or(Some(Complaint {
                service: name.clone(),
                container: None,
                what: "has no container yet".to_owned(),
            }));
        }
        for container in own {
            match of_container(container, service, baseline) {
                Verdict::Healthy => {}
                Verdict::Waiting(why) => waiting = waiting.or(Some(why)),
                Verdict::Again(why) => again = again.or(Some(why)),
                Verdict::Failed(why) => return Verdict::Failed(why),
            }
        }
    }
    match (again, waiting) {
        (Some(why), _) => Verdict::Again(why),
        (None, Some(why)) => Verdict::Waiting(why),
        (None, None) => Verdict::Healthy,
    }
}

/// Whether a service's policy starts a container again that ended with this code, or with any if none is said.
fn is_started_again(service: &Service, code: Option<i64>) -> bool {
    match service.restart.split(':').next() {
        Some("always" | "unless-stopped") => true,
        Some("on-failure") => code != Some(0),
        _ => false,
    }
}

fn of_container(container: &Container, service: &Service, baseline: &Baseline) -> Verdict {
    let complaint = |what: String| Complaint {
        service: container.service.clone(),
        container: Some(container.name.clone()),
        what,
    };
    let probe = match &container.probe {
        Some(probe) => format!("; its last probe said: {probe}"),
        None => String::new(),
    };
    let before = baseline.get(&container.id).copied().unwrap_or_default();
    if container.restart_count > before {
        let times = container.restart_count - before;
        let state = container.state;
        let complaint = complaint(format!("has restarted {times} times and is {state}"));
        return match is_started_again(service, None) {
            true => Verdict::Again(complaint),
            false => Verdict::Failed(complaint),
        };
    }
    match (container.state, container.health) {
        (State::Running, Health::None | Health::Healthy) if service.completes => {
            Verdict::Waiting(complaint("has not completed yet".to_owned()))
        }
        (State::Running, Health::None | Health::Healthy) => Verdict::Healthy,
        (State::Running, Health::Starting) => {
            Verdict::Waiting(complaint(format!("is not healthy yet{probe}")))
        }
        (State::Running, Health::Unhealthy) => {
            Verdict::Failed(complaint(format!("is unhealthy{probe}")))
        }
        (State::Exited(0), _) if service.ends != Ends::Never => Verdict::Healthy,
        // Its policy was taken away when it ended: until the commit of a move, or for the stop before. Docker gives up on its
        // own only where tries are counted.
        (state @ State::Exited(code), _)
            if is_started_again(service, Some(code))
                && (container.restart == "no" || !service.restart.starts_with("on-failure")) =>
        {
            Verdict::Again(complaint(format!("is {state}")))
        }
        (state @ (State::Created | State::Restarting | State::Removing), _) => {
            Verdict::Waiting(complaint(format!("is {state}")))
        }
        (state @ (State::Exited(_) | State::Dead | State::Paused), _) => {
            Verdict::Failed(complaint(format!("is {state}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(service: &str, state: State, health: Health) -> Container {
        Container {
            state,
            health,
            probe: Some("refused".to_owned()),
            ..Container::running(service)
        }
    }

    fn manifest(services: &[(&str, bool)]) -> Manifest {
        let service = |completes| Service {
            completes,
            ends: if completes { Ends::Done } else { Ends::Never },
            replicas: 1,
            ..Service::default()
        };
        Manifest {
            services: services
                .iter()
                .map(|(name, completes)| ((*name).to_owned(), service(*completes)))
                .collect(),
            ..Manifest::default()
        }
    }

    fn judge(containers: &[Container]) -> Verdict {
        let manifest = manifest(&[("db", false), ("init", true)]);
        health(containers, &manifest, &Baseline::new())
    }

    fn says(verdict: &Verdict) -> (&'static str, String) {
        match verdict {
            Verdict::Healthy => ("healthy", String::new()),
            Verdict::Waiting(why) => ("waiting", why.to_string()),
            Verdict::Again(why) => ("again", why.to_string()),
            Verdict::Failed(why) => ("failed", why.to_string()),
        }
    }

    #[test]
    fn each_state_has_its_verdict() {
        use Health::{Healthy, None, Starting, Unhealthy};
        let done = container("init", State::Exited(0), None);
        let db = "service db (container p_db_1)";
        for (state, health, kind, what) in [
            (State::Running, None, "healthy", String::new()),
            (State::Running, Healthy, "healthy", String::new()),
            (
                State::Running,
                Starting,
                "waiting",
                format!("{db} is not healthy yet; its last probe said: refused"),
            ),
            (
                State::Running,
                Unhealthy,
                "failed",
                format!("{db} is unhealthy; its last probe said: refused"),
            ),
            (State::Created, None, "waiting", format!("{db} is created, not started")),
            (State::Restarting, None, "waiting", format!("{db} is restarting")),
            (State::Removing, None, "waiting", format!("{db} is being removed")),
            (State::Exited(0), None, "failed", format!("{db} is exited with code 0")),
            (State::Exited(137), None, "failed", format!("{db} is exited with code 137")),
            (State::Dead, None, "failed", format!("{db} is dead")),
            (State::Paused, None, "failed", format!("{db} is paused")),
        ] {
            let verdict = judge(&[container("db", state, health), done.clone()]);
            assert_eq!(says(&verdict), (kind, what), "{state}");
        }
    }

    /// A job that nobody waits for, and a service that its policy is to keep running.
    #[test]
    fn who_has_done_its_work_is_no_failure() {
        let ended = container("db", State::Exited(0), Health::None);
        let failed = container("db", State::Exited(1), Health::None);
        for (ends, kind) in
            [(Ends::Done, "healthy"), (Ends::Maybe, "healthy"), (Ends::Never, "failed")]
        {
            let mut manifest = manifest(&[("db", false)]);
            manifest.services.get_mut("db").unwrap().ends = ends;
            let judge = |container: &Container| {
                says(&health(std::slice::from_ref(container), &manifest, &Baseline::new())).0
            };
            assert_eq!((judge(&ended), judge(&failed)), (kind, "failed"), "{ends:?}");
        }
    }

    #[test]
    fn what_its_policy_starts_again_has_not_failed_yet() {
        for (policy, of_container, code, kind) in [
            ("unless-stopped", "no", 1, "again"),
            ("always", "no", 0, "again"),
            ("on-failure:3", "no", 1, "again"),
            ("on-failure:3", "on-failure:3", 1, "failed"),
            ("on-failure", "no", 0, "failed"),
            ("unless-stopped", "unless-stopped", 1, "again"),
            ("no", "no", 1, "failed"),
        ] {
            let mut only = manifest(&[("db", false)]);
            only.services.get_mut("db").unwrap().restart = policy.to_owned();
            let mut db = container("db", State::Exited(code), Health::None);
            db.restart = of_container.to_owned();
            let told = says(&health(std::slice::from_ref(&db), &only, &Baseline::new()));
            assert_eq!(told.0, kind, "{policy} {of_container} {code}");
            (db.state, db.restart_count) = (State::Restarting, 1);
            let told = says(&health(&[db], &only, &Baseline::new()));
            assert_eq!(told.0, if policy == "no" { "failed" } else { "again" }, "{policy}");
        }
    }

    #[test]
    fn a_service_that_completes_is_awaited_and_must_succeed() {
        let db = container("db", State::Running, Health::None);
        let with = |state| judge(&[db.clone(), container("init", state, Health::None)]);
        assert_eq!(with(State::Exited(0)), Verdict::Healthy);
        assert_eq!(says(&with(State::Running)).0, "waiting");
        assert_eq!(says(&with(State::Exited(1))).0, "failed");
    }

    #[test]
    fn a_missing_container_is_awaited_unless_the_service_is_off() {
        let init = container("init", State::Exited(0), Health::None);
        let verdict = judge(std::slice::from_ref(&init));
        assert_eq!(says(&verdict), ("waiting", "service db has no container yet".to_owned()));
        let mut off = manifest(&[("db", false), ("init", true)]);
        off.services.get_mut("db").unwrap().replicas = 0;
        assert_eq!(health(&[init], &off, &Baseline::new()), Verdict::Healthy);
    }

    #[test]
    fn only_restarts_since_the_first_look_count() {
        let mut db = container("db", State::Running, Health::None);
        db.restart_count = 3;
        let only = manifest(&[("db", false)]);
        let seen = Baseline::from([("id-db".to_owned(), 3)]);
        assert_eq!(health(std::slice::from_ref(&db), &only, &seen), Verdict::Healthy);
        db.restart_count = 5;
        let verdict = health(&[db], &only, &seen);
        let text = "service db (container p_db_1) has restarted 2 times and is running";
        assert_eq!(says(&verdict), ("failed", text.to_owned()));
    }

    #[test]
    fn a_failure_outweighs_what_is_awaited() {
        let verdict = judge(&[
            container("db", State::Running, Health::Starting),
            container("init", State::Exited(2), Health::None),
        ]);
        assert_eq!(says(&verdict).0, "failed");
    }
}
