//! What a slave's agent says of its copies, torn ones, late ones, and purges while the pair is apart.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Lab, Repo, until, within};

const SNAPSHOTS: &str = "/var/lib/buttervolume/snapshots";
const VOLUMES: &str = "/var/lib/buttervolume/volumes";
/// Twice the period of a minute, and some.
const LATE: Duration = Duration::from_secs(180);

/// An app on node1 with one BTRFS volume, replicated to node2.
struct Pair {
    lab: Lab,
    repo: Repo,
    volume: String,
}

impl Pair {
    fn deploy(name: &str) -> Self {
        let lab = Lab::get();
        let repo = Repo::publish(&lab, "hello", name);
        lab.deploy(&repo, "node1", Some("node2"));
        let volume = format!("{}_pages", repo.project());
        Self { lab, repo, volume }
    }

    /// As [`Pair::deploy`], and a first copy, sent by hand.
    fn with_copy(name: &str) -> Self {
        let pair = Self::deploy(name);
        let snapshot = pair.snapshot();
        pair.send(&snapshot);
        until("the first copy", || pair.copy().filter(|copy| *copy >= snapshot));
        pair
    }

    /// What node2 has published.
    fn state(&self) -> Option<Value> {
        let text = self.lab.kv(&format!("tandem/replicas/{}/node2", self.repo.app()))?;
        serde_json::from_str(&text).ok()
    }

    /// The newest verified copy that node2 has published.
    fn copy(&self) -> Option<String> {
        self.state()?["volumes"][&self.volume]["snapshot"].as_str().map(str::to_owned)
    }

    /// The check of the replica, as any node knows it: status and text.
    fn check(&self) -> Option<(String, String)> {
        let url = "http://127.0.0.1:8500/v1/health/checks/tandem-replica";
        let checks = self.lab.node("node1", &["curl", "-fsS", url]);
        let checks: Value = serde_json::from_str(&checks).unwrap();
        let name = format!("replica of {}", self.repo.app());
        let check = checks.as_array()?.iter().find(|check| check["Name"] == name)?;
        assert_eq!(check["Node"], "node2");
        Some((check["Status"].as_str()?.to_owned(), check["Output"].as_str()?.to_owned()))
    }

    fn status(&self) -> Value {
        let text = self.lab.node("node1", &["tandem", "status", "--json"]);
        let status: Value = serde_json::from_str(&text).unwrap();
        let apps = status["apps"].as_array().unwrap();
        apps.iter().find(|app| app["name"] == self.repo.app()).unwrap()["replica"].clone()
    }

    /// The snapshots of the volume on a node, as the disk has them.
    fn files(&self, node: &str) -> Vec<String> {
        self.lab.snapshots(node, &self.repo)
    }

    /// Takes a snapshot on node1.
    fn snapshot(&self) -> String {
        self.lab.node("node1", &["buttervolume", "snapshot", &self.volume]).trim().to_owned()
    }

    /// Sends it to node2, as the schedule does; again if that meets a send of the schedule's or of the agent's.
    fn send(&self, snapshot: &str) {
        let address = self.lab.ip("node2");
        let log = || self.lab.run(&["logs", "node1", "buttervolume"]);
        until(&format!("{snapshot} to be sent"), || {
            let before = log().len();
            let sent = self.lab.try_node("node1", &["buttervolume", "send", &address, snapshot]);
            // Its exit code says nothing; the log does.
            let log = log().split_off(before);
            let mut lines = log.lines();
            let failed = lines.any(|line| line.starts_with("ERROR") && line.contains(snapshot));
            (sent.status.success() && !failed).then_some(())
        });
    }

    /// What the file system says of a snapshot, kept or not: it may change its name at any time.
    fn facts(&self, node: &str, snapshot: &str) -> String {
        until(&format!("{snapshot} on {node}"), || {
            let files = [snapshot.to_owned(), format!("{snapshot}-kept")];
            files.into_iter().find_map(|file| {
                let path = format!("{SNAPSHOTS}/{file}");
                let shown = self.lab.try_node(node, &["btrfs", "subvolume", "show", &path]);
                shown.status.success().then(|| String::from_utf8_lossy(&shown.stdout).into_owned())
            })
        })
    }

    fn is_there(&self, node: &str, file: &str) -> bool {
        self.lab.try_node(node, &["test", "-d", &format!("{SNAPSHOTS}/{file}")]).status.success()
    }

    fn end(self) {
        self.lab.destroy(&self.repo);
        assert_eq!(self.lab.leftovers(&self.repo), [""; 0]);
        until("the replica to be forgotten", || {
            let gone = self.state().is_none() && self.check().is_none();
            let kept = ["node1", "node2"].map(|node| self.files(node)).concat();
            (gone && !kept.iter().any(|file| file.contains("kept"))).then_some(())
        });
    }
}

/// A setting of node2's agent for as long as this lives.
struct Setting<'a> {
    lab: &'a Lab,
    file: PathBuf,
    before: String,
}

impl<'a> Setting<'a> {
    fn of_node2(lab: &'a Lab, line: &str) -> Self {
        let status: Value = serde_json::from_str(&lab.run(&["status", "--json"])).unwrap();
        let file = PathBuf::from(status["state_dir"].as_str().unwrap()).join("agent.env");
        let before = std::fs::read_to_string(&file).unwrap();
        let setting = Self { lab, file, before };
        setting.restart_with(&format!("{}{line}\n", setting.before));
        setting
    }

    /// The file is read when an agent starts.
    fn restart_with(&self, settings: &str) {
        std::fs::write(&self.file, settings).unwrap();
        self.lab.run(&["stop", "node2", "agent"]);
        self.lab.run(&["start", "node2", "agent"]);
    }
}

impl Drop for Setting<'_> {
    fn drop(&mut self) {
        self.restart_with(&self.before);
    }
}

#[test]
fn what_the_schedule_sends_is_verified_and_published_and_torn_copies_are_not() {
    let pair = Pair::deploy("hello-replica");
    within(LATE, "the first copy by buttervolume's schedule", || pair.copy());
    let state = pair.state().unwrap();
    assert_eq!(
        (state["period_minutes"].as_u64(), state["late"].as_array().unwrap().len()),
        (Some(60), 0)
    );
    let copy = &state["volumes"][&pair.volume];
    let there = pair.facts("node2", copy["snapshot"].as_str().unwrap());
    assert_eq!(copy["origin"], field(&there, "Received UUID"));
    // Consul's agents tell its servers of their checks in their own time.
    until("a passing check", || pair.check().filter(|(status, _)| status == "passing"));
    let status = pair.status();
    assert_eq!(status["standing"], "fresh");
    assert!(status["age_seconds"].as_i64().unwrap() < 3600, "{status}");

    // A writable subvolume with the newest name of all.
    let torn = format!("{}@2099-01-01T00:00:00.000000", pair.volume);
    pair.lab.node("node2", &["btrfs", "subvolume", "create", &format!("{SNAPSHOTS}/{torn}")]);
    until("the torn copy to be removed", || {
        assert_ne!(pair.copy().as_ref(), Some(&torn));
        (!pair.is_there("node2", &torn)).then_some(())
    });
    pair.end();
}

#[test]
fn a_transfer_that_pauses_is_left_alone_and_one_that_died_is_cleared_away() {
    let pair = Pair::with_copy("hello-torn");
    let (lab, volume) = (&pair.lab, &pair.volume);
    let noise = format!("head -c 20000000 /dev/urandom >{VOLUMES}/{volume}/noise");
    lab.node("node1", &["sh", "-c", &noise]);
    let snapshot = pair.snapshot();
    // Half of the stream arrives, and then nothing more for a long time.
    let half = format!(
        "btrfs send -f /tmp/stream {SNAPSHOTS}/{snapshot} && (head -c 10000000 /tmp/stream; sleep 3600) |
         ssh -p 1122 {} 'btrfs receive {SNAPSHOTS}'",
        lab.ip("node2")
    );
    let mut sender = lab.spawn("node1", &["sh", "-c", &half]);
    until("the half of it", || pair.is_there("node2", &snapshot).then_some(()));
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(12) {
        assert!(pair.is_there("node2", &snapshot), "it was removed while it was being received");
        assert_ne!(pair.copy().as_ref(), Some(&snapshot));
    }
    lab.node("node2", &["pkill", "-9", "-x", "btrfs"]);
    until("the rest of it to be removed", || (!pair.is_there("node2", &snapshot)).then_some(()));
    lab.node("node1", &["pkill", "-f", "sleep 3600"]);
    sender.wait().unwrap();

    pair.send(&snapshot);
    assert_eq!(field(&pair.facts("node2", &snapshot), "Flags"), "readonly");
    until("a newer copy", || pair.copy().filter(|copy| *copy >= snapshot));
    pair.end();
}

#[test]
fn a_replica_that_stays_behind_is_critical_until_a_copy_arrives() {
    let pair = Pair::with_copy("hello-late");
    let setting = Setting::of_node2(&pair.lab, "TANDEM_REPLICATE_MINUTES=1");
    pair.send(&pair.snapshot());
    until("a fresh replica", || (pair.status()["standing"] == "fresh").then_some(()));

    // Copies that can't be verified grow old like those that don't come.
    pair.lab.run(&["stop", "node2", "buttervolume"]);
    let (_, text) = within(LATE, "a critical check", || {
        pair.check().filter(|(status, _)| status == "critical")
    });
    let expected = format!("{}: the newest verified copy is 2 min old", pair.volume);
    assert!(text.starts_with(&expected) && text.contains("the period of 1 min"), "{text}");
    until("the volume to be late", || {
        (pair.state()?["late"] == serde_json::json!([pair.volume])).then_some(())
    });
    until("the replica to be late", || (pair.status()["standing"] == "late").then_some(()));
    let table = pair.lab.node("node3", &["tandem", "status"]);
    assert!(table.contains("CRITICAL 2 min") && table.contains("PROBLEMS"), "{table}");
    pair.lab.run(&["start", "node2", "buttervolume"]);
    pair.send(&pair.snapshot());
    until("a passing check", || pair.check().filter(|(status, _)| status == "passing"));

    drop(setting);
    pair.end();
}

#[test]
fn a_replication_that_fails_says_why_at_once_and_is_made_up_for() {
    let pair = Pair::with_copy("hello-stalled");
    let lab = &pair.lab;
    let problem = || {
        let status: Value =
            serde_json::from_str(&lab.node("node3", &["tandem", "status", "--json"])).unwrap();
        let all = status["problems"].as_array().cloned().unwrap_or_default();
        let mut texts = all.iter().filter_map(|text| text.as_str().map(str::to_owned));
        texts.find(|text| text.contains("nothing has arrived on node2"))
    };
    assert_eq!(problem(), None);
    lab.run(&["stop", "node2", "sshd"]);
    // As the schedule does, which then tells nobody that its send has failed.
    let snapshot = pair.snapshot();
    let why = until("the reason", problem);
    assert!(why.contains(&pair.volume) && why.contains("Connection refused"), "{why}");
    assert_eq!(pair.status()["standing"], "fresh", "long before it is late");
    lab.run(&["start", "node2", "sshd"]);
    until("a newer copy", || pair.copy().filter(|copy| *copy >= snapshot));
    until("an end of the problem", || problem().is_none().then_some(()));
    pair.end();
}

#[test]
fn no_purge_removes_what_both_ends_have_while_they_are_apart() {
    let pair = Pair::with_copy("hello-purge");
    let lab = &pair.lab;
    lab.run(&["partition", "node2"]);
    let common = until("both ends to keep a common snapshot", || {
        let mark = format!("-kept@{}", lab.ip("node2"));
        let sent = pair
            .files("node1")
            .into_iter()
            .find_map(|f| Some(f.strip_suffix(&mark)?.to_owned()))?;
        pair.is_there("node2", &format!("{sent}-kept")).then_some(sent)
    });
    // On each node another one shows that the purge takes whatever has that age.
    let other = pair.snapshot();
    let victim = common.replace("@20", "@19");
    let kept = format!("{common}-kept");
    let path = format!("{SNAPSHOTS}/{victim}");
    lab.node("node2", &["btrfs", "subvolume", "create", &path]);
    lab.node("node2", &["btrfs", "property", "set", &path, "ro", "true"]);
    for (node, unprotected) in [("node1", &other), ("node2", &victim)] {
        until(&format!("a purge on {node} that takes what it may"), || {
            lab.node(node, &["buttervolume", "purge", "1m:1m", &pair.volume]);
            (!pair.is_there(node, unprotected)).then_some(())
        });
        assert!(pair.is_there(node, &kept), "{:?}", pair.files(node));
    }
    assert!(pair.is_there("node1", &format!("{kept}@{}", lab.ip("node2"))));
    let base = field(&pair.facts("node2", &common), "UUID");

    // Together again, changes are counted from it.
    lab.run(&["heal", "node2"]);
    until("three agents", || (lab.kv_keys("tandem/nodes/").len() == 3).then_some(()));
    pair.send(&pair.snapshot());
    let parent = format!("Parent UUID: \t\t{base}");
    until("changes to the common snapshot", || {
        let show = format!("btrfs subvolume show {SNAPSHOTS}/$file || true");
        let all = format!("for file in $(ls {SNAPSHOTS}); do {show}; done");
        lab.node("node2", &["sh", "-c", &all]).contains(&parent).then_some(())
    });
    until("a newer copy", || pair.copy().filter(|copy| *copy > common));
    pair.end();
}

/// A line of what `btrfs subvolume show` says.
fn field(facts: &str, name: &str) -> String {
    let mut lines = facts.lines().filter_map(|line| line.trim().split_once(':'));
    lines.find(|(key, _)| *key == name).map(|(_, value)| value.trim().to_owned()).unwrap()
}
