use super::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::host::compose::has_script;
use crate::model::AppName;

/// A stand-in for docker that writes down how it was called, and a checkout to call it in.
struct Fixture {
    dir: tempfile::TempDir,
    compose: ComposeCli,
    project: Project,
}

impl Fixture {
    fn new(script: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let checkout = dir.path().join("checkout");
        fs::create_dir(&checkout).unwrap();
        let program = dir.path().join("docker");
        executable(&program, script);
        Self {
            compose: ComposeCli {
                program: program.to_str().unwrap().to_owned(),
                timeouts: ComposeTimeouts::default(),
            },
            project: Project { name: AppName::parse("p1").unwrap().project(), dir: checkout },
            dir,
        }
    }

    fn put(&self, name: &str, text: &str) {
        executable(&self.project.dir.join(name), text);
    }
}

fn executable(path: &Path, text: &str) {
    fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn every_call_names_the_project_and_its_directory() {
    let fixture = Fixture::new("echo \"$(pwd)|$@\" >>../log");
    let (compose, project) = (&fixture.compose, &fixture.project);
    compose.pull(project).await.unwrap();
    compose.build(project).await.unwrap();
    compose.up(project).await.unwrap();
    compose.stop(project, None).await.unwrap();
    compose.start(project).await.unwrap();
    compose.down(project, true, None).await.unwrap();
    compose.down(project, false, None).await.unwrap();
    let log = fs::read_to_string(fixture.dir.path().join("log")).unwrap();
    let dir = project.dir.display();
    let start = format!(
        "{dir}|compose --compatibility --ansi never --project-name p1 --project-directory {dir} "
    );
    let calls: Vec<_> = log.lines().map(|line| line.strip_prefix(&start).unwrap_or(line)).collect();
    let expected = [
        "pull --ignore-buildable --quiet",
        "build",
        "up --detach --no-build --remove-orphans --quiet-pull",
        "stop",
        "start",
        "down --remove-orphans --volumes",
        "down --remove-orphans",
    ];
    assert_eq!(calls, expected);
}

/// `docker compose --compatibility config` does not fill in what is the default: it is no picture of what `up` does.
#[tokio::test]
async fn what_is_read_is_what_up_does() {
    let fixture = Fixture::new("echo \"$@\" >>../log; echo '{}'");
    fixture.compose.config(&fixture.project).await.unwrap();
    fixture.compose.hashes(&fixture.project).await.unwrap();
    let log = fs::read_to_string(fixture.dir.path().join("log")).unwrap();
    let dir = fixture.project.dir.display();
    let start = format!("compose --ansi never --project-name p1 --project-directory {dir} config");
    let calls: Vec<_> = log.lines().map(|line| line.strip_prefix(&start)).collect();
    assert_eq!(calls, [Some(" --format json"), Some(" --hash *")], "{log}");
}

#[tokio::test]
async fn config_is_read_and_a_refused_file_is_the_apps_fault() {
    let good = Fixture::new("echo a warning >&2; echo '{\"services\": {}}'");
    let config = good.compose.config(&good.project).await.unwrap();
    assert_eq!(config.value, serde_json::json!({"services": {}}));
    assert_eq!(config.unset, []);
    let bad = Fixture::new(
        "echo 'time=\"x\" level=warning msg=\"unset\"' >&2; echo 'yaml: line 4: oops' >&2; exit 15",
    );
    let error = bad.compose.config(&bad.project).await.unwrap_err();
    assert_eq!(error.to_string(), "the compose file is refused: yaml: line 4: oops");
    let odd = Fixture::new("echo hello");
    let error = odd.compose.config(&odd.project).await;
    assert!(matches!(error, Err(ComposeError::Output { .. })));
    let huge = Fixture::new("head -c 9000000 /dev/zero");
    let error = huge.compose.config(&huge.project).await;
    assert!(matches!(error, Err(ComposeError::TooLarge { .. })));
}

#[tokio::test]
async fn variables_that_are_not_set_are_told_with_their_places() {
    let fixture = Fixture::new(
        r#"case "$*" in
        *--no-interpolate) echo '{"services": {"web": {"environment": {"CADDYFILE": "${DOMAIN} {"}}}}';;
        *) echo 'time="x" level=warning msg="The \"DOMAIN\" variable is not set. Defaulting to a blank string."' >&2
           echo '{"services": {"web": {"environment": {"CADDYFILE": " {"}}}}';;
        esac"#,
    );
    let config = fixture.compose.config(&fixture.project).await.unwrap();
    assert_eq!(config.value["services"]["web"]["environment"]["CADDYFILE"], " {");
    let errors: Vec<_> = config.unset.iter().flat_map(Unset::errors).collect();
    assert!(
        errors.len() == 1 && errors[0].contains("the variable DOMAIN is not set"),
        "{errors:?}"
    );
}

#[tokio::test]
async fn a_killed_or_missing_compose_is_not_the_apps_fault() {
    let killed = Fixture::new("kill -9 $$");
    let error = killed.compose.config(&killed.project).await;
    assert!(matches!(error, Err(ComposeError::Failed { operation: "config", .. })));
    let mut missing = Fixture::new("");
    missing.compose.program = "/no/such/docker".to_owned();
    let error = missing.compose.config(&missing.project).await;
    assert!(matches!(error, Err(ComposeError::Failed { .. })));
}

#[tokio::test]
async fn a_script_runs_in_the_checkout_with_its_arguments() {
    let fixture = Fixture::new("");
    fixture.put("update.sh", "printf '%s|' \"$(pwd)\" \"$@\" >out");
    let args = ["-r", "https://h/a b", "-b", "$(id)"].map(str::to_owned);
    let ran = fixture.compose.script(&fixture.project, "update.sh", &args);
    assert!(ran.await.unwrap());
    let out = fs::read_to_string(fixture.project.dir.join("out")).unwrap();
    let dir = fixture.project.dir.display();
    assert_eq!(out, format!("{dir}|-r|https://h/a b|-b|$(id)|"));
}

#[tokio::test]
async fn a_script_that_is_missing_or_failing_is_told_apart() {
    let fixture = Fixture::new("");
    let run = || fixture.compose.script(&fixture.project, "update.sh", &[]);
    assert!(!run().await.unwrap());
    // Not executable: by sh.
    fs::write(fixture.project.dir.join("update.sh"), "#!/no/such\n>ran").unwrap();
    assert!(run().await.unwrap() && fixture.project.dir.join("ran").exists());
    fixture.put("update.sh", "");
    fs::write(fixture.project.dir.join("update.sh"), "#!/no/such\n>ran").unwrap();
    let error = run().await.unwrap_err();
    assert_eq!(error.to_string(), "update.sh of p1 can't be run");
    assert!(has_script(&fixture.project, "update.sh").is_err());
    fixture.put("update.sh", "echo broken >&2; exit 2");
    let Err(ComposeError::Script { source, .. }) = run().await else {
        panic!("it did not fail");
    };
    assert!(source.to_string().ends_with("exit status: 2: broken"), "{source}");
}

#[tokio::test]
async fn a_failure_carries_what_compose_wrote() {
    let fixture = Fixture::new("echo 'manifest unknown' >&2; exit 18");
    let error = fixture.compose.pull(&fixture.project).await.unwrap_err();
    assert_eq!(error.to_string(), "compose pull of p1 failed");
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.ends_with("exit status: 18: manifest unknown"), "{cause}");
}
