//! The lab as the tests see it.

pub(crate) mod blog;
mod clients;
pub(crate) mod http;
mod pool;
mod repos;
mod state;
mod steady;

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use pool::Lease;

pub(crate) use clients::{KeptTls, Repeat, Said, tls_status};
pub(crate) use http::{Load, get, get_tls, get_tls_of_anyone, tcp_line};
pub(crate) use repos::Repo;
pub(crate) use steady::{Asked, Steady};

pub(crate) const NODES: [&str; 3] = ["node1", "node2", "node3"];
/// How long anything in the lab may take before a test calls it broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A running lab of three nodes.
pub(crate) struct Lab {
    script: PathBuf,
    pub(crate) name: String,
    /// None of the others has it.
    lease: Option<Lease>,
}

impl Lab {
    /// A lab that `make test-lab` started, healthy, without apps, and nobody else's.
    pub(crate) fn get() -> Self {
        let lease = pool::lease();
        let mut lab = Self::named(&lease.lab);
        lab.lease = Some(lease);
        lab.repair();
        lab.clear();
        lab
    }

    /// The commands of a lab, whatever state it is in.
    pub(crate) fn named(name: &str) -> Self {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        Self { script: root.join("fixtures/lab/lab"), name: name.to_owned(), lease: None }
    }

    /// Undoes the faults that a failed test left behind.
    fn repair(&self) {
        let status: Value = serde_json::from_str(&self.run(&["status", "--json"])).unwrap();
        assert_eq!(status["up"], true, "no lab is up: run these tests through `make test-lab`");
        for node in status["nodes"].as_array().unwrap() {
            self.repair_node(node);
        }
        self.await_agents();
    }

    pub(crate) fn await_agents(&self) {
        until("a leader and three agents", || {
            let agents = self.kv_keys("tandem/nodes/");
            (agents.len() == NODES.len()).then_some(())
        });
    }

    fn repair_node(&self, status: &Value) {
        let node = status["name"].as_str().unwrap();
        if status["git_cut"] != false {
            self.run(&["restore-git", node]);
        }
        if status["power"] != "on" {
            self.run(&["power-on", node]);
        }
        if status["partitioned"] != false {
            self.run(&["heal", node]);
        }
        for part in ["docker", "consul", "buttervolume", "sshd", "agent"] {
            if status["parts"][part] != "running" {
                self.run(&["start", node, part]);
            }
        }
    }

    /// Destroys whatever apps there are, and removes what was written by hand.
    fn clear(&self) {
        for key in ["maintenance/", "swarm/"].iter().flat_map(|prefix| self.kv_keys(prefix)) {
            self.node("node1", &["consul", "kv", "delete", &key]);
        }
        for key in self.kv_keys("app/") {
            let record: Value = serde_json::from_str(&self.kv(&key).unwrap()).unwrap();
            let id = self.fire(
                "destroy",
                &format!(r#"{{"repo":{},"branch":{}}}"#, record["repo_url"], record["branch"]),
            );
            assert_eq!(self.outcome(&id)["state"], "completed", "an app could not be cleared away");
        }
    }

    /// Runs a command of the lab; its standard output, or a panic with everything that it said.
    pub(crate) fn run(&self, args: &[&str]) -> String {
        let output = self.try_run(args);
        assert!(output.status.success(), "lab {args:?}: {}", told(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub(crate) fn try_run(&self, args: &[&str]) -> Output {
        self.command(args).stdin(Stdio::null()).output().unwrap()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.script);
        command.args(args).env("LAB", &self.name);
        command
    }

    /// Runs a command in a node.
    pub(crate) fn node(&self, node: &str, argv: &[&str]) -> String {
        self.run(&[&["exec", node], argv].concat())
    }

    pub(crate) fn try_node(&self, node: &str, argv: &[&str]) -> Output {
        self.try_run(&[&["exec", node], argv].concat())
    }

    /// Starts a command in a node and goes on.
    pub(crate) fn spawn(&self, node: &str, argv: &[&str]) -> std::process::Child {
        self.command(&[&["exec", node], argv].concat())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// Runs a command in a node with something on its standard input.
    pub(crate) fn node_with_stdin(&self, node: &str, argv: &[&str], stdin: &[u8]) -> Output {
        use std::io::Write;
        let mut child = self
            .command(&[&["exec", node], argv].concat())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(stdin).unwrap();
        child.wait_with_output().unwrap()
    }

    pub(crate) fn ip(&self, node: &str) -> String {
        self.run(&["ip", node]).trim().to_owned()
    }

    /// Fires an event on node1 and returns its id.
    pub(crate) fn fire(&self, name: &str, payload: &str) -> String {
        self.fire_on("node1", name, payload)
    }

    pub(crate) fn fire_on(&self, node: &str, name: &str, payload: &str) -> String {
        let said = self.node(node, &["consul", "event", &format!("-name={name}"), payload]);
        said.trim().strip_prefix("Event ID: ").unwrap_or_else(|| panic!("{said}")).to_owned()
    }

    /// Waits for a deployment's outcome and returns its record.
    pub(crate) fn outcome(&self, id: &str) -> Value {
        until(&format!("an outcome of {id}"), || {
            let record = self.record(id)?;
            (record["finished_at"] != Value::Null).then_some(record)
        })
    }

    /// A deployment's record, if there is one.
    pub(crate) fn record(&self, id: &str) -> Option<Value> {
        let key = self.kv_keys("tandem/deployments/").into_iter().find(|key| key.ends_with(id))?;
        serde_json::from_str(&self.kv(&key)?).ok()
    }

    /// Deploys and expects it to complete.
    pub(crate) fn deploy(&self, repo: &Repo, master: &str, slave: Option<&str>) -> Value {
        let record = self.outcome(&self.fire("deploy", &repo.deploy(master, slave)));
        assert_eq!(record["state"], "completed", "{record:#}");
        record
    }

    pub(crate) fn destroy(&self, repo: &Repo) -> Value {
        let record = self.outcome(&self.fire("destroy", &repo.destroy()));
        assert_eq!(record["state"], "completed", "{record:#}");
        record
    }

    /// What HAProxy's master process says of its reloads: the line of the worker that serves, without its age.
    pub(crate) fn haproxy_reloads(&self, node: &str) -> String {
        let socket = "UNIX-CONNECT:/run/tandem/haproxy/master.sock";
        let output = self.node_with_stdin(node, &["socat", "-", socket], b"show proc\n");
        let text = told(&output);
        let lines: Vec<&str> =
            text.lines().skip_while(|line| !line.contains("# workers")).collect();
        let worker = lines.get(1).unwrap_or_else(|| panic!("no worker of {node}: {text}"));
        worker.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
    }

    /// The agent's log on a node.
    pub(crate) fn agent_log(&self, node: &str) -> String {
        self.run(&["logs", node, "agent"])
    }
}

impl Drop for Lab {
    /// What the agents of a test that failed said last goes with the test's own words.
    #[expect(clippy::print_stdout, reason = "the harness keeps it, and shows it with the failure")]
    fn drop(&mut self) {
        if self.lease.is_none() || !std::thread::panicking() {
            return;
        }
        for node in NODES {
            let output = self.try_run(&["logs", node, "agent"]);
            let log = String::from_utf8_lossy(&output.stdout);
            let lines: Vec<_> = log.lines().collect();
            let end = lines[lines.len().saturating_sub(40)..].join("\n");
            println!("\n--- end of the agent log of {node} ---\n{end}");
        }
    }
}

pub(crate) fn told(output: &Output) -> String {
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{}\n{out}\n{err}", output.status)
}

/// Polls until there is an answer, for as long as [`PATIENCE`].
pub(crate) fn until<T>(what: &str, answer: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, what, answer)
}

/// Polls until there is an answer.
pub(crate) fn within<T>(
    patience: Duration,
    what: &str,
    mut answer: impl FnMut() -> Option<T>,
) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = answer() {
            return answer;
        }
        assert!(started.elapsed() < patience, "waited {patience:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
