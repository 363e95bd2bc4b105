//! Every wait has an end, one agent per node, and what is set once stays set: cables cut in the middle, disks that take
//! nothing, leases of nobody, second copies.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::deploy::body;
use crate::support::{Lab, Repo, get, told, until, within};

/// How long an app may be gone whose new master loses cable and power in the last send: the session's TTL, `node-grace` and
/// the start of the former version.
const GIVEN_UP: Duration = Duration::from_secs(110);

/// A step's status in a record.
fn status(record: &Value, step: &str) -> String {
    let steps = record["steps"].as_array().unwrap();
    let is_it = |found: &&Value| found["step"] == step || found["step"].get(step).is_some();
    let found = steps.iter().find(is_it).unwrap_or_else(|| panic!("no {step} in {record:#}"));
    found["status"].as_str().unwrap_or("pending").to_owned()
}

fn until_running(lab: &Lab, id: &str, step: &str) {
    within(Duration::from_secs(240), &format!("{step} to run"), || {
        let record = lab.record(id).filter(|record| record["steps"] != Value::Array(Vec::new()))?;
        assert_eq!(record["finished_at"], Value::Null, "{record:#}");
        (status(&record, step) == "running").then_some(())
    });
}

/// Waits until a step has begun, for steps that may be over at the next look.
pub(crate) fn until_begun(lab: &Lab, repo: &Repo, id: &str, step: &str) {
    let key = format!("tandem/deployments/{}/{id}", repo.app());
    until(&format!("{step} to begin"), || {
        let record: Value = serde_json::from_str(&lab.kv(&key)?).ok()?;
        assert_eq!(record["finished_at"], Value::Null, "{record:#}");
        (record["steps"] != Value::Array(Vec::new()) && status(&record, step) != "pending")
            .then_some(())
    });
}

/// The network of node1 becomes slow while the test lives.
struct SlowLink<'a>(&'a Lab);

impl<'a> SlowLink<'a> {
    fn new(lab: &'a Lab) -> Self {
        let rate = ["rate", "24mbit", "burst", "64k", "latency", "400ms"];
        lab.node(
            "node1",
            &[&["tc", "qdisc", "add", "dev", "eth0", "root", "tbf"], &rate[..]].concat(),
        );
        Self(lab)
    }
}

impl Drop for SlowLink<'_> {
    fn drop(&mut self) {
        self.0.try_node("node1", &["tc", "qdisc", "del", "dev", "eth0", "root"]);
    }
}

#[test]
fn cable_and_power_of_the_receiver_cut_in_the_last_send() {
    let lab = Lab::get();
    let repo = Repo::publish(&lab, "guestbook", "cut-send");
    lab.deploy(&repo, "node1", Some("node2"));
    body(&lab, "node1", "guestbook.test", "/");
    let file = format!("/var/lib/buttervolume/volumes/{}_attachments/changing", repo.project());
    let writes = "while :; do head -c 24000000 /dev/urandom >\"$1.new\" && mv \"$1.new\" \"$1\"; sleep 1; done";
    let mut writer = lab.spawn("node1", &["timeout", "400", "sh", "-c", writes, "sh", &file]);
    let id = {
        let _slow = SlowLink::new(&lab);
        let id = lab.fire("deploy", &repo.deploy("node2", Some("node1")));
        until_running(&lab, &id, "send");
        // A power cut says no word to the other side, a machine that goes down would.
        lab.run(&["partition", "node2"]);
        id
    };
    let cut = Instant::now();
    lab.run(&["power-off", "node2"]);
    let address = lab.ip("node1");
    within(GIVEN_UP, "the former version to serve again", || {
        get(&address, "guestbook.test", "/").ok().filter(|reply| reply.status == 200)
    });
    println!("the app was gone for {:?} after the cut", cut.elapsed());
    let _ = writer.kill();
    let _ = writer.wait();
    let record = within(Duration::from_secs(180), "the outcome", || {
        lab.record(&id).filter(|record| record["finished_at"] != Value::Null)
    });
    assert_eq!(record["state"], "undone", "{record:#}");
    assert_eq!(lab.app(&repo).unwrap()["master"], "node1");
    lab.run(&["power-on", "node2"]);
    lab.run(&["heal", "node2"]);
    until("node2's agent", || lab.kv("tandem/nodes/node2"));
    lab.deploy(&repo, "node2", Some("node1"));
    lab.destroy(&repo);
}

#[test]
fn a_disk_that_takes_nothing_a_lease_of_nobody_and_a_second_agent() {
    let lab = Lab::get();
    let repo = Repo::publish(&lab, "hello", "ends");
    let epochs = "/var/lib/tandem/epochs.json";
    lab.node(
        "node2",
        &["sh", "-c", &format!("test -e {epochs} || echo '{{}}' >{epochs}; chattr +i {epochs}")],
    );
    let record = lab.outcome(&lab.fire("deploy", &repo.deploy("node1", Some("node2"))));
    lab.node("node2", &["chattr", "-i", epochs]);
    assert_eq!(record["state"], "refused", "{record:#}");
    let reason = record["reason"].as_str().unwrap();
    assert!(reason.contains("node2 can't note that it takes part"), "{reason}");

    // A deployment was given up together with its record; the lease is held by an agent that lives.
    let session: Value = serde_json::from_str(&lab.node(
        "node3",
        &[
            "curl",
            "-fsS",
            "-X",
            "PUT",
            "-d",
            "{\"Name\":\"left\",\"TTL\":\"600s\"}",
            "http://127.0.0.1:8500/v1/session/create",
        ],
    ))
    .unwrap();
    let url = format!(
        "http://127.0.0.1:8500/v1/kv/tandem/leases/{}?acquire={}",
        repo.app(),
        session["ID"].as_str().unwrap()
    );
    let lease = "{\"node\":\"node3\",\"deployment\":\"gone\"}";
    assert_eq!(lab.node("node3", &["curl", "-fsS", "-X", "PUT", "-d", lease, &url]).trim(), "true");
    lab.deploy(&repo, "node1", Some("node2"));

    let second = lab.try_node("node1", &["timeout", "20", "tandem", "agent"]);
    assert_eq!(second.status.code(), Some(2), "{}", told(&second));
    assert!(
        told(&second).contains("another agent of this node runs already (pid "),
        "{}",
        told(&second)
    );
    let own =
        ["TANDEM_DATA_DIR=/tmp/second/data", "TANDEM_RUN_DIR=/tmp/second/run", "TANDEM_NODE=node1"];
    let argv = [&["env"], &own[..], &["timeout", "90", "tandem", "agent"]].concat();
    let copied = lab.try_node("node3", &argv);
    assert_eq!(copied.status.code(), Some(2), "{}", told(&copied));
    let said = told(&copied);
    assert!(
        said.contains("node1 is the name of another machine") && said.contains(&lab.ip("node1")),
        "{said}"
    );
    lab.destroy(&repo);
}

/// Starts a container that looks like a service of a deployment, as a machine that comes back from the dead would.
fn run_stray(lab: &Lab, node: &str, repo: &Repo, deployment: &str) -> String {
    let label = |key: &str, value: &str| format!("com.docker.compose.{key}={value}");
    let labels = [
        label("project", &repo.project()),
        label("service", "stray"),
        label("oneoff", "False"),
        label("config-hash", "0"),
        label("container-number", "1"),
        label("project.working_dir", &format!("/deploy/{}-{deployment}", repo.app())),
    ];
    let labels = labels.iter().flat_map(|label| ["--label", label]);
    let run = ["docker", "run", "-d", "--restart", "always"].into_iter().chain(labels);
    let argv: Vec<&str> = run.chain(["debian:bookworm", "sleep", "600"]).collect();
    lab.node(node, &argv).trim().to_owned()
}

#[test]
fn what_was_lost_is_put_back_and_what_should_not_run_is_stopped_or_told() {
    let lab = Lab::get();
    let repo = Repo::publish_edited(
        &lab,
        "guestbook",
        "kept-right",
        &[("      - cache:/var/cache/guestbook\n", ""), ("  cache:\n    driver: local\n", "")],
    );
    lab.deploy(&repo, "node1", Some("node2"));
    let former = lab.app(&repo).unwrap()["deploy_id"].as_str().unwrap().to_owned();
    let marker = Repo::publish(&lab, "hello", "marker");
    lab.deploy(&repo, "node1", Some("node2"));
    let current = lab.app(&repo).unwrap()["deploy_id"].as_str().unwrap().to_owned();
    let right = lab.schedules("node1", &repo);
    for node in ["node1", "node2"] {
        lab.node(node, &["sh", "-c", ": >/etc/buttervolume/schedule.csv"]);
    }
    lab.node("node1", &["consul", "services", "deregister", &format!("-id={}", repo.app())]);
    let stale = run_stray(&lab, "node2", &repo, &former);
    // Any change of an entry has every node look.
    lab.deploy(&marker, "node3", None);
    until("the schedules to be back", || (lab.schedules("node1", &repo) == right).then_some(()));
    until("the slave's purge to be back", || {
        (!lab.schedules("node2", &repo).is_empty()).then_some(())
    });
    until("the registration to be back", || {
        lab.services("node1").contains(&repo.app()).then_some(())
    });
    let runs = |id: &str| {
        lab.node(
            "node2",
            &[
                "docker",
                "inspect",
                "-f",
                "{{.State.Running}} {{.HostConfig.RestartPolicy.Name}}",
                id,
            ],
        )
    };
    until("the stale copy to be stopped", || (runs(&stale).trim() == "false no").then_some(()));
    lab.node("node2", &["docker", "rm", &stale]);
    let second = run_stray(&lab, "node2", &repo, &current);
    lab.destroy(&marker);
    until("the second copy to be told", || {
        let node: Value = serde_json::from_str(&lab.kv("tandem/nodes/node2")?).ok()?;
        node["problems"].to_string().contains("runs on node2, too").then_some(())
    });
    assert_eq!(runs(&second).trim(), "true always", "it may be an operator's");
    lab.node("node2", &["docker", "rm", "-f", &second]);
    lab.destroy(&repo);
}

/// A version whose health check needs so long that everything happens meanwhile.
const SLOW: (&str, &str) = (
    "    stop_grace_period: 5s\n",
    "    stop_grace_period: 5s\n    healthcheck: {test: [\"CMD\", \"false\"], interval: 5s, start_period: 600s}\n",
);

#[test]
fn an_agent_that_starts_cut_off_stops_what_was_never_committed() {
    let lab = Lab::get();
    let repo = Repo::publish(&lab, "hello", "cut-off");
    lab.deploy(&repo, "node1", Some("node2"));
    Repo::publish_edited(&lab, "hello", "cut-off", &[SLOW]);
    let id = lab.fire("deploy", &repo.deploy("node2", Some("node1")));
    until_running(&lab, &id, "await_healthy");
    lab.run(&["partition", "node2"]);
    lab.run(&["kill", "node2", "agent"]);
    lab.run(&["start", "node2", "agent"]);
    // The others wait for the session's TTL and `node-grace`.
    within(Duration::from_secs(75), "the uncommitted version to be stopped", || {
        let running = lab.node(
            "node2",
            &[
                "docker",
                "ps",
                "-q",
                "--filter",
                &format!("label=com.docker.compose.project={}", repo.project()),
            ],
        );
        running.trim().is_empty().then_some(())
    });
    body(&lab, "node1", "hello.test", "/");
    lab.run(&["heal", "node2"]);
    assert_eq!(lab.outcome(&id)["state"], "undone");
    lab.destroy(&repo);
}
