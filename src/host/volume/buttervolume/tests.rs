use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

/// A buttervolume that gives prepared answers, one per connection, and keeps what it was asked.
struct Fixture {
    dir: tempfile::TempDir,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Fixture {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), asked: Arc::default() }
    }

    fn answering(answers: &[&str]) -> Self {
        let fixture = Self::new();
        fixture.listen(answers);
        fixture
    }

    /// Answers whoever comes, side by side and not at once; tells how many were there at the same time.
    fn crowded(&self) -> Arc<AtomicUsize> {
        let listener = UnixListener::bind(self.dir.path().join("s")).unwrap();
        let (here, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let told = most.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (here, most) = (here.clone(), most.clone());
                tokio::spawn(async move {
                    most.fetch_max(here.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    let read = stream.read(&mut [0; 4096]).await.unwrap();
                    assert!(read > 0);
                    // Time enough for all the others to come.
                    for _ in 0..100 {
                        tokio::task::yield_now().await;
                    }
                    here.fetch_sub(1, Ordering::SeqCst);
                    let body = r#"{"Err": "", "Schedule": []}"#;
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                    stream.write_all((head + body).as_bytes()).await.unwrap();
                });
            }
        });
        told
    }

    fn listen(&self, answers: &[&str]) {
        let listener = UnixListener::bind(self.dir.path().join("s")).unwrap();
        let answers: Vec<_> = answers.iter().map(|answer| (*answer).to_owned()).collect();
        let asked = Arc::clone(&self.asked);
        tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut seen = String::new();
                // Every request with a body ends with the brace of its JSON.
                while !(seen.ends_with('}')
                    || seen.starts_with("GET") && seen.ends_with("\r\n\r\n"))
                {
                    let mut chunk = [0; 4096];
                    let n = stream.read(&mut chunk).await.unwrap();
                    seen.push_str(std::str::from_utf8(&chunk[..n]).unwrap());
                }
                let line = seen.lines().next().unwrap().replace(" HTTP/1.1", "");
                let body = seen.split("\r\n\r\n").nth(1).unwrap_or_default();
                asked.lock().unwrap().push(format!("{line} {body}").trim().to_owned());
                let (status, answer) = match answer.strip_prefix("500 ") {
                    Some(page) => ("500 Internal Server Error", page.to_owned()),
                    None => ("200 OK", answer),
                };
                let length = answer.len();
                let reply =
                    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{answer}");
                stream.write_all(reply.as_bytes()).await.unwrap();
            }
        });
    }

    fn client(&self) -> Buttervolume {
        Buttervolume::new(ButtervolumeSettings {
            socket: self.dir.path().join("s"),
            snapshots: self.dir.path().to_owned(),
            absence: Duration::ZERO,
            ..ButtervolumeSettings::default()
        })
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

const NO_SNAPSHOTS: &str = r#"{"Err": "", "Snapshots": []}"#;

fn name(text: &str) -> SnapshotName {
    SnapshotName::parse(text).unwrap()
}

#[tokio::test]
async fn lists_are_sorted_and_strangers_left_out() {
    let fixture = Fixture::answering(&[
        r#"{"Volumes": [{"Name": "b"}, {"Name": "a"}], "Err": ""}"#,
        r#"{"Err": "", "Snapshots": ["v@2025-02-01T0:0:0.0", "v@2025-01-01T0:0:0.0@10.0.0.2", "v@torn file", "w@2025-01-01T0:0:0.0"]}"#,
    ]);
    let client = fixture.client();
    assert_eq!(client.list().await.unwrap(), ["a", "b"]);
    let expected = ["v@2025-01-01T0:0:0.0@10.0.0.2", "v@2025-02-01T0:0:0.0"].map(name);
    assert_eq!(client.snapshots("v").await.unwrap(), expected);
    assert_eq!(
        fixture.asked(),
        ["POST /VolumeDriver.List {}", "GET /VolumeDriver.Snapshot.List/v"]
    );
}

#[tokio::test]
async fn sending_and_restoring_name_the_snapshot() {
    let fixture = Fixture::answering(&[
        NO_SNAPSHOTS,
        r#"{"Err": ""}"#,
        r#"{"Err": "", "VolumeBackup": "w@2025-03-01T0:0:0.0"}"#,
        r#"{"Err": ""}"#,
    ]);
    let (client, snapshot) = (fixture.client(), name("v@2025-02-01T0:0:0.0"));
    client.send(&snapshot, "10.0.0.2").await.unwrap();
    let backup = client.restore(&snapshot, "w").await.unwrap();
    assert_eq!(backup, Some(name("w@2025-03-01T0:0:0.0")));
    assert_eq!(client.restore(&snapshot, "v").await.unwrap(), None);
    assert_eq!(
        fixture.asked()[1..],
        [
            r#"POST /VolumeDriver.Snapshot.Send {"Host":"10.0.0.2","Name":"v@2025-02-01T0:0:0.0"}"#,
            r#"POST /VolumeDriver.Snapshot.Restore {"Name":"v@2025-02-01T0:0:0.0","Target":"w"}"#,
            r#"POST /VolumeDriver.Snapshot.Restore {"Name":"v@2025-02-01T0:0:0.0","Target":"v"}"#,
        ]
    );
}

#[tokio::test]
async fn what_stands_in_err_is_an_error_and_so_is_a_page() {
    let fixture = Fixture::answering(&[
        NO_SNAPSHOTS,
        r#"{"Err": "ssh: connect to host h port 1122: Connection refused"}"#,
        "500 <html>Unhandled exception</html>",
        "[]",
        r#"{"Err": "", "Volumes": [{}]}"#,
    ]);
    let (client, snapshot) = (fixture.client(), name("v@2025-02-01T0:0:0.0"));
    let error = client.send(&snapshot, "h").await.unwrap_err().to_string();
    assert_eq!(
        error,
        "buttervolume could not send v@2025-02-01T0:0:0.0: ssh: connect to host h port 1122: Connection refused"
    );
    let error = client.restore(&snapshot, "v").await.unwrap_err().to_string();
    assert!(error.ends_with("status 500, <html>Unhandled exception</html>"), "{error}");
    for _ in 0..2 {
        assert!(matches!(client.list().await, Err(VolumeError::Answer { .. })));
    }
}

#[tokio::test]
async fn a_snapshot_that_is_not_there_is_not_trusted() {
    let fixture = Fixture::answering(&[
        r#"{"Err": "", "Snapshot": "v@2025-02-01T0:0:0.0"}"#,
        r#"{"Err": ""}"#,
    ]);
    let client = fixture.client();
    let error = client.snapshot("v").await;
    assert!(matches!(error, Err(VolumeError::Unverified { why: "it is not there", .. })));
    assert!(matches!(client.snapshot("v").await, Err(VolumeError::Answer { .. })));
}

#[tokio::test]
async fn removing_what_is_gone_is_fine_and_what_stays_is_an_error() {
    let fixture = Fixture::answering(&[
        r#"{"Err": "v: no such volume"}"#,
        r#"{"Err": "", "Volumes": []}"#,
        r#"{"Err": "v: no such volume"}"#,
        r#"{"Err": "", "Volumes": [{"Name": "v"}]}"#,
        r#"{"Err": "No such snapshot"}"#,
        r#"{"Err": "busy"}"#,
    ]);
    let (client, snapshot) = (fixture.client(), name("v@2025-02-01T0:0:0.0"));
    client.remove_volume("v").await.unwrap();
    let error = client.remove_volume("v").await;
    assert!(matches!(error, Err(VolumeError::Refused { .. })));
    client.remove_snapshot(&snapshot).await.unwrap();
    assert!(client.remove_snapshot(&snapshot).await.is_err());
}

#[tokio::test]
async fn the_schedule_is_read_and_written() {
    let fixture = Fixture::answering(&[
        r#"{"Err": "", "Schedule": [
            {"Name": "v", "Action": "replicate:10.0.0.2", "Timer": "60", "Active": "True"},
            {"Name": "v", "Action": "purge:1h:1d", "Timer": "1440", "Active": "False"},
            {"Name": "w", "Action": "snapshot", "Timer": "5", "Active": null},
            {"Name": "x", "Action": "snapshot", "Timer": "often", "Active": "True"}]}"#,
        r#"{"Err": "Schedule is globally paused"}"#,
        r#"{"Err": ""}"#,
        r#"{"Err": ""}"#,
    ]);
    let client = fixture.client();
    let line = |volume: &str, action: &str, minutes, active| Schedule {
        volume: volume.to_owned(),
        action: Action::parse(action),
        minutes,
        active,
    };
    let expected = [
        line("v", "replicate:10.0.0.2", 60, true),
        line("v", "purge:1h:1d", 1440, false),
        line("w", "snapshot", 5, true),
    ];
    assert_eq!(client.schedules().await.unwrap(), expected);
    assert!(matches!(client.schedules().await, Err(VolumeError::SchedulerPaused)));
    client.schedule("v", &Action::Snapshot, 0).await.unwrap();
    client.unschedule("v", &Action::Snapshot).await.unwrap();
    let asked = fixture.asked();
    assert_eq!(
        asked[2],
        r#"POST /VolumeDriver.Schedule {"Action":"snapshot","Name":"v","Timer":"1"}"#
    );
    assert_eq!(
        asked[3],
        r#"POST /VolumeDriver.Schedule {"Action":"snapshot","Name":"v","Timer":"0"}"#
    );
}

#[tokio::test]
async fn calls_about_the_schedule_never_meet() {
    let fixture = Fixture::new();
    let most = fixture.crowded();
    let client = fixture.client();
    let calls = (0..8).map(|number| {
        let client = client.clone();
        tokio::spawn(async move {
            let volume = format!("v{number}");
            client.schedule(&volume, &Action::Snapshot, 60).await.unwrap();
            client.schedules().await.unwrap();
            client.unschedule(&volume, &Action::Snapshot).await.unwrap();
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
    assert_eq!(most.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn hostile_names_are_not_sent() {
    let fixture = Fixture::answering(&[]);
    let (client, snapshot) = (fixture.client(), name("v@2025-02-01T0:0:0.0"));
    let bad = "v\"; id; \"";
    assert!(matches!(client.snapshot(bad).await, Err(VolumeError::Name { .. })));
    assert!(matches!(client.snapshots(bad).await, Err(VolumeError::Name { .. })));
    assert!(matches!(client.remove_volume(bad).await, Err(VolumeError::Name { .. })));
    assert!(matches!(client.restore(&snapshot, bad).await, Err(VolumeError::Name { .. })));
    assert!(matches!(
        client.send(&snapshot, "-oProxyCommand=id").await,
        Err(VolumeError::Name { .. })
    ));
    let action = Action::Replicate("h,x".to_owned());
    assert!(matches!(client.schedule("v", &action, 60).await, Err(VolumeError::Name { .. })));
    assert_eq!(fixture.asked().len(), 0);
}

#[tokio::test]
async fn a_socket_that_is_away_for_a_moment_is_waited_for() {
    let fixture = Fixture::new();
    let mut client = fixture.client();
    assert!(matches!(client.list().await, Err(VolumeError::Unreachable { .. })));
    client.settings.absence = Duration::from_secs(20);
    let list = client.list();
    tokio::pin!(list);
    // The first try finds nothing.
    assert!(futures_util::poll!(&mut list).is_pending());
    fixture.listen(&[r#"{"Err": "", "Volumes": []}"#]);
    assert!(list.await.unwrap().is_empty());
}

#[tokio::test]
async fn what_was_sent_there_is_not_sent_again() {
    let snapshots = r#"{"Err": "", "Snapshots": ["v@2025-02-01T0:0:0.0@10.0.0.2"]}"#;
    let fixture = Fixture::answering(&[snapshots, snapshots, r#"{"Err": ""}"#]);
    let (client, snapshot) = (fixture.client(), name("v@2025-02-01T0:0:0.0"));
    client.send(&snapshot, "10.0.0.2").await.unwrap();
    assert_eq!(fixture.asked().len(), 1);
    client.send(&snapshot, "10.0.0.3").await.unwrap();
    assert_eq!(fixture.asked().len(), 3);
}

#[tokio::test]
async fn without_a_common_snapshot_all_of_it_is_sent() {
    let snapshots = r#"{"Err": "", "Snapshots": ["v@2025-01-01T0:0:0.0@10.0.0.2"]}"#;
    let no_parent = r#"{"Err": "At subvol x\nERROR: clone: did not find source subvol\n"}"#;
    let no_host = r#"{"Err": "ssh: connect to host 10.0.0.2 port 1122: No route to host"}"#;
    let good = r#"{"Err": ""}"#;
    let fixture = Fixture::answering(&[snapshots, no_parent, good, good, snapshots, no_host]);
    let (client, snapshot) = (fixture.client(), name("v@2025-02-01T0:0:0.0"));
    let sent = client.send(&snapshot, "10.0.0.2").await.unwrap();
    assert_eq!((sent.base, sent.refused.len()), (None, 1));
    let asked = fixture.asked();
    assert_eq!(
        asked[2],
        r#"POST /VolumeDriver.Snapshot.Remove {"Name":"v@2025-01-01T0:0:0.0@10.0.0.2"}"#
    );
    assert_eq!(asked[1], asked[3]);
    // A host that is away keeps its mark: the next send is of changes only.
    assert!(client.send(&snapshot, "10.0.0.2").await.is_err());
    assert_eq!(fixture.asked().len(), 6);
}
