//! What an app may not take, and what it keeps: of other apps, of the proxies, of the nodes; data beside named volumes.

use std::path::Path;

use serde_json::Value;

use crate::support::{Lab, Repo, get, until};

/// An app of one service, of which each text may be another.
struct App {
    name: &'static str,
    branch: &'static str,
    host: &'static str,
    /// Further lines of the service.
    service: String,
    /// Further lines of the file.
    file: String,
}

impl App {
    fn new(name: &'static str, branch: &'static str, host: &'static str) -> Self {
        Self { name, branch, host, service: String::new(), file: String::new() }
    }

    fn with(name: &'static str, host: &'static str, service: &str, file: &str) -> Self {
        let (service, file) = (service.to_owned(), file.to_owned());
        Self { service, file, ..Self::new(name, "master", host) }
    }

    /// Publishes it, and tells where.
    fn publish(&self, lab: &Lab) -> Repo {
        let dir = tempfile::tempdir().unwrap();
        let Self { host, service, file, .. } = self;
        let text = format!(
            "services:\n  web:\n    image: debian:bookworm\n    init: true\n    stop_grace_period: 1s\n    \
             command: [sh, -c, 'mkdir -p /www && echo {host} >/www/index.html && exec busybox httpd -f -p 80 -h /www']\n    \
             environment:\n      CADDYFILE: 'http://{host} {{\n\n        proxy / http://$CONTAINER:80\n\n        }}'\n    \
             networks: [cluster_default]\n{service}\nnetworks:\n  cluster_default: {{external: true}}\n{file}\n"
        );
        std::fs::write(dir.path().join("docker-compose.yml"), text).unwrap();
        self.import(lab, dir.path());
        let url = lab.run(&["git-url", self.name, "git"]).trim().to_owned();
        Repo { name: self.name.to_owned(), url }
    }

    fn import(&self, lab: &Lab, dir: &Path) {
        lab.run(&["git-import", dir.to_str().unwrap(), self.name, self.branch]);
    }

    fn event(&self, repo: &Repo, what: &str) -> String {
        format!(r#"{{"repo":"{}","branch":"{}"{what}}}"#, repo.url, self.branch)
    }

    /// Deploys it; the record.
    fn deploy(&self, lab: &Lab, master: &str, slave: Option<&str>) -> Value {
        let repo = self.publish(lab);
        let slave = slave.map_or("null".to_owned(), |slave| format!(r#""{slave}""#));
        let pair = format!(r#","master":"{master}","slave":{slave}"#);
        lab.outcome(&lab.fire("deploy", &self.event(&repo, &pair)))
    }

    fn refused(&self, lab: &Lab, master: &str, slave: Option<&str>) -> String {
        let record = self.deploy(lab, master, slave);
        assert_eq!(record["state"], "refused", "{}: {record:#}", self.service);
        record["reason"].as_str().unwrap().to_owned()
    }

    fn completed(&self, lab: &Lab, master: &str, slave: Option<&str>) -> Value {
        let record = self.deploy(lab, master, slave);
        assert_eq!(record["state"], "completed", "{record:#}");
        record
    }

    fn destroy(&self, lab: &Lab) {
        let repo = self.publish(lab);
        let record = lab.outcome(&lab.fire("destroy", &self.event(&repo, "")));
        assert_eq!(record["state"], "completed", "{record:#}");
    }

    fn serves(&self, lab: &Lab) -> bool {
        let reply = get(&lab.ip("node1"), self.host, "/");
        reply.is_ok_and(|reply| reply.status == 200 && reply.body.trim() == self.host)
    }
}

#[test]
fn of_two_branches_with_one_project_and_two_apps_with_one_volume_the_later_one_is_refused() {
    let lab = Lab::get();
    let data = |host| {
        let mount = "    volumes: ['data:/data']";
        App::with("claims-shop", host, mount, "volumes:\n  data: {driver: btrfs}")
    };
    let production = App { branch: "PROD", ..data("prod.test") };
    let test = App { branch: "TEST", ..data("staging.test") };
    production.completed(&lab, "node1", Some("node2"));
    // Beside it, on its slave, to which its volumes go when it moves, and on a node of its own.
    for master in ["node1", "node2", "node3"] {
        let reason = test.refused(&lab, master, None);
        assert!(reason.contains("claims-shop_PROD."), "{reason}");
    }
    let repo = test.publish(&lab);
    let destroyed = lab.outcome(&lab.fire("destroy", &test.event(&repo, "")));
    assert_eq!(destroyed["state"], "refused", "{destroyed:#}");
    assert!(production.serves(&lab));
    production.completed(&lab, "node2", Some("node1"));
    assert!(production.serves(&lab));
    production.destroy(&lab);
    test.completed(&lab, "node3", None);
    test.destroy(&lab);

    let data = "volumes:\n  data: {driver: btrfs, name: claims-data}";
    let mount = "    volumes: ['data:/data']";
    let first = App::with("claims-one", "one.test", mount, data);
    let second = App::with("claims-two", "two.test", mount, data);
    first.completed(&lab, "node1", None);
    let reason = second.refused(&lab, "node2", None);
    assert!(reason.contains("volume claims-data belongs to claims-one_master."), "{reason}");
    assert!(!reason.contains("docker volume rm"), "{reason}");
    first.destroy(&lab);
}

/// Everything that can be known is known before the app is stopped.
#[test]
fn what_up_would_stumble_over_is_refused_while_the_former_version_serves() {
    let lab = Lab::get();
    let app = |service: &str, file: &str| App::with("claims-web", "claims.test", service, file);
    app("", "").completed(&lab, "node1", Some("node2"));
    let repo = app("", "").publish(&lab);
    let before = lab.containers("node1", &repo);
    let mut listeners = Vec::new();
    for (node, port) in [("node1", "7001"), ("node2", "7002")] {
        let listen = format!("TCP-LISTEN:{port},fork");
        listeners.push((node, lab.spawn(node, &["socat", &listen, "EXEC:true"])));
    }
    until("the slave's agent tells who listens there", || {
        lab.kv("tandem/nodes/node2").filter(|info| info.contains("7002/tcp"))
    });
    for (service, file, expected) in [
        ("    ports: ['80:80']", "", "service web: the port 80/tcp is the proxies' own"),
        (
            "    ports: ['7001:80']",
            "",
            "service web: the port 7001/tcp is taken: something on node1",
        ),
        (
            "    ports: ['7002:80']",
            "",
            "service web: the port 7002/tcp is taken: something on node2",
        ),
        ("    volumes: ['./data:/data']", "", "service web keeps data in \"./data\""),
        (
            "    volumes: ['outer:/x']",
            "volumes: {outer: {external: true}}",
            "the external volume outer is not on node1",
        ),
        ("    hostname: Caddy", "", "the hostname \"Caddy\" is one of the proxies'"),
        (
            "  caddy:\n    image: debian:bookworm\n    networks: [cluster_default]",
            "",
            "service caddy: the name \"caddy\"",
        ),
        (
            "  db:\n    image: debian:bookworm\n    networks: [other]",
            "  other: {external: true}",
            "the external network other is not on node1",
        ),
    ] {
        let reason = app(service, file).refused(&lab, "node1", Some("node2"));
        assert!(reason.contains(expected), "{service}: {reason}");
    }
    assert_eq!(lab.containers("node1", &repo), before);
    assert!(app("", "").serves(&lab));
    for (node, mut listener) in listeners {
        lab.try_node(node, &["pkill", "-f", "TCP-LISTEN:700"]);
        listener.wait().unwrap();
    }
    app("", "").destroy(&lab);
}

#[test]
fn no_container_of_an_apps_answers_for_the_proxies() {
    let lab = Lab::get();
    let app = App::new("claims-names", "master", "names.test");
    app.completed(&lab, "node1", None);
    until("HAProxy asks for Caddy where no app is", || {
        let config = lab.node("node1", &["cat", "/var/lib/tandem/haproxy/haproxy.cfg"]);
        config.contains("server caddy 198.18.244.3:80").then_some(())
    });
    let run = ["docker", "run", "-d", "--init", "--name", "thief", "--network", "cluster_default"];
    let names = ["--network-alias", "caddy", "--network-alias", "haproxy", "debian:bookworm"];
    lab.node("node1", &[&run[..], &names, &["sleep", "600"]].concat());
    let socket = "UNIX-CONNECT:/run/tandem/haproxy/master.sock";
    for _ in 0..3 {
        lab.node_with_stdin("node1", &["socat", "-", socket], b"reload\n");
        until("the app answers after a reload", || app.serves(&lab).then_some(()));
        assert!((0..10).all(|_| app.serves(&lab)));
    }
    lab.node("node1", &["docker", "rm", "--force", "thief"]);
    app.destroy(&lab);
}

fn dangling(lab: &Lab) -> String {
    lab.node("node1", &["docker", "volume", "ls", "--quiet", "--filter", "dangling=true"])
}

#[test]
fn data_beside_named_volumes_is_there_after_an_undo_and_goes_with_the_app() {
    let lab = Lab::get();
    let mount = "    volumes: ['/data', './kept:/kept:ro']";
    let app = |more: &str| App::with("claims-data", "data.test", &format!("{mount}\n{more}"), "");
    let before = dangling(&lab);
    let record = app("").completed(&lab, "node1", None);
    let told = record["warnings"].to_string();
    assert!(told.contains("service web has a volume without a name at /data"), "{told}");
    let repo = app("").publish(&lab);
    let container = format!("{}_web_1", repo.project());
    let exec = |argv: &[&str]| {
        lab.node("node1", &[&["docker", "exec", container.as_str()], argv].concat())
    };
    exec(&["sh", "-c", "echo row >/data/row"]);
    let unhealthy = "    healthcheck: {test: ['CMD', 'false'], interval: 1s, retries: 1}";
    let record = app(unhealthy).deploy(&lab, "node1", None);
    assert_eq!(record["state"], "undone", "{record:#}");
    assert_eq!(exec(&["cat", "/data/row"]).trim(), "row");
    assert!(app("").serves(&lab));
    app("    labels: {v: '2'}").completed(&lab, "node1", None);
    assert_eq!(exec(&["cat", "/data/row"]).trim(), "row");

    // What an older system's version left below its checkout.
    let checkout = lab.checkouts("node1", &repo).remove(0);
    lab.node("node1", &["sh", "-c", &format!("echo old >/deploy/{checkout}/kept/row")]);
    let writes =
        App::with("claims-data", "data.test", "    volumes: ['/data', './kept:/kept']", "");
    let reason = writes.refused(&lab, "node2", None);
    assert!(reason.contains("does not move to another node"), "{reason}");
    let record = writes.completed(&lab, "node1", None);
    assert!(record["warnings"].to_string().contains("keeps data in ./kept"), "{record:#}");
    assert_eq!(exec(&["cat", "/kept/row"]).trim(), "old");
    assert_ne!(lab.checkouts("node1", &repo), [checkout]);
    writes.destroy(&lab);
    assert_eq!(dangling(&lab), before);
}
