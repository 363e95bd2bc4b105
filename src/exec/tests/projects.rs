//! Of two apps that come to one compose project the later one is refused, and never touches what the earlier one has.

use super::apps::{V1, id, node};
use super::lab::Lab;
use crate::consul::kv::Kv;
use crate::consul::txn::{Txn, TxnOp};
use crate::exec::{Acceptance, ExecError, accept, projects};
use crate::model::deployment::State;
use crate::model::{AppId, AppName, Branch, Repo, Request, keys};

const REPO: &str = "https://git.example/x/shop";

fn app(repo: &str, branch: &str) -> AppId {
    AppId { repo: Repo::parse(repo).unwrap(), branch: Branch::parse(branch).unwrap() }
}

fn to(app: &AppId, master: usize, replica: Option<usize>) -> Request {
    let (master, replica) = (Some(node(master)), replica.map(node).into());
    Request::Deploy { app: app.clone(), master, replica, update: false, from_replica: false }
}

/// A lab whose app is another one than usual.
async fn lab_of(app: &AppId) -> Lab {
    let lab = Lab { app: app.name(), ..Lab::new().await };
    for node in &lab.nodes {
        node.fakes.repositories.put(app, "v1", &[("docker-compose.yml", V1)]);
    }
    lab
}

/// The reason for which a request is refused.
async fn refused(lab: &Lab, number: u32, request: &Request) -> String {
    let accepted = accept(&lab.node(2).context(), &id(number), request).await.unwrap();
    assert_eq!(accepted, Acceptance::Accepted(State::Refused));
    let key = keys::deployment(&request.app().name(), &id(number));
    let record = serde_json::from_str::<serde_json::Value>(&lab.value(&key).await.unwrap());
    record.unwrap()["reason"].as_str().unwrap().to_owned()
}

/// The app's entry in KV as an older system left it: nothing else is known of it.
async fn taken_over(lab: &Lab, app: &AppId, master: usize, slave: Option<usize>) {
    let entry = serde_json::json!({
        "repo_url": app.repo.as_str(), "branch": app.branch.as_str(), "deploy_id": "1",
        "master": node(master), "slave": slave.map(node),
    });
    let op = TxnOp::Set { key: keys::app(&app.name()), value: entry.to_string().into_bytes() };
    lab.consul.transact(vec![op]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_project_is_the_first_apps_until_that_is_destroyed() {
    let (first, second) = (app(REPO, "PROD"), app(REPO, "TEST"));
    let lab = lab_of(&first).await;
    lab.accept(&id(1), &to(&first, 1, Some(2))).await;
    // While the first one has its first deployment, when it serves, and on whatever node.
    let reason = refused(&lab, 2, &to(&second, 3, None)).await;
    assert!(reason.contains(first.name().as_str()), "{reason}");
    assert_eq!(lab.work(&id(1)).await, State::Completed);
    refused(&lab, 3, &to(&second, 3, None)).await;
    assert_eq!(lab.run(&id(4), &to(&first, 2, Some(1))).await, State::Completed);
    assert_eq!(lab.run(&id(5), &Request::Destroy { app: first.clone() }).await, State::Completed);
    assert_eq!(lab.value(&keys::project(&first.name().project())).await, None);
    let accepted = accept(&lab.node(2).context(), &id(6), &to(&second, 3, None)).await.unwrap();
    assert_eq!(accepted, Acceptance::Accepted(State::Running));
    let reason = refused(&lab, 7, &to(&first, 1, None)).await;
    assert!(reason.contains(second.name().as_str()), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn a_first_deployment_that_comes_to_nothing_gives_the_project_back() {
    let (first, second) = (app(REPO, "1.10"), app(REPO, "11.0"));
    let lab = lab_of(&first).await;
    *lab.node(1).proxies.refusal.lock().unwrap() = Some("no".to_owned());
    assert_eq!(lab.run(&id(1), &to(&first, 1, None)).await, State::Refused);
    let accepted = accept(&lab.node(2).context(), &id(2), &to(&second, 3, None)).await.unwrap();
    assert_eq!(accepted, Acceptance::Accepted(State::Running));
}

/// What an app is still owed is done before its project is another one's.
#[tokio::test(start_paused = true)]
async fn a_project_is_not_free_while_something_is_owed() {
    let (first, second) = (app(REPO, "x-y"), app(REPO, "xy"));
    let lab = lab_of(&first).await;
    let standing = projects::look(&lab.node(1).context(), &first.name()).await.unwrap();
    let claim = standing.claim(&first.name(), &id(1)).unwrap();
    let owed = keys::owed(&node(1), &first.name(), &id(1));
    let owed = TxnOp::Set { key: owed, value: b"{}".to_vec() };
    lab.consul.transact(vec![claim, owed]).await.unwrap();
    refused(&lab, 2, &to(&second, 3, None)).await;
    let paid = TxnOp::Delete { key: keys::owed(&node(1), &first.name(), &id(1)) };
    lab.consul.transact(vec![paid]).await.unwrap();
    let accepted = accept(&lab.node(2).context(), &id(3), &to(&second, 3, None)).await.unwrap();
    assert_eq!(accepted, Acceptance::Accepted(State::Running));
}

#[tokio::test(start_paused = true)]
async fn of_two_that_are_accepted_at_once_one_has_to_look_again() {
    let (first, second) = (app(REPO, "x-y").name(), app(REPO, "xy").name());
    let lab = Lab::new().await;
    // Of nobody, and of one that is gone.
    for round in 0..2 {
        let looks = [(1, &first), (2, &second)];
        let mut claims = Vec::new();
        for (number, name) in looks {
            let standing = projects::look(&lab.node(number).context(), name).await.unwrap();
            assert!(standing.rivals.is_empty(), "{round}");
            claims.push(standing.claim(name, &id(round)).unwrap());
        }
        let mut committed = 0;
        for claim in claims {
            let done = lab.consul.transact(vec![claim]).await.unwrap();
            committed += usize::from(matches!(done, Txn::Committed(_)));
        }
        assert_eq!(committed, 1, "{round}");
    }
}

#[tokio::test(start_paused = true)]
async fn two_that_were_taken_over_go_on_where_the_other_is_not() {
    let (first, second) = (app(REPO, "v1.10"), app(REPO, "v11.0"));
    let lab = lab_of(&first).await;
    taken_over(&lab, &first, 1, None).await;
    taken_over(&lab, &second, 2, Some(3)).await;
    for (number, request) in [
        (1, to(&first, 3, None)),
        (2, to(&first, 1, Some(2))),
        (3, to(&second, 1, None)),
        (4, to(&app(REPO, "v1.1-0"), 1, None)),
    ] {
        let reason = refused(&lab, number, &request).await;
        let is_named = |name: AppName| reason.contains(name.as_str());
        assert!(is_named(first.name()) || is_named(second.name()), "{reason}");
    }
    let accepted = accept(&lab.node(1).context(), &id(5), &to(&first, 1, None)).await.unwrap();
    assert_eq!(accepted, Acceptance::Accepted(State::Running));
}

#[tokio::test(start_paused = true)]
async fn a_repository_elsewhere_with_the_same_path_does_not_take_an_apps_place() {
    let own = app("https://gitlab.example/x/shop", "main");
    let other = app("https://github.example/x/shop", "main");
    let lab = lab_of(&own).await;
    taken_over(&lab, &own, 1, None).await;
    let destroy = Request::Destroy { app: other.clone() };
    for (number, request) in [(1, to(&other, 1, None)), (2, destroy)] {
        let reason = refused(&lab, number, &request).await;
        assert!(reason.contains(own.repo.as_str()), "{reason}");
    }
    let same = app("ssh://git@gitlab.example:2222/x/Shop.git", "main");
    assert_eq!(same.name(), own.name());
    let accepted = accept(&lab.node(1).context(), &id(3), &to(&same, 1, None)).await.unwrap();
    assert_eq!(accepted, Acceptance::Accepted(State::Running));
}

/// Of two agents in the middle of an upgrade the older one leaves to the newer one what it can't read.
#[tokio::test(start_paused = true)]
async fn a_claim_that_can_not_be_read_is_nobody_elses_to_take() {
    let own = app(REPO, "PROD");
    let lab = lab_of(&own).await;
    let key = keys::project(&own.name().project());
    for value in [r#"{"format":2,"holders":[]}"#, "{"] {
        let op = TxnOp::Set { key: key.clone(), value: value.into() };
        lab.consul.transact(vec![op]).await.unwrap();
        let refused = accept(&lab.node(1).context(), &id(1), &to(&own, 1, None)).await;
        let error = refused.unwrap_err();
        assert!(
            matches!(error, ExecError::Record(_)) && error.to_string().contains(&key),
            "{error}"
        );
        assert_eq!(lab.value(&key).await.as_deref(), Some(value));
    }
    let op = TxnOp::Delete { key };
    lab.consul.transact(vec![op]).await.unwrap();
    assert_eq!(lab.run(&id(1), &to(&own, 1, None)).await, State::Completed);
}
