//! Volumes that the master has lost, writers that no stop reaches, and what can't be snapshotted or copied.

use serde_json::Value;

use crate::deploy::body;
use crate::support::{Lab, Repo, told, until};

const VOLUMES: &str = "/var/lib/buttervolume/volumes";
const SNAPSHOTS: &str = "/var/lib/buttervolume/snapshots";
const HOST: &str = "hello.test";

/// A volume of Docker's own beside the one that is replicated.
const WITH_LOCAL: &[(&str, &str)] = &[
    ("      - pages:/srv/pages\n", "      - pages:/srv/pages\n      - run:/run/app\n"),
    ("  pages:\n    driver: btrfs\n", "  pages:\n    driver: btrfs\n  run:\n    driver: local\n"),
];

pub(crate) struct App {
    pub(crate) lab: Lab,
    pub(crate) repo: Repo,
    pub(crate) volume: String,
}

impl App {
    /// On node1, with node2 as its slave, which has a verified copy with the file `copied`.
    fn deploy(name: &str) -> Self {
        Self::deploy_on(name, "node1")
    }

    /// The same with another master.
    pub(crate) fn deploy_on(name: &str, master: &str) -> Self {
        let lab = Lab::get();
        let repo = Repo::publish_edited(&lab, "hello", name, WITH_LOCAL);
        lab.deploy(&repo, master, Some("node2"));
        let volume = format!("{}_pages", repo.project());
        let app = Self { lab, repo, volume };
        app.write(master, "copied");
        let snapshot = app.lab.node(master, &["buttervolume", "snapshot", &app.volume]);
        let address = app.lab.ip("node2");
        // It may meet a send of the schedule's or of the agent's.
        until("the snapshot to be sent", || {
            let argv = ["buttervolume", "send", &address, snapshot.trim()];
            app.lab.try_node(master, &argv).status.success().then_some(())
        });
        until("a verified copy", || app.copy().filter(|copy| copy.as_str() >= snapshot.trim()));
        app
    }

    pub(crate) fn write(&self, node: &str, file: &str) {
        self.lab.node(node, &["touch", &format!("{VOLUMES}/{}/{file}", self.volume)]);
    }

    pub(crate) fn has(&self, node: &str, file: &str) -> bool {
        let path = format!("{VOLUMES}/{}/{file}", self.volume);
        self.lab.try_node(node, &["test", "-e", &path]).status.success()
    }

    pub(crate) fn copy(&self) -> Option<String> {
        let text = self.lab.kv(&format!("tandem/replicas/{}/node2", self.repo.app()))?;
        let state: Value = serde_json::from_str(&text).ok()?;
        state["volumes"][&self.volume]["snapshot"].as_str().map(str::to_owned)
    }

    /// Fires an event that is to come to nothing, and tells why it did.
    pub(crate) fn refused(&self, payload: &str) -> String {
        let record = self.lab.outcome(&self.lab.fire("deploy", payload));
        assert_eq!(record["state"], "refused", "{record:#}");
        record["reason"].as_str().unwrap().to_owned()
    }

    fn is_kept(&self, node: &str, snapshot: &str) -> bool {
        let path = format!("{SNAPSHOTS}/{snapshot}-kept");
        self.lab.try_node(node, &["test", "-d", &path]).status.success()
    }
}

/// All that the master had is gone, as after a reinstallation. Nothing makes the app begin empty but an operator's word, and
/// the copy stays until then.
#[test]
fn an_app_does_not_go_on_empty_when_its_master_has_lost_its_volumes() {
    let app = App::deploy("lost");
    let (lab, repo, volume) = (&app.lab, &app.repo, &app.volume);
    let copy = app.copy().unwrap();
    let plain = format!(r#"{{"repo":"{}","branch":"master"}}"#, repo.url);
    let from_replica = repo.deploy("node2", Some("node1")).replace('}', r#","from_replica":true}"#);
    let reason = app.refused(&from_replica);
    assert!(reason.contains("still has every volume"), "{reason}");

    lab.node("node1", &["docker", "compose", "--project-name", &repo.project(), "down"]);
    lab.node("node1", &["docker", "volume", "rm", volume]);
    let all = format!("btrfs subvolume delete {SNAPSHOTS}/{volume}@*");
    lab.node("node1", &["sh", "-c", &all]);
    // The status tells before anybody deploys, from any node.
    let status = || lab.node("node3", &["tandem", "status"]);
    let problem = format!("node1: {}: volume {volume} is gone from node1: its newest", repo.app());
    let text = until("the loss in the status", || Some(status()).filter(|t| t.contains(&problem)));
    for part in [format!("{copy} on node2, "), r#""from_replica":true"#.to_owned()] {
        assert!(text.contains(&part), "{part}: {text}");
    }
    assert!(text.contains("node1 is its master, and has no container of it"), "{text}");
    for payload in [repo.deploy("node1", Some("node2")), repo.deploy("node2", Some("node1")), plain]
    {
        let reason = app.refused(&payload);
        assert!(reason.contains(&format!("volume {volume} is gone from node1")), "{reason}");
        assert!(reason.contains(&format!("{copy} on node2")), "{reason}");
        assert!(!app.has("node1", "") && !app.has("node2", ""), "an empty volume was made");
    }
    assert!(app.is_kept("node2", &copy));
    let record = lab.outcome(&lab.fire("deploy", &from_replica));
    assert_eq!(record["state"], "completed", "{record:#}");
    assert!(app.has("node2", "copied"));
    assert!(body(lab, "node3", HOST, "/").contains("hello"), "it serves");
    until("an end of the problem", || (!status().contains(&problem)).then_some(()));
    // And back, as always.
    lab.deploy(repo, "node1", Some("node2"));
    assert!(app.has("node1", "copied") && !app.has("node2", ""));
    lab.destroy(repo);
    assert_eq!(lab.leftovers(repo), [""; 0]);
}

/// Somebody makes the volume anew under its name. Its snapshots arrive on the slave as any others do, and the copy of what
/// it was stays, is what the status tells of, and what the app could go on with, until an operator says that it may go.
#[test]
fn no_copy_is_given_up_for_one_of_a_volume_that_was_made_anew() {
    let app = App::deploy("anew");
    let (lab, repo, volume) = (&app.lab, &app.repo, &app.volume);
    let lines = format!("tandem/lines/{}", repo.app());
    let copy = app.copy().unwrap();
    let origin = format!("tandem/replicas/{}/node2", repo.app());
    until("the master to know that copy", || {
        let state: Value = serde_json::from_str(&lab.kv(&origin)?).ok()?;
        (state["own"][volume] == state["volumes"][volume]["origin"]).then_some(())
    });
    let container = format!("{}_web_1", repo.project());
    let path = format!("{VOLUMES}/{volume}");
    lab.node("node1", &["docker", "stop", &container]);
    lab.node("node1", &["btrfs", "subvolume", "delete", &path]);
    lab.node("node1", &["btrfs", "subvolume", "create", &path]);
    lab.node("node1", &["docker", "start", &container]);
    let snapshot = lab.node("node1", &["buttervolume", "snapshot", volume]);
    let snapshot = snapshot.trim();
    lab.node("node1", &["buttervolume", "send", &lab.ip("node2"), snapshot]);
    let problem = format!("{}: volume {volume} on node1 was made anew", repo.app());
    let text = until("the volume in the status", || {
        let text = lab.node("node3", &["tandem", "status"]);
        let line = text.lines().find(|line| line.contains(&problem))?.to_owned();
        line.contains(&format!("{copy} on node2")).then_some(line)
    });
    assert!(text.contains(&format!("consul kv delete {lines}")), "{text}");
    until("both copies to be kept", || {
        (app.is_kept("node2", &copy) && app.is_kept("node2", snapshot)).then_some(())
    });
    for payload in [repo.deploy("node1", Some("node2")), repo.deploy("node2", Some("node1"))] {
        let reason = app.refused(&payload);
        assert!(reason.contains("was made anew") && reason.contains(&copy), "{reason}");
    }

    lab.node("node3", &["consul", "kv", "delete", &lines]);
    until("the former copy to be released", || (!app.is_kept("node2", &copy)).then_some(()));
    until("the new one to be told of", || app.copy().filter(|copy| copy.as_str() >= snapshot));
    assert!(!lab.node("node3", &["tandem", "status"]).contains(&problem));
    lab.deploy(repo, "node2", Some("node1"));
    lab.destroy(repo);
    assert_eq!(lab.kv(&lines), None);
    assert_eq!(lab.leftovers(repo), [""; 0]);
}

/// What writes to a volume, or has it mounted, and is no service of the app's; subvolumes in a volume; pipes and sockets.
#[test]
fn what_no_stop_reaches_and_no_snapshot_holds_is_named_before_anything_stops() {
    let app = App::deploy("strangers");
    let (lab, repo, volume) = (&app.lab, &app.repo, &app.volume);
    let image = format!("{}_web", repo.project());
    let mount = format!("{volume}:/v");
    let run = |node: &str, name: &str, mount: &str| {
        let argv = ["docker", "run", "--detach", "--name", name, "--volume", mount];
        let sleep = ["--entrypoint", "sleep", image.as_str(), "600"];
        lab.node(node, &[&argv[..], &sleep[..]].concat());
    };
    run("node1", "import", &mount);
    for payload in [repo.deploy("node1", Some("node2")), repo.deploy("node2", Some("node1"))] {
        let reason = app.refused(&payload);
        assert!(reason.contains("import on node1 writes to volume"), "{reason}");
    }
    lab.node("node1", &["docker", "rm", "--force", "import"]);

    let nested = format!("{VOLUMES}/{volume}/inner");
    lab.node("node1", &["btrfs", "subvolume", "create", &nested]);
    for payload in [repo.deploy("node1", Some("node2")), repo.deploy("node2", Some("node1"))] {
        let reason = app.refused(&payload);
        assert!(reason.contains("holds subvolumes (inner)"), "{reason}");
    }
    lab.node("node1", &["btrfs", "subvolume", "delete", &nested]);

    // On the node that the app is to go to, somebody has restored the volume and uses it.
    let copy = format!("{}-kept", app.copy().unwrap());
    let restored = lab.try_node("node2", &["buttervolume", "restore", &copy, volume]);
    assert!(restored.status.success(), "{}", told(&restored));
    app.write("node2", "by-hand");
    lab.node("node2", &["docker", "volume", "create", "--driver", "btrfs", volume]);
    lab.node("node1", &["sh", "-c", &format!("docker save {image} >/tmp/image.tar")]);
    let tar = lab.try_node("node1", &["cat", "/tmp/image.tar"]).stdout;
    let loaded = lab.node_with_stdin("node2", &["docker", "load"], &tar);
    assert!(loaded.status.success(), "{}", told(&loaded));
    run("node2", "by-hand", &mount);
    let record = lab.outcome(&lab.fire("deploy", &repo.deploy("node2", Some("node1"))));
    assert_eq!(record["state"], "undone", "{record:#}");
    let reason = record["reason"].as_str().unwrap();
    assert!(reason.contains("by-hand runs on node2 and has it mounted"), "{reason}");
    assert!(app.has("node2", "by-hand"));
    assert!(body(lab, "node3", HOST, "/").contains("hello"), "the former version is back");
    lab.node("node2", &["docker", "rm", "--force", "by-hand"]);

    // A pipe and a socket in a local volume are no reason not to end.
    let container = format!("{}_web_1", repo.project());
    lab.node("node1", &["docker", "exec", &container, "mkfifo", "/run/app/pipe"]);
    let record = lab.deploy(repo, "node2", Some("node1"));
    let warnings = record["warnings"].to_string();
    assert!(warnings.contains("on node2 was replaced by"), "what it held is told: {warnings}");
    let kept = format!("tandem-kept-{}_run@", repo.project());
    assert!(warnings.contains(&kept), "{warnings}");
    assert_eq!(lab.kv_keys("tandem/owed/"), [""; 0]);
    lab.node("node2", &["docker", "exec", &container, "mkfifo", "/run/app/pipe"]);
    let bind = "import socket; socket.socket(socket.AF_UNIX).bind('/run/app/socket')";
    lab.node("node2", &["docker", "exec", &container, "python3", "-c", bind]);
    lab.destroy(repo);
    assert_eq!(lab.leftovers(repo), [""; 0]);
    assert_eq!(lab.kv_keys("tandem/owed/"), [""; 0]);
    // Nor to go there again.
    lab.deploy(repo, "node2", None);
    lab.destroy(repo);
}
