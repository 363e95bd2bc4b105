//! What is wrong with one app, one key or one node leaves the others' requests where they belong, and is named.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::deploy::body;
use crate::support::{
    Lab, Load, NODES, Repo, get, get_tls_of_anyone, tcp_line, told, until, within,
};

/// The port of the fixture `tcp`.
const PORT: u16 = 2222;

impl Lab {
    fn status(&self) -> String {
        self.node("node1", &["tandem", "status"])
    }

    /// Waits until the status names something, or does not any more.
    fn names(&self, what: &str, is_named: bool) {
        until(&format!("{what:?} in the status: {is_named}"), || {
            (self.status().contains(what) == is_named).then_some(())
        });
    }

    /// Every node serves the host, now.
    fn serves(&self, host: &str, when: &str) {
        for node in NODES {
            let reply = get(&self.ip(node), host, "/");
            let is_served = reply.as_ref().is_ok_and(|reply| reply.status == 200);
            assert!(is_served, "{when}: {host} through {node}: {reply:?}");
        }
    }

    fn serves_soon(&self, host: &str) {
        NODES.iter().for_each(|node| drop(body(self, node, host, "/")));
    }

    fn restart_agent(&self, node: &str) {
        self.run(&["stop", node, "agent"]);
        self.run(&["start", node, "agent"]);
    }
}

/// The fixture `hello` on a branch whose name has a slash.
struct OnBranch(String);

impl OnBranch {
    fn publish(lab: &Lab) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let lay = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/apps/lay");
        assert!(Command::new(lay).arg("hello").arg(dir.path()).status().unwrap().success());
        lab.run(&["git-import", dir.path().to_str().unwrap(), "branched", "Feature/x-1"]);
        Self(lab.run(&["git-url", "branched", "git"]).trim().to_owned())
    }

    fn fire(&self, lab: &Lab, event: &str, pair: &str) -> Value {
        let text = format!(r#"{{"repo":"{}","branch":"Feature/x-1"{pair}}}"#, self.0);
        let record = lab.outcome(&lab.fire(event, &text));
        assert_eq!(record["state"], "completed", "{record:#}");
        let warnings = record["warnings"].as_array().cloned().unwrap_or_default();
        assert!(warnings.is_empty(), "{record:#}");
        record
    }
}

#[test]
fn names_and_entries_that_nobody_expects_freeze_no_proxies() {
    let lab = Lab::get();
    let branched = OnBranch::publish(&lab);
    let pair = r#","master":"node1","slave":"node2""#;
    branched.fire(&lab, "deploy", pair);
    // It is completed: nobody has to wait for a proxy.
    lab.serves("hello.test", "after its first deployment");
    lab.kv_put("maintenance/a/b", "yes");
    let loads = NODES.map(|node| Load::start(&lab.ip(node), "hello.test", "/", 20));
    branched.fire(&lab, "deploy", pair);
    for (load, node) in loads.into_iter().zip(NODES) {
        let (good, bad) = load.end();
        assert!(good > 15 && bad.is_empty(), "through {node}: {good} succeeded, {bad:?}");
    }
    let repo = Repo::publish(&lab, "tcp", "tcp-routing");
    lab.deploy(&repo, "node3", Some("node2"));
    for node in NODES {
        tcp_line(&lab.ip(node), PORT).unwrap_or_else(|error| panic!("{node}: {error}"));
    }
    for node in NODES {
        let marks = lab.node(node, &["ls", "/var/lib/tandem/caddy/held"]);
        assert!(marks.contains("a%2Fb"), "{node}: {marks}");
    }
    entries_that_are_missing(&lab);
    lab.node("node1", &["consul", "kv", "delete", "maintenance/a/b"]);
    branched.fire(&lab, "destroy", "");
    lab.destroy(&repo);
}

/// All are gone at once, and one can't be read.
fn entries_that_are_missing(lab: &Lab) {
    let entries: Vec<(String, String)> =
        lab.kv_keys("app/").into_iter().map(|key| (key.clone(), lab.kv(&key).unwrap())).collect();
    assert_eq!(entries.len(), 2);
    let serve = |when: &str| {
        lab.serves("hello.test", when);
        for node in NODES {
            tcp_line(&lab.ip(node), PORT).unwrap_or_else(|error| panic!("{when}, {node}: {error}"));
        }
    };
    let names: Vec<&str> =
        entries.iter().map(|(key, _)| key.strip_prefix("app/").unwrap()).collect();
    let missing = "no record says that they were destroyed";
    lab.node("node1", &["consul", "kv", "delete", "-recurse", "app/"]);
    lab.names(&format!("node3: app/: the entries of {} are missing", names.join(" ")), true);
    serve("without entries");
    lab.restart_agent("node3");
    until("node3 to be without its agent and to have it again", || {
        lab.status().contains("node3: app/: the entries of").then_some(())
    });
    serve("after a restart without entries");
    for (key, value) in &entries {
        lab.kv_put(key, value);
    }
    lab.names(missing, false);
    serve("with the entries");
    lab.kv_put(&entries[0].0, "{");
    lab.names("what it said before stays in use", true);
    serve("with one that can't be read");
    lab.kv_put(&entries[0].0, &entries[0].1);
    lab.names("what it said before stays in use", false);
    // An operator's word.
    lab.node("node1", &["consul", "kv", "delete", "-recurse", "app/"]);
    lab.names(missing, true);
    let refused = lab.try_node("node2", &["tandem", "forget"]);
    assert!(!refused.status.success(), "{}", told(&refused));
    lab.node("node2", &[&["tandem", "forget"][..], &names].concat());
    for node in NODES {
        within(Duration::from_secs(20), &format!("404 through {node}"), || {
            (get(&lab.ip(node), "hello.test", "/").ok()?.status == 404).then_some(())
        });
    }
    for (key, value) in &entries {
        lab.kv_put(key, value);
    }
    for node in NODES {
        body(lab, node, "hello.test", "/");
        until("its port", || tcp_line(&lab.ip(node), PORT).ok());
    }
}

impl Lab {
    fn tell_haproxy(&self, node: &str, commands: &str) -> String {
        let socket = "UNIX-CONNECT:/run/tandem/haproxy/admin.sock";
        let output =
            self.node_with_stdin(node, &["socat", "-t5", "-", socket], commands.as_bytes());
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn connections(&self, node: &str) -> usize {
        let info = self.tell_haproxy(node, "show info\n");
        let line = info.lines().find_map(|line| line.strip_prefix("CurrConns: "));
        line.unwrap_or_else(|| panic!("{info}")).trim().parse().unwrap()
    }
}

#[test]
fn two_nodes_that_send_an_apps_requests_to_each_other_stay_there_for_the_others() {
    let lab = Lab::get();
    let tcp = Repo::publish(&lab, "tcp", "tcp-round");
    let hello = Repo::publish(&lab, "hello", "hello-round");
    lab.deploy(&tcp, "node1", Some("node2"));
    lab.deploy(&hello, "node1", Some("node2"));
    // Node1 takes node2 for the master, which takes node1 for it.
    lab.run(&["stop", "node1", "agent"]);
    let maps = ["http", "https"]
        .map(|map| format!("set map /var/lib/tandem/haproxy/{map}.map hello.test node2"));
    let servers = "disable server backend-greeter/node1; enable server backend-greeter/node2";
    lab.tell_haproxy("node1", &format!("{}; {servers}\n", maps.join("; ")));
    let began = Instant::now();
    for node in ["node1", "node2"] {
        let reply = get(&lab.ip(node), "hello.test", "/").unwrap();
        assert!(reply.status == 503 && reply.body.contains("another node sent"), "{reply:?}");
        let tls = get_tls_of_anyone(&lab.ip(node), "hello.test", "/");
        assert!(tls.as_ref().is_ok_and(|reply| reply.status == 503), "TLS, {node}: {tls:?}");
        assert!(tcp_line(&lab.ip(node), PORT).is_err(), "its port, {node}");
    }
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    for node in ["node1", "node2"] {
        within(Duration::from_secs(10), &format!("{node}'s connections to be free"), || {
            (lab.connections(node) < 30).then_some(())
        });
    }
    // An agent that is back puts right what it did not say.
    lab.run(&["start", "node1", "agent"]);
    for node in NODES {
        body(&lab, node, "hello.test", "/");
        until("its port", || tcp_line(&lab.ip(node), PORT).ok());
    }
    lab.destroy(&tcp);
    lab.destroy(&hello);
}

/// Listens on the port until a file is there.
const LISTENER: &str = "
import os, socket, time
taken = socket.socket()
taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
taken.bind(('', 2222))
taken.listen()
while not os.path.exists('/tmp/free'): time.sleep(0.1)
";

#[test]
fn a_node_whose_proxies_can_not_have_what_they_should_says_so_and_serves_the_rest() {
    let lab = Lab::get();
    let tcp = Repo::publish(&lab, "tcp", "tcp-taken");
    let hello = Repo::publish(&lab, "hello", "hello-taken");
    lab.deploy(&tcp, "node1", Some("node2"));
    // A folder that nobody can write to: the running HAProxy is told all the same.
    let folder = "/var/lib/tandem/haproxy";
    lab.node("node2", &["chattr", "+i", folder]);
    lab.deploy(&hello, "node1", Some("node2"));
    lab.serves("hello.test", "with a folder that can't be written");
    lab.names("node2: proxies, since ", true);
    lab.node("node2", &["chattr", "-i", folder]);
    lab.names("node2: proxies, since ", false);
    // Something takes an app's port while HAProxy is away.
    lab.run(&["stop", "node1", "docker"]);
    lab.node("node1", &["rm", "-f", "/tmp/free"]);
    let mut listener = lab.spawn("node1", &["python3", "-c", LISTENER]);
    lab.run(&["start", "node1", "docker"]);
    body(&lab, "node1", "hello.test", "/");
    lab.names("something else on this node listens on its port 2222", true);
    lab.node("node1", &["touch", "/tmp/free"]);
    listener.wait().unwrap();
    for node in NODES {
        until(&format!("the port through {node}"), || tcp_line(&lab.ip(node), PORT).ok());
    }
    lab.names("listens on its port 2222", false);
    lab.destroy(&tcp);
    lab.destroy(&hello);
}

/// As with a stack.yml from before the proxies had addresses of their own.
#[test]
fn proxies_of_an_earlier_stack_are_named_and_left_as_they_are() {
    let lab = Lab::get();
    let repo = Repo::publish(&lab, "hello", "routing-elsewhere");
    lab.deploy(&repo, "node1", None);
    lab.serves_soon("hello.test");
    let comes_back_at = |address: &str| {
        let network = |argv: &[&str]| lab.node("node3", &[&["docker", "network"], argv].concat());
        network(&["disconnect", "cluster_proxies", "haproxy"]);
        network(&["connect", "--ip", address, "cluster_proxies", "haproxy"]);
    };
    comes_back_at("198.18.244.5");
    let what = "node3: proxies, since";
    lab.names(what, true);
    lab.names("the container haproxy does not have the address 198.18.244.2", true);
    // The others follow; this one stays as it is.
    let key = format!("maintenance/{}", repo.app());
    lab.node("node2", &["consul", "kv", "put", &key, "a new disk"]);
    let leads_to = |node, to: &str| {
        let map = lab.node(node, &["cat", "/var/lib/tandem/haproxy/http.map"]);
        map.lines().any(|line| line == format!("hello.test {to}"))
    };
    for node in ["node1", "node2"] {
        until("maintenance", || leads_to(node, "maint").then_some(()));
    }
    assert!(leads_to("node3", "node1"));
    comes_back_at("198.18.244.2");
    lab.names(what, false);
    until("maintenance", || leads_to("node3", "maint").then_some(()));
    lab.node("node2", &["consul", "kv", "delete", &key]);
    lab.serves_soon("hello.test");
    lab.destroy(&repo);
}
