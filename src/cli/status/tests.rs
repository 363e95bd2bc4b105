use super::*;
use crate::overview::testing::{OTHER, cluster, put};

async fn shown(json: bool) -> String {
    let consul = cluster().await;
    let mut text = Vec::new();
    run(&StatusArgs { json }, &consul, &consul, &mut Printer::to(&mut text)).await.unwrap();
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn status_shows_apps_nodes_deployments_and_problems_as_tables() {
    let shown = shown(false).await;
    assert_eq!(shown, include_str!("expected.txt"), "{shown}");
}

#[tokio::test]
async fn status_as_json_has_the_fields_that_scripts_read() {
    let shown = shown(true).await;
    assert_eq!(shown.lines().count(), 1);
    let value: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let expected: serde_json::Value = serde_json::from_str(include_str!("expected.json")).unwrap();
    assert_eq!(value, expected, "{shown}");
}

#[tokio::test]
async fn only_the_newest_outcomes_are_shown() {
    let consul = cluster().await;
    for number in 0..RECENT + 2 {
        let mut record = crate::overview::testing::completed();
        record["id"] = format!("outcome{number}").into();
        put(&consul, &format!("tandem/deployments/{OTHER}/outcome{number}"), record).await;
    }
    let overview = overview::look(&consul, &consul).await.unwrap();
    let shown: Vec<_> = Status::of(overview).deployments.into_iter().map(|one| one.id).collect();
    let newest = (2..RECENT + 2).rev().map(|number| format!("outcome{number}"));
    let runs = crate::overview::testing::RUNS.to_owned();
    assert_eq!(shown, std::iter::once(runs).chain(newest).collect::<Vec<_>>());
}
