//! What a record tells of the copies that an app goes on with.

use chrono::{DateTime, TimeDelta, Utc};

use super::apps::{V2, deploy, id, update};
use super::lab::Lab;
use super::lost::from_replica;
use super::scenarios::When;
use crate::model::deployment::{State, Step};

/// The warnings of a deployment that goes on with a copy on node2, which was taken so long after the version began to write
/// that was given up.
async fn goes_on_with(after: TimeDelta) -> Vec<String> {
    let lab = Lab::new().await;
    assert_eq!(lab.run(&id(1), &deploy(Some(2))).await, State::Completed);
    lab.push("v2", V2);
    lab.accept(&id(2), &update()).await;
    let record = lab.record(&id(2)).await;
    let up = record.steps.iter().find(|step| step.step == Step::Up).unwrap();
    lab.fail(up, 1, When::Before);
    assert_eq!(lab.work(&id(2)).await, State::Undone);
    let record = lab.record(&id(2)).await;
    let script = record.steps.iter().find(|step| step.step == Step::Update).unwrap();
    let begun = DateTime::parse_from_rfc3339(script.started_at.as_ref().unwrap()).unwrap();
    lab.copy_of(2, "v1;last;updated;", begun.with_timezone(&Utc) + after).await;
    lab.lose(1);
    lab.node(1).fakes.machine.state().containers.clear();
    assert_eq!(lab.run(&id(3), &from_replica(2, Some(1))).await, State::Completed);
    lab.record(&id(3)).await.warnings
}

#[tokio::test(start_paused = true)]
async fn a_copy_of_what_a_given_up_version_wrote_is_told() {
    let told = format!("was taken while deployment {} had the app in its hands", id(2));
    let warnings = goes_on_with(TimeDelta::zero()).await;
    assert!(warnings.iter().any(|warning| warning.contains(&told)), "{warnings:?}");
    for after in [TimeDelta::seconds(-1), TimeDelta::hours(1)] {
        let warnings = goes_on_with(after).await;
        assert!(warnings.iter().all(|warning| !warning.contains(&told)), "{warnings:?}");
    }
}
