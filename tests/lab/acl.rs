//! Consul with ACLs on: the policy of the manual is enough for an agent, and what an agent may no longer see stays as it was.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::{Lab, NODES, Repo, get, tcp_line, told, until};

/// The token that may do anything: the operator's, and that of Consul's own agents.
const MANAGEMENT: &str = "0f6c4b62-8f0b-4f27-9c11-6a0e3a3f2b10";
/// The port of the fixture `tcp`.
const PORT: u16 = 2222;
const HOST: &str = "hello.test";
const CONFIG: &str = "/etc/lab/consul.json";

/// A lab whose Consul denies what it was not told to allow, until this ends.
struct Acls<'a> {
    lab: &'a Lab,
    /// Where the lab has the agents' settings, and what they were.
    settings: (PathBuf, String),
}

impl<'a> Acls<'a> {
    fn on(lab: &'a Lab) -> Self {
        let status: Value = serde_json::from_str(&lab.run(&["status", "--json"])).unwrap();
        let file = PathBuf::from(status["state_dir"].as_str().unwrap()).join("agent.env");
        let before = std::fs::read_to_string(&file).unwrap();
        let acls = Self { lab, settings: (file, before) };
        let tokens = json!({"master": MANAGEMENT, "agent": MANAGEMENT, "default": MANAGEMENT});
        let more = json!({"acl": {
            "enabled": true, "default_policy": "deny", "tokens": tokens,
            "policy_ttl": "1s", "role_ttl": "1s", "token_ttl": "1s",
        }});
        // With the lab's own command it would get the configuration that it always has. All at once: before there is a leader,
        // none of them knows what to allow.
        let line = format!(
            "jq --argjson more \"$1\" '. + $more' {CONFIG} >{CONFIG}.new && mv {CONFIG}.new {CONFIG} && /opt/lab/part start consul"
        );
        NODES.iter().for_each(|node| drop(lab.run(&["stop", node, "consul"])));
        let argv = ["sh", "-c", &line, "sh", &more.to_string()];
        let started = NODES.map(|node| lab.spawn(node, &argv));
        for mut part in started {
            assert!(part.wait().unwrap().success(), "Consul does not start with ACLs");
        }
        until("ACLs", || acls.try_consul(&["acl", "token", "list"], "").ok());
        acls
    }

    /// Gives the agents a token of this policy.
    fn give_agents(&self, policy: &str) {
        self.consul(&["acl", "policy", "create", "-name=tandem", "-rules=-"], policy);
        let said =
            self.consul(&["acl", "token", "create", "-policy-name=tandem", "-format=json"], "");
        let token: Value = serde_json::from_str(&said).unwrap();
        let (file, before) = &self.settings;
        let token = token["SecretID"].as_str().unwrap();
        std::fs::write(file, format!("{before}CONSUL_HTTP_TOKEN={token}\n")).unwrap();
        for node in NODES {
            self.lab.run(&["stop", node, "agent"]);
            self.lab.run(&["start", node, "agent"]);
        }
        self.agents_are_back();
    }

    fn change_policy(&self, policy: &str) {
        self.consul(&["acl", "policy", "update", "-name=tandem", "-no-merge", "-rules=-"], policy);
    }

    fn agents_are_back(&self) {
        until("three agents", || {
            let agents = self.try_consul(&["kv", "get", "-keys", "tandem/nodes/"], "").ok()?;
            (agents.lines().count() == NODES.len()).then_some(())
        });
    }

    /// The operator's Consul.
    fn consul(&self, args: &[&str], stdin: &str) -> String {
        self.try_consul(args, stdin).unwrap_or_else(|said| panic!("{args:?}: {said}"))
    }

    fn try_consul(&self, args: &[&str], stdin: &str) -> Result<String, String> {
        let argv = [&["env", "-u", "CONSUL_HTTP_TOKEN", "consul"][..], args].concat();
        let output = self.lab.node_with_stdin("node1", &argv, stdin.as_bytes());
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(told(&output)),
        }
    }

    fn deploy(&self, repo: &Repo, master: &str, slave: &str) {
        let said = self.consul(&["event", "-name=deploy", &repo.deploy(master, Some(slave))], "");
        let id = said.trim().strip_prefix("Event ID: ").unwrap_or_else(|| panic!("{said}"));
        let record = self.lab.outcome(id);
        assert_eq!(record["state"], "completed", "{record:#}");
        let warnings = record["warnings"].as_array().cloned().unwrap_or_default();
        assert!(warnings.is_empty(), "{warnings:?}");
    }

    /// Changes an entry, though not what it says: who waits for that asks Consul once more, by what it may see then. Otherwise
    /// it does so within a minute, and hears of less in the next one.
    fn touch_entry(&self, repo: &Repo) {
        let key = format!("app/{}", repo.app());
        let value = self.consul(&["kv", "get", "-base64", &key], "");
        let value = STANDARD.decode(value.trim()).unwrap();
        let text = String::from_utf8(value).unwrap();
        // What is written once more as it is changes nothing.
        let text = text.strip_suffix(' ').map_or(format!("{text} "), str::to_owned);
        self.consul(&["kv", "put", &key, "-"], &text);
    }

    fn status_names(&self, what: &str, is_named: bool, touched: &Repo) {
        until(&format!("{what:?} in the status: {is_named}"), || {
            self.touch_entry(touched);
            let argv = ["env", "-u", "CONSUL_HTTP_TOKEN", "tandem", "status"];
            (self.lab.node("node1", &argv).contains(what) == is_named).then_some(())
        });
    }

    fn serves(&self, when: &str) {
        for node in NODES {
            let ip = self.lab.ip(node);
            let reply = get(&ip, HOST, "/");
            let is_served = reply.as_ref().is_ok_and(|reply| reply.status == 200);
            assert!(is_served, "{when}, through {node}: {reply:?}");
            tcp_line(&ip, PORT).unwrap_or_else(|error| panic!("{when}, {node}: {error}"));
        }
    }
}

impl Drop for Acls<'_> {
    fn drop(&mut self) {
        let (file, before) = &self.settings;
        let _ = std::fs::write(file, before);
        for part in ["consul", "agent"] {
            for command in ["stop", "start"] {
                NODES.iter().for_each(|node| drop(self.lab.try_run(&[command, node, part])));
            }
        }
    }
}

/// The agent's policy as the manual has it.
fn policy() -> &'static str {
    let manual = include_str!("../../docs/operating.md");
    let (_, policy) = manual.split_once("```hcl\n").unwrap();
    let (policy, _) = policy.split_once("```").unwrap();
    assert!(policy.contains("\"app/\""), "{policy}");
    policy
}

#[test]
fn the_manuals_policy_is_enough_and_what_a_token_may_no_longer_read_stays_in_use() {
    let lab = Lab::get();
    let acls = Acls::on(&lab);
    acls.give_agents(policy());
    let repos = [("hello", "hello-acl"), ("tcp", "tcp-acl")]
        .map(|(fixture, name)| Repo::publish(&lab, fixture, name));
    repos.iter().for_each(|repo| acls.deploy(repo, "node1", "node2"));
    acls.deploy(&repos[0], "node2", "node1");
    until("the first routes", || {
        let serve =
            |node: &&str| get(&lab.ip(node), HOST, "/").is_ok_and(|reply| reply.status == 200);
        NODES.iter().all(serve).then_some(())
    });
    acls.serves("with the manual's policy");

    let without: String = policy()
        .lines()
        .filter(|line| !line.contains("\"app/\""))
        .map(|line| format!("{line}\n"))
        .collect();
    acls.change_policy(&without);
    let may_not = "this agent's token may not read the entries of";
    for node in NODES {
        acls.status_names(&format!("{node}: app/: {may_not}"), true, &repos[0]);
    }
    acls.serves("with a token that may not see the entries");
    lab.run(&["stop", "node3", "agent"]);
    lab.run(&["start", "node3", "agent"]);
    acls.agents_are_back();
    acls.status_names(&format!("node3: app/: {may_not}"), true, &repos[0]);
    acls.serves("after an agent's start that may not see the entries");

    acls.change_policy(policy());
    acls.status_names(may_not, false, &repos[0]);
    acls.serves("with the manual's policy again");
    acls.deploy(&repos[0], "node1", "node2");
    drop(acls);
    lab.await_agents();
    repos.iter().for_each(|repo| drop(lab.destroy(repo)));
    repos.iter().for_each(|repo| assert_eq!(lab.leftovers(repo), [""; 0]));
}
