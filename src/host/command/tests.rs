use super::*;

const LONG: Duration = Duration::from_secs(20);

fn sh(script: &str) -> Command {
    Command::new("/bin/sh").args(["-c", script])
}

#[tokio::test]
async fn arguments_stdin_directory_and_variables_arrive_as_given() {
    let dir = tempfile::tempdir().unwrap();
    let output = sh("cat; printf '%s|' \"$1\" \"$X\" \"$LC_ALL\"; pwd; echo note >&2")
        .args(["sh", "a b;$(id)"])
        .cwd(dir.path())
        .env("X", "y z")
        .stdin("in ")
        .run(LONG)
        .await
        .unwrap();
    let expected = format!("in a b;$(id)|y z|C.UTF-8|{}\n", dir.path().display());
    assert_eq!(output.stdout, expected);
    assert_eq!((output.stderr.as_str(), output.truncated), ("note\n", false));
}

#[tokio::test]
async fn stdin_is_empty_unless_given_and_a_child_need_not_read_it() {
    assert_eq!(sh("cat").run(LONG).await.unwrap().stdout, "");
    let ignored = sh("exit 0").stdin(vec![b'x'; 1 << 20]).run(LONG).await;
    assert!(ignored.is_ok());
}

#[tokio::test]
async fn the_environment_is_cleared() {
    // Cargo sets CARGO_MANIFEST_DIR for every test.
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    let output = Command::new("env").run(LONG).await.unwrap();
    assert!(output.stdout.contains("PATH="));
    assert!(!output.stdout.contains("CARGO_"), "{}", output.stdout);
}

#[test]
fn what_docker_and_proxies_need_passes() {
    for key in ["PATH", "HOME", "DOCKER_HOST", "https_proxy", "NO_PROXY", "SSH_AUTH_SOCK"] {
        assert!(passes(OsStr::new(key)), "{key}");
    }
    for key in ["CONSUL_HTTP_TOKEN", "TANDEM_HTTPS_TOKEN", "COMPOSE_FILE", "PATHS"] {
        assert!(!passes(OsStr::new(key)), "{key}");
    }
}

#[tokio::test]
async fn a_failure_tells_the_command_the_status_and_the_last_lines() {
    let error = sh("echo out; echo one >&2; echo two >&2; exit 3").run(LONG).await;
    let error = error.unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("`/bin/sh -c echo out;"), "{text}");
    assert!(text.ends_with("ended with exit status: 3: out\none\ntwo"), "{text}");
    let error = sh("echo only out; kill -9 $$").run(LONG).await.unwrap_err();
    let text = error.to_string();
    assert!(text.ends_with("signal: 9 (SIGKILL): only out"), "{text}");
}

#[tokio::test]
async fn a_failure_shows_no_output_that_may_hold_secrets() {
    let error = sh("echo password; exit 3").secret().run(LONG).await;
    assert!(error.unwrap_err().to_string().ends_with("exit status: 3"));
}

#[tokio::test]
async fn a_missing_program_is_named() {
    let error = Command::new("/no/such/program").run(LONG).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot start /no/such/program");
}

#[tokio::test]
async fn the_deadline_ends_the_children_too() {
    let dir = tempfile::tempdir().unwrap();
    let pid_file = dir.path().join("pid");
    let error = sh("echo working >&2; sleep 600 & echo $! >\"$1\"; wait")
        .args(["sh".as_ref(), pid_file.as_os_str()])
        .run(Duration::from_millis(500))
        .await
        .unwrap_err();
    assert!(matches!(error, CommandError::TimedOut { .. }));
    let text = error.to_string();
    assert!(text.ends_with("was ended after 500ms: working"), "{text}");
    let pid: i32 = std::fs::read_to_string(pid_file).unwrap().trim().parse().unwrap();
    gone(pid).await;
}

#[tokio::test]
async fn a_child_left_behind_does_not_hold_the_caller_up() {
    let started = std::time::Instant::now();
    let output = sh("sleep 600 & echo $!").run(LONG).await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(10));
    gone(output.stdout.trim().parse().unwrap()).await;
}

#[tokio::test]
async fn dropping_the_run_ends_the_group() {
    let dir = tempfile::tempdir().unwrap();
    let pid_file = dir.path().join("pid");
    let run = sh("sleep 600 & echo $! >\"$1.new\"; mv \"$1.new\" \"$1\"; wait")
        .args(["sh".as_ref(), pid_file.as_os_str()])
        .run(LONG);
    let written = async {
        while !pid_file.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        _ = run => panic!("ended by itself"),
        () = written => {}
    }
    let pid: i32 = std::fs::read_to_string(pid_file).unwrap().trim().parse().unwrap();
    gone(pid).await;
}

#[tokio::test]
async fn long_output_is_cut_at_its_beginning() {
    let output = sh("head -c 300000 /dev/zero | tr '\\0' x; echo end").run(LONG).await.unwrap();
    assert_eq!((output.stdout.len(), output.truncated), (KEPT, true));
    assert!(output.stdout.ends_with("xend\n"));
    let whole = sh("head -c 300000 /dev/zero").keep(1 << 20).run(LONG).await.unwrap();
    assert_eq!((whole.stdout.len(), whole.truncated), (300_000, false));
}

/// Waits until a process is gone or dead but not reaped (its new parent may be slow).
async fn gone(pid: i32) {
    let alive = || {
        std::fs::read_to_string(format!("/proc/{pid}/stat"))
            .is_ok_and(|stat| !stat.contains(") Z ") && !stat.contains(") X "))
    };
    let wait = async {
        while alive() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LONG, wait).await.expect("the process lives on");
}
