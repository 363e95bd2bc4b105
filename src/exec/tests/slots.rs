//! Heavy steps of a node wait for each other, and for nothing else.

use std::time::Duration;

use tokio::sync::Semaphore;

use super::apps::{app, deploy, id, node};
use super::lab::Lab;
use crate::exec::driver::attempt::{COUNTED, within};
use crate::exec::{Context, drive};
use crate::host::repository::RepositoryError;
use crate::model::deployment::{State, Status, Step, StepRecord};

/// As many slots as the tests' contexts have.
const ALL: u32 = 2;

/// The status of a node's checkout.
async fn checkout(lab: &Lab, number: usize) -> Status {
    let record = lab.record(&id(1)).await;
    let is_it = |step: &&StepRecord| (&step.node, &step.step) == (&node(number), &Step::Checkout);
    record.steps.iter().find(is_it).unwrap().status
}

async fn until_checkout(lab: &Lab, number: usize, status: Status) {
    while checkout(lab, number).await != status {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn is_free(context: &Context) -> bool {
    context.slots.available_permits() == ALL as usize
}

#[tokio::test(start_paused = true)]
async fn a_heavy_step_is_begun_when_it_has_a_slot() {
    let lab = Lab::new().await;
    let context = lab.node(1).context();
    let taken = context.slots.acquire_many(ALL).await.unwrap();
    let id = id(1);
    assert_eq!(lab.accept(&id, &deploy(Some(2))).await, State::Running);
    let frees = async {
        // The other node has slots of its own, and is not held up.
        until_checkout(&lab, 2, Status::Done).await;
        tokio::time::sleep(Duration::from_secs(300)).await;
        assert_eq!(checkout(&lab, 1).await, Status::Pending);
        assert!(lab.node(1).fakes.machine.calls().is_empty(), "nothing was done without a slot");
        drop(taken);
    };
    let (state, ()) = tokio::join!(lab.work(&id), frees);
    assert_eq!(state, State::Completed);
    assert!(is_free(&context), "every slot was given back");
}

/// A slot is kept until the record says that the step has ended, so that the record's times never show more steps at once
/// than there are slots.
#[tokio::test(start_paused = true)]
async fn one_slot_is_enough_and_is_never_held_twice() {
    let lab = Lab::new().await;
    let context = lab.node(1).context();
    let _taken = context.slots.acquire_many(ALL - 1).await.unwrap();
    assert_eq!(lab.run(&id(1), &deploy(Some(2))).await, State::Completed);
    assert_eq!(context.slots.available_permits(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_step_that_may_be_stuck_holds_up_nobody() {
    let slots = Semaphore::new(1);
    let mut slot = slots.acquire().await.ok();
    let others = async {
        tokio::time::sleep(COUNTED - Duration::from_secs(1)).await;
        assert!(slots.try_acquire().is_err());
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(slots.try_acquire().is_ok());
    };
    let work = async {
        tokio::time::sleep(COUNTED * 3).await;
        "done"
    };
    let (done, ()) = tokio::join!(within(&mut slot, &Step::Build, work), others);
    assert_eq!(done, "done");
    let mut none = None;
    let long = tokio::time::sleep(COUNTED * 2);
    within(&mut none, &Step::Up, long).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_turned_around_while_it_waited_for_a_slot_is_not_begun() {
    let lab = Lab::new().await;
    let error = RepositoryError::TimedOut { repo: app().repo, after: Duration::from_secs(1) };
    lab.node(1).fakes.repositories.fail_next(error);
    let context = lab.node(2).context();
    let taken = context.slots.acquire_many(ALL).await.unwrap();
    let id = id(1);
    lab.accept(&id, &deploy(Some(2))).await;
    let first = lab.node(1).context();
    let waits = drive(&context, &lab.app, &id);
    let ends = async {
        let state = drive(&first, &lab.app, &id).await.unwrap();
        assert_eq!(state, State::Refused, "node2's step was not waited for: it had not begun");
        let record = lab.record(&id).await;
        drop(taken);
        record
    };
    let (state, before) = tokio::join!(waits, ends);
    assert_eq!(state.unwrap(), State::Refused);
    assert_eq!(lab.record(&id).await, before, "what has ended is not touched");
    assert_eq!(checkout(&lab, 2).await, Status::Pending);
    assert!(is_free(&context));
}
