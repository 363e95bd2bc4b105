use super::*;
use crate::consul::memory::MemoryConsul;
use crate::overview::testing::{APP, DONE, OTHER, RUNS, cluster, completed, put, running};

async fn follow(
    consul: &MemoryConsul,
    id: Option<&str>,
    json: bool,
) -> (Vec<String>, Result<(), CommandFailure>) {
    let mut text = Vec::new();
    let args = FollowArgs { id: id.map(str::to_owned), json, wait: 0 };
    let ended = run(&args, consul, &mut Printer::to(&mut text)).await;
    (String::from_utf8(text).unwrap().lines().map(str::to_owned).collect(), ended)
}

#[tokio::test]
async fn a_deployment_that_has_ended_is_shown_from_its_first_step_to_its_outcome() {
    let consul = cluster().await;
    let (lines, ended) = follow(&consul, Some(&DONE[..8]), false).await;
    ended.unwrap();
    let heading = format!(
        "deploy {APP} (git://10.78.0.254/hung-leader, master) on node1/node3, deployment {DONE}"
    );
    assert_eq!(lines[0], heading);
    assert_eq!(lines[1], "16:31:32.826  node1        done     checkout");
    assert_eq!(lines.len(), 1 + 31 + 1, "{lines:#?}");
    assert_eq!(lines.last().unwrap(), "completed at 2026-11-29T16:31:41.867Z");
    let (lines, ended) = follow(&consul, Some(DONE), true).await;
    ended.unwrap();
    let values: Vec<serde_json::Value> =
        lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(values.len(), 31 + 1);
    assert_eq!((&values[0]["deployment"], &values[0]["index"]), (&DONE.into(), &0.into()));
    assert_eq!(values[31]["state"], "completed");
}

#[tokio::test]
async fn a_deployment_that_runs_is_followed_to_its_outcome() {
    let consul = cluster().await;
    let key = format!("tandem/deployments/{APP}/{RUNS}");
    let ends = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let mut record = running();
        record["steps"][19]["status"] = "running".into();
        record["steps"][19]["started_at"] = "2026-11-29T16:31:40.468Z".into();
        // What nobody can read may be put back.
        put(&consul, &key, "{").await;
        put(&consul, &key, &record).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        (record["state"], record["reason"]) = ("undone".into(), "a test says so".into());
        put(&consul, &key, &record).await;
    };
    let ((lines, ended), ()) = tokio::join!(follow(&consul, Some(RUNS), false), ends);
    assert!(ended.unwrap_err().text.contains("undone: a test says so"));
    assert!(lines.contains(&"16:31:40.468  node1        running  commit".to_owned()), "{lines:#?}");
    assert!(lines.last().unwrap().starts_with("undone at"), "{lines:#?}");
}

#[tokio::test]
async fn what_came_to_nothing_or_can_not_be_read_is_told_with_the_reason() {
    let consul = cluster().await;
    for (id, expected) in [
        ("5b5d0a2c", "the event was refused: field `repo` is missing (payload: {})".to_owned()),
        ("nobody", "there is no deployment nobody".to_owned()),
        ("1", format!("consul kv delete tandem/deployments/{OTHER}/1")),
    ] {
        let (_, ended) = follow(&consul, Some(id), false).await;
        let text = ended.unwrap_err().text;
        assert!(text.contains(&expected), "{text}");
    }
    put(&consul, "tandem/rejected/7b5d0a2c", r#"{"format":2}"#).await;
    let text = follow(&consul, Some("7b5d0a2c"), false).await.1.unwrap_err().text;
    assert!(text.contains("tandem/rejected/7b5d0a2c has format 2"), "{text}");
}

#[tokio::test]
async fn without_an_id_the_newest_deployment_is_followed() {
    let consul = cluster().await;
    let mut newest = completed();
    newest["id"] = "2b5d0a2c-3f2e-4a4f-9f3e-0d5f7a1b2c3d".into();
    put(&consul, "tandem/deployments/a_b.12345/2b5d0a2c-3f2e-4a4f-9f3e-0d5f7a1b2c3d", newest).await;
    let (lines, ended) = follow(&consul, None, false).await;
    ended.unwrap();
    assert!(lines[0].ends_with("deployment 2b5d0a2c-3f2e-4a4f-9f3e-0d5f7a1b2c3d"), "{lines:#?}");
}
