//! Consul goes away in the middle, at every call, and comes back.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::apps::{deploy, id, node};
use super::lab::Lab;
use super::scenarios::{Scenario, TESTED};
use super::world::World;
use crate::exec::{ExecError, drive};
use crate::model::deployment::State;

/// How long Consul stays away: longer than an undisturbed deployment takes.
const AWAY: Duration = Duration::from_secs(30);

/// The master's Consul agent answers so many calls, then none for a while. Tells the outcome, and how long it took.
async fn away_after(lab: &Lab, calls: u32) -> (State, Duration) {
    lab.consul.fail_after(&node(1), calls);
    let (tested, started) = (id(TESTED), Instant::now());
    let work = async { (lab.work(&tested).await, started.elapsed()) };
    let returns = async {
        sleep(AWAY).await;
        lab.consul.set_reachable(&node(1), true);
    };
    tokio::join!(work, returns).0
}

async fn assert_good_end(lab: &Lab, state: State, before: &World, what: &str) {
    let record = lab.record(&id(TESTED)).await;
    let master = lab.node(1).world(lab);
    if state == State::Completed {
        assert!(record.committed, "{what}");
        assert_eq!(master.containers.len(), 3, "{what}");
        assert_eq!(lab.node(1).volume(lab, "data"), Scenario::Redeploy.content(), "{what}");
        assert!(record.warnings.is_empty(), "{what}: {:?}", record.warnings);
    } else {
        assert!(matches!(state, State::Undone | State::Refused), "{what}: {state}");
        assert!(record.reason.is_some() && !record.committed, "{what}");
        assert_eq!(master.containers, before.containers, "{what}");
    }
    lab.assert_idle(what).await;
}

#[tokio::test(start_paused = true)]
async fn at_every_third_call_of_the_master() {
    let mut disturbed = 0;
    for calls in (0..).step_by(3) {
        let lab = Scenario::Redeploy.lab().await;
        let before = lab.node(1).world(&lab);
        Scenario::Redeploy.accepted(&lab).await;
        let (state, took) = away_after(&lab, calls).await;
        assert_good_end(&lab, state, &before, &format!("after {calls} calls")).await;
        if took < AWAY {
            break;
        }
        disturbed += 1;
    }
    assert!(disturbed > 30, "{disturbed} places only");
}

#[tokio::test(start_paused = true)]
async fn drive_tells_and_goes_on_when_called_again() {
    let lab = Lab::new().await;
    lab.accept(&id(1), &deploy(None)).await;
    let context = lab.node(1).context();
    lab.consul.fail_after(&node(1), 25);
    let error = drive(&context, &lab.app, &id(1)).await;
    assert!(matches!(error, Err(ExecError::Consul(_))), "{error:?}");
    assert_eq!(lab.record(&id(1)).await.state, State::Running);
    let again = drive(&context, &lab.app, &id(1)).await;
    assert!(matches!(again, Err(ExecError::Consul(_))), "{again:?}");
    lab.consul.set_reachable(&node(1), true);
    assert_eq!(drive(&context, &lab.app, &id(1)).await.unwrap(), State::Completed);
    lab.assert_idle("again").await;
}
