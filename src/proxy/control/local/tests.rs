use std::sync::atomic::AtomicUsize;

use super::*;
use crate::proxy::control::ContainerFacts;

/// A check container that answers as it is told, and notes what it was asked.
#[derive(Default)]
struct FakeRunner {
    answer: std::sync::Mutex<Option<Result<ExecOutput, String>>>,
    asked: std::sync::Mutex<Vec<(String, Vec<String>, String)>>,
    running: AtomicUsize,
    most: AtomicUsize,
    takes: Duration,
}

#[async_trait]
impl CheckRunner for FakeRunner {
    async fn exec(
        &self,
        container: &str,
        argv: &[String],
        deadline: Duration,
    ) -> Result<ExecOutput, String> {
        assert!(deadline < Duration::from_secs(60), "every wait has an end");
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(running, Ordering::SeqCst);
        let candidate = argv.iter().find(|word| word.contains("candidate-")).unwrap();
        let text = std::fs::read_to_string(candidate).unwrap();
        self.asked.lock().unwrap().push((container.to_owned(), argv.to_vec(), text));
        tokio::time::sleep(self.takes).await;
        self.running.fetch_sub(1, Ordering::SeqCst);
        self.answer.lock().unwrap().clone().unwrap_or_else(|| output(0, "{}", ""))
    }

    async fn look(&self, container: &str) -> Result<Option<ContainerFacts>, String> {
        let is_there = container == "tandem-caddy-check";
        let image = "an image".to_owned();
        Ok(is_there.then(|| ContainerFacts { image, ..ContainerFacts::default() }))
    }
}

fn output(code: i64, stdout: &str, stderr: &str) -> Result<ExecOutput, String> {
    Ok(ExecOutput { code, stdout: stdout.into(), stderr: stderr.into() })
}

struct Fixture {
    dir: tempfile::TempDir,
    runner: Arc<FakeRunner>,
    control: LocalControl,
}

fn fixture(runner: FakeRunner) -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("check")).unwrap();
    let settings = ProxySettings {
        data_dir: dir.path().to_owned(),
        check_deadline: Duration::from_secs(7),
        ..ProxySettings::default()
    };
    let runner = Arc::new(runner);
    Fixture { dir, control: LocalControl::new(settings, runner.clone()), runner }
}

fn answering(answer: Result<ExecOutput, String>) -> Fixture {
    fixture(FakeRunner { answer: Some(answer).into(), ..FakeRunner::default() })
}

#[tokio::test]
async fn the_caddy_that_adapts_is_known_by_its_image() {
    let f = fixture(FakeRunner::default());
    assert_eq!(f.control.caddy_identity().await.unwrap(), "an image");
    let mut settings = f.control.settings.clone();
    settings.caddy_check_container = "gone".to_owned();
    let control = LocalControl::new(settings, f.runner.clone());
    assert!(matches!(control.caddy_identity().await, Err(CheckError::Unavailable(_))));
}

#[tokio::test]
async fn a_check_has_a_time_limit_and_an_environment_of_its_own() {
    let f = fixture(FakeRunner::default());
    f.control.check_haproxy("global\n").await.unwrap();
    f.control.adapt("http://a.test\n").await.unwrap();
    let asked = f.runner.asked.lock().unwrap().clone();
    let words = |index: usize| {
        let (container, argv, text) = &asked[index];
        let argv: Vec<_> = argv
            .iter()
            .map(|word| if word.contains("candidate-") { "FILE" } else { word })
            .collect();
        (container.clone(), argv.join(" "), text.clone())
    };
    let limits = format!("timeout -s KILL 7 env -i {PATH} HOME=/tmp");
    assert_eq!(
        words(0),
        (
            "tandem-haproxy-check".to_owned(),
            format!("{limits} haproxy -c -f FILE"),
            "global\n".to_owned()
        )
    );
    assert_eq!(
        words(1),
        (
            "tandem-caddy-check".to_owned(),
            format!(
                "{limits} GOMEMLIMIT=192MiB caddy adapt --config FILE --adapter caddyfile --validate"
            ),
            "http://a.test\n".to_owned()
        )
    );
    assert_eq!(std::fs::read_dir(f.dir.path().join("check")).unwrap().count(), 0, "nothing stays");
}

#[tokio::test]
async fn a_text_that_is_too_large_is_given_to_nobody() {
    let f = fixture(FakeRunner::default());
    let text = "#".repeat(MAX_CANDIDATE + 1);
    for verdict in [f.control.check_haproxy(&text).await, f.control.adapt(&text).await.map(|_| ())]
    {
        assert!(
            matches!(verdict, Err(CheckError::Refused(what)) if what.contains("larger than 4 MiB"))
        );
    }
    assert!(f.runner.asked.lock().unwrap().is_empty());
    f.control.check_haproxy(&text[1..]).await.unwrap();
}

#[tokio::test]
async fn how_a_check_ended_says_whose_fault_it_is() {
    let large = format!("{{\"a\": \"{}\"}}", "x".repeat(MAX_CHECK_OUTPUT));
    let deep = format!("{{\"a\": {}{}}}", "[".repeat(200), "]".repeat(200));
    for (answer, is_refused, expected) in [
        (output(137, "", ""), true, "too long, or too much memory"),
        (output(1, "", "Error: adapting: no"), true, "Error: adapting: no"),
        (output(0, &large, ""), true, "more than 1 MiB"),
        (output(0, &deep, ""), true, "can't be read"),
        (output(0, "{\"a\": ", ""), true, "can't be read"),
        (output(0, "", "Killed"), false, "no JSON"),
        (output(0, "Valid configuration", ""), false, "no JSON"),
        (output(127, "", "caddy: not found"), false, "not found"),
        (output(126, "", "permission denied"), false, "permission denied"),
        (Err("no such container".to_owned()), false, "no such container"),
    ] {
        let f = answering(answer.clone());
        let (refused, what) = match f.control.adapt("x").await {
            Err(CheckError::Refused(what)) => (true, what),
            Err(CheckError::Unavailable(what)) => (false, what),
            Ok(value) => panic!("{value}"),
        };
        assert_eq!((refused, what.contains(expected)), (is_refused, true), "{what}");
        assert!(what.len() <= MAX_MESSAGE * 4);
    }
    let f = answering(output(0, "\n{\"a\": 1}\nValid configuration\n", ""));
    assert_eq!(f.control.adapt("x").await.unwrap(), serde_json::json!({"a": 1}));
    let noise = "[ALERT] x\n".repeat(200_000);
    let f = answering(output(1, "", &noise));
    let Err(CheckError::Refused(what)) = f.control.check_haproxy("x").await else {
        panic!("it is refused");
    };
    assert_eq!(what.chars().count(), MAX_MESSAGE);
}

#[tokio::test]
async fn a_container_has_one_check_at_a_time() {
    let f = fixture(FakeRunner { takes: Duration::from_millis(20), ..FakeRunner::default() });
    let caddy = || f.control.adapt("x");
    let (a, b, c) = tokio::join!(caddy(), caddy(), caddy());
    assert!(a.is_ok() && b.is_ok() && c.is_ok());
    assert_eq!(f.runner.most.load(Ordering::SeqCst), 1);
    let (caddy, haproxy) = tokio::join!(caddy(), f.control.check_haproxy("x"));
    assert!(caddy.is_ok() && haproxy.is_ok());
    assert_eq!(f.runner.most.load(Ordering::SeqCst), 2, "the other container is another one");
}

#[tokio::test(start_paused = true)]
async fn a_check_does_not_wait_for_ever_for_its_turn() {
    let f = fixture(FakeRunner { takes: Duration::from_secs(3600), ..FakeRunner::default() });
    let late = async {
        tokio::task::yield_now().await;
        f.control.check_haproxy("late").await
    };
    tokio::select! {
        _ = f.control.check_haproxy("first") => panic!("the first one takes an hour"),
        late = late => {
            let what = late.unwrap_err();
            assert!(matches!(&what, CheckError::Unavailable(_)), "{what}");
        }
    }
}
