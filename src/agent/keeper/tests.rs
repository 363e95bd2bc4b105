//! What is brought back after Docker's return, and what is left alone.

use serde_json::json;

use super::*;
use crate::agent::testing::{self, Made};
use crate::consul::txn::TxnOp;
use crate::host::compose::ComposeError;
use crate::host::docker::{Container, DockerError, State};

const PROJECT: &str = "appmain44dd7";

/// An app of node1 whose container ended with Docker.
async fn made() -> Made {
    let made = testing::context("node1").await;
    let entry = json!({"repo_url": "file:///lab/git/app", "branch": "main", "master": "node1",
        "deploy_id": "11111111-2222-3333-4444-555555555555"});
    let kv: &dyn Kv = &made.consul;
    let value = entry.to_string().into_bytes();
    kv.put_cas("app/app_main.44dd7", value, 0).await.unwrap().unwrap();
    let ended = Container { state: State::Exited(137), ..Container::running("db") };
    made.fakes.machine.state().containers.insert(PROJECT.to_owned(), vec![ended]);
    made
}

fn runs(made: &Made) -> bool {
    made.fakes.machine.state().containers[PROJECT].iter().all(|c| c.state.is_alive())
}

#[tokio::test(start_paused = true)]
async fn a_docker_that_does_not_answer_at_once_is_asked_again() {
    let made = made().await;
    for _ in 0..3 {
        let error = DockerError::TimedOut { operation: "list".into(), after: RETRY };
        made.fakes.containers.fail_next("of_project", error);
    }
    settle(&made.context).await;
    assert!(runs(&made));
}

#[tokio::test(start_paused = true)]
async fn an_app_that_does_not_start_is_tried_again_and_given_up_in_the_end() {
    let made = made().await;
    let fails = || ComposeError::Invalid { why: "the test".to_owned() };
    made.fakes.compose.fail_next("start", fails());
    settle(&made.context).await;
    assert!(runs(&made));
    made.fakes.machine.state().containers.get_mut(PROJECT).unwrap()[0].state = State::Exited(1);
    (0..=TRIES).for_each(|_| made.fakes.compose.fail_next("start", fails()));
    settle(&made.context).await;
    assert!(!runs(&made));
}

const ENTRY: &str = "app/app_main.44dd7";

/// Writes an app's entry; what it was.
async fn write(made: &Made, key: &str, value: Vec<u8>) -> Vec<u8> {
    let kv: &dyn Kv = &made.consul;
    let was = kv.get(key).await.unwrap().map(|entry| entry.value).unwrap_or_default();
    let set = TxnOp::Set { key: key.to_owned(), value };
    kv.transact(vec![set]).await.unwrap();
    was
}

#[tokio::test(start_paused = true)]
async fn an_app_whose_entry_can_t_be_read_is_started_when_it_can() {
    for is_seen in [true, false] {
        let made = made().await;
        ended(&made, 2, "unless-stopped");
        let entry = write(&made, ENTRY, b"{".to_vec()).await;
        let put_back = async {
            tokio::time::sleep(1_000 * BETWEEN).await;
            assert!(!runs(&made), "nobody knows whose it is");
            write(&made, ENTRY, entry).await;
        };
        let look = async {
            match is_seen {
                true => settle(&made.context).await,
                false => catch_up(&made.context).await,
            }
        };
        tokio::join!(look, put_back);
        assert!(runs(&made), "Docker was seen to go: {is_seen}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_somebody_stops_while_another_app_is_waited_for_is_left_alone() {
    let made = made().await;
    let other = "app/other_main.44dd7";
    write(&made, other, b"{".to_vec()).await;
    let end = |project: &str| {
        let ended = Container { state: State::Exited(137), ..Container::running("db") };
        made.fakes.machine.state().containers.insert(project.to_owned(), vec![ended]);
    };
    end("othermain44dd7");
    let stopped = async {
        tokio::time::sleep(10 * BETWEEN).await;
        assert!(runs(&made), "it waits for the other one");
        end(PROJECT);
        tokio::time::sleep(10 * BETWEEN).await;
        made.fakes.machine.state().containers.remove("othermain44dd7");
    };
    tokio::join!(settle(&made.context), stopped);
    assert!(!runs(&made), "somebody has stopped it");
}

/// How [`made`]'s container ended: so many seconds after Docker was started, an hour ago.
fn ended(made: &Made, seconds: i64, restart: &str) {
    let since = clock::now() - TimeDelta::hours(1);
    made.fakes.containers.set_running_since(since);
    let mut state = made.fakes.machine.state();
    let container = &mut state.containers.get_mut(PROJECT).unwrap()[0];
    container.restart = restart.to_owned();
    container.finished_at = Some((since + TimeDelta::seconds(seconds)).to_rfc3339());
}

#[tokio::test(start_paused = true)]
async fn what_docker_ended_when_it_started_is_brought_back_by_an_agent_that_was_away() {
    let made = made().await;
    for policy in ["unless-stopped", "always"] {
        ended(&made, 2, policy);
        made.fakes.machine.state().containers.get_mut(PROJECT).unwrap()[0].state = State::Exited(0);
        catch_up(&made.context).await;
        assert!(runs(&made), "{policy}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_stopped_before_or_later_or_has_no_policy_is_left_alone() {
    let made = made().await;
    for (seconds, policy) in
        [(-1, "unless-stopped"), (31, "unless-stopped"), (2, "no"), (2, "on-failure")]
    {
        ended(&made, seconds, policy);
        catch_up(&made.context).await;
        assert!(!runs(&made), "{seconds} s after the start, {policy}");
    }
    ended(&made, 2, "unless-stopped");
    made.fakes.machine.state().containers.get_mut(PROJECT).unwrap()[0].finished_at = None;
    catch_up(&made.context).await;
    assert!(!runs(&made), "nobody knows when it ended");
}

#[tokio::test(start_paused = true)]
async fn without_dockers_start_nothing_is_concluded() {
    let made = made().await;
    {
        let mut state = made.fakes.machine.state();
        let container = &mut state.containers.get_mut(PROJECT).unwrap()[0];
        container.restart = "always".to_owned();
        container.finished_at = Some(clock::now().to_rfc3339());
    }
    catch_up(&made.context).await;
    assert!(!runs(&made));
}

#[tokio::test(start_paused = true)]
async fn another_nodes_app_is_left_alone_also_if_docker_ended_it() {
    let made = made().await;
    ended(&made, 2, "unless-stopped");
    let kv: &dyn Kv = &made.consul;
    let entry = kv.get("app/app_main.44dd7").await.unwrap().unwrap();
    let text = String::from_utf8(entry.value).unwrap().replace("node1", "node2");
    kv.put_cas("app/app_main.44dd7", text.into_bytes(), entry.modify_index).await.unwrap().unwrap();
    catch_up(&made.context).await;
    assert!(!runs(&made));
}

#[tokio::test(start_paused = true)]
async fn what_a_deployment_is_at_work_on_is_waited_for() {
    let made = made().await;
    ended(&made, 2, "unless-stopped");
    let kv: &dyn Kv = &made.consul;
    let running = json!({"epoch": 1, "running": "11111111-2222-3333-4444-555555555556"});
    let key = "tandem/apps/app_main.44dd7";
    kv.put_cas(key, running.to_string().into_bytes(), 0).await.unwrap().unwrap();
    let ends = async {
        tokio::time::sleep(10 * BETWEEN).await;
        assert!(!runs(&made), "a deployment has it in hand");
        kv.delete(key).await.unwrap();
    };
    tokio::join!(catch_up(&made.context), ends);
    assert!(runs(&made));
}

/// The whole keeper, of an agent that starts.
#[tokio::test(start_paused = true)]
async fn a_new_keeper_looks_for_what_no_agent_saw() {
    let made = made().await;
    ended(&made, 2, "unless-stopped");
    let (fakes, context) = (made.fakes, Arc::new(made.context));
    let all_run = || fakes.machine.state().containers[PROJECT].iter().all(|c| c.state.is_alive());
    tokio::select! {
        () = keep(context.clone()) => panic!("it ended"),
        () = async { while !all_run() { tokio::time::sleep(BETWEEN).await } } => {}
    }
    assert!(!context.config.data_dir.join(MARK).exists(), "Docker was not seen to go");
}

/// One that ended long before Docker went, and one that ended by itself after the keeper had started it once more.
#[tokio::test(start_paused = true)]
async fn a_job_that_is_done_is_not_run_again() {
    let made = made().await;
    let since = clock::now() - TimeDelta::hours(1);
    made.fakes.containers.set_running_since(since);
    let at = |seconds| Some((since + TimeDelta::seconds(seconds)).to_rfc3339());
    for (code, restart, started, finished, is_started) in [
        (0, "no", -100, -50, false),
        (0, "on-failure", -100, -50, false),
        (0, "on-failure:3", 2, 3, false),
        // Docker found it running, and ended it.
        (0, "no", -100, 1, true),
        (0, "unless-stopped", -100, -50, true),
        (1, "no", -100, -50, true),
    ] {
        {
            let mut state = made.fakes.machine.state();
            let container = &mut state.containers.get_mut(PROJECT).unwrap()[0];
            container.state = State::Exited(code);
            container.restart = restart.to_owned();
            (container.started_at, container.finished_at) = (at(started), at(finished));
        }
        settle(&made.context).await;
        assert_eq!(runs(&made), is_started, "{code} {restart} {started} {finished}");
    }
}
