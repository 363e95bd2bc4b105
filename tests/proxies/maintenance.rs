//! Apps' own maintenance pages, from their entries through the real HAProxy and Caddy to a visitor.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tandem::model::NodeName;
use tandem::proxy::caddy::{AppRoutes, config};
use tandem::proxy::render::{Rendered, Templates, render};
use tandem::proxy::{ClusterView, Issuer, ProxySettings};

use super::binary;

const PATIENCE: Duration = Duration::from_secs(30);

/// Whatever Caddy or HAProxy may read in a text.
const PAGE: &str = "<!doctype html>\n<style>p{color:red} @media print{p{margin:0}}</style>\n\
    <p>{env.HOME} {http.request.header.X} {http.request.host} {system.hostname} {file./etc/hostname} {$HOME}\n\
    \\{env.HOME\\} \\\\{env.HOME\\\\} {{env.HOME}} {{ env \"HOME\" }} } { \\} \\{ {} {env.{env.HOME}} \\n \\\n\
    %[env(HOME)] ${HOME} \"quoted\" 'single' <%= 1 %> À bientôt </p>\\";

/// A process with all that it starts; ends when this is dropped.
pub(super) struct Running(Child);

impl Running {
    pub(super) fn start(binary: &Path, args: &[&str], dir: &Path) -> Self {
        let log = fs::File::create(dir.join("log")).unwrap();
        let mut command = Command::new(binary);
        command.args(args).env_clear().env("HOME", dir).env("PATH", "/usr/bin:/bin");
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        Self(command.process_group(0).spawn().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = killpg(Pid::from_raw(self.0.id() as i32), Signal::SIGKILL);
        let _ = self.0.wait();
    }
}

/// What a node's proxies are given, with ports of this machine.
pub(super) struct Place {
    dir: tempfile::TempDir,
    pub(super) settings: ProxySettings,
    pub(super) rendered: Rendered,
}

impl Place {
    pub(super) fn new() -> Self {
        Self::with(|_| {})
    }

    /// As `change` has the settings.
    pub(super) fn with(change: impl FnOnce(&mut ProxySettings)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let [http, https, peer_http, peer_https, caddy_http, caddy_https, tls, plain] =
            free_ports();
        let mut settings = ProxySettings {
            data_dir: dir.path().to_owned(),
            run_dir: dir.path().join("run"),
            http_port: http,
            https_port: https,
            peer_http_port: peer_http,
            peer_https_port: peer_https,
            caddy_address: Ipv4Addr::LOCALHOST,
            haproxy_address: Ipv4Addr::LOCALHOST,
            caddy_http_port: caddy_http,
            caddy_https_port: caddy_https,
            caddy_maintenance_port: tls,
            caddy_maintenance_http_port: plain,
            swarm_host: "127.0.0.1".to_owned(),
            resolver: "127.0.0.1:9".to_owned(),
            issuer: Issuer::Internal,
            max_connections: 50,
            ..ProxySettings::default()
        };
        change(&mut settings);
        for sub in ["haproxy", "caddy", "run/haproxy", "run/caddy"] {
            fs::create_dir_all(dir.path().join(sub)).unwrap();
        }
        let templates = Templates::built_in().unwrap();
        let rendered = render(&view(), &settings, &templates, &BTreeMap::new()).unwrap();
        assert!(rendered.problems.is_empty(), "{:?}", rendered.problems);
        Self { dir, settings, rendered }
    }

    pub(super) fn caddy(&self, binary: &Path) -> Running {
        let apps = self.rendered.caddy_sites.iter().map(|(name, sites)| {
            let adapted = adapt(binary, &sites.text, self.dir.path());
            let routes = AppRoutes::take(&adapted, sites).unwrap();
            (name.clone(), (sites.clone(), Arc::new(routes)))
        });
        let config = config(&self.settings, &apps.collect(), &self.rendered.pages);
        let file = self.settings.caddy_file();
        // One that was killed leaves its socket behind.
        let _ = fs::remove_file(self.settings.caddy_socket());
        fs::write(&file, config.to_string()).unwrap();
        let args = ["run", "--config", file.to_str().unwrap()];
        let running = Running::start(binary, &args, &self.dir.path().join("caddy"));
        self.wait_for(self.settings.caddy_maintenance_http_port, "caddy");
        running
    }

    pub(super) fn haproxy(&self, binary: &Path) -> Running {
        self.haproxy_with(binary, |_| {})
    }

    /// With files that `change` has put in its directory.
    pub(super) fn haproxy_with(&self, binary: &Path, change: impl FnOnce(&Path)) -> Running {
        let data = self.settings.haproxy_dir();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("haproxy");
        for name in ["hold.lua", "maintenance.html"] {
            fs::copy(root.join(name), data.join(name)).unwrap();
        }
        for (name, text) in &self.rendered.maps {
            fs::write(data.join(name), text).unwrap();
        }
        change(&data);
        let file = data.join("haproxy.cfg");
        fs::write(&file, &self.rendered.haproxy_cfg).unwrap();
        let args = ["-db", "-f", file.to_str().unwrap()];
        let running = Running::start(binary, &args, &data);
        self.wait_for(self.settings.http_port, "haproxy");
        // Its port is bound before its socket is there.
        let started = Instant::now();
        while UnixStream::connect(self.settings.runtime_socket()).is_err() {
            assert!(started.elapsed() < PATIENCE, "no socket");
            std::thread::sleep(Duration::from_millis(20));
        }
        running
    }

    fn wait_for(&self, port: u16, of: &str) {
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let log = fs::read_to_string(self.dir.path().join(of).join("log")).unwrap_or_default();
            assert!(started.elapsed() < PATIENCE, "{of}: {log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Changes where a host leads, as the agent does it.
    fn flip(&self, host: &str, to: &str) {
        let map = self.settings.haproxy_dir().join("http.map");
        self.command(&format!("set map {} {host} {to}", map.display()));
    }

    /// Says something to the Runtime API that it has no words for.
    pub(super) fn command(&self, line: &str) {
        let mut socket = UnixStream::connect(self.settings.runtime_socket()).unwrap();
        writeln!(socket, "{line}").unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert_eq!(answer.trim(), "");
    }
}

/// Two apps with pages of their own, one of them below a wildcard of the other, and one without.
fn view() -> ClusterView {
    let app = |name: &str, sites: &str, page: Option<&str>| {
        let mut record = json!({
            "repo_url": format!("https://git.test/{name}"), "branch": "main", "deploy_id": "1", "master": "node1",
            "ip": "127.0.0.1", "caddyfile": sites.replace('|', " {\n respond ok\n}\n"), "ct": {},
        });
        if let Some(page) = page {
            record["maintenance_page"] = Value::from(page);
        }
        (format!("app/{name}_main.12345"), record.to_string().into_bytes())
    };
    let key = |name: &str| (format!("maintenance/{name}_main.12345"), Vec::new());
    let entries = [
        app("shop", "shop.test|https://*.wide.test|http://*.wide.test|", Some(PAGE)),
        app("blog", "blog.test|", Some("the blog's \\} page")),
        app("plain", "plain.test|below.wide.test|", None),
        key("shop"),
        key("blog"),
        key("plain"),
    ];
    let me = NodeName::parse("node1").unwrap();
    let nodes = [(me.clone(), "127.0.0.1".to_owned())].into();
    let entries = entries.iter().map(|(key, value)| (key.as_str(), value.as_slice()));
    let (view, problems) = ClusterView::from_entries(me, nodes, entries);
    assert!(problems.is_empty(), "{problems:?}");
    view
}

pub(super) fn adapt(binary: &Path, text: &str, dir: &Path) -> Value {
    let file = dir.join("Caddyfile");
    fs::write(&file, text).unwrap();
    let output = Command::new(binary)
        .args(["adapt", "--adapter", "caddyfile", "--config"])
        .arg(&file)
        .env_clear()
        .env("HOME", dir)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

pub(super) fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

/// The head, in lower case, and the body of an answer over plain HTTP.
fn get(port: u16, host: &str) -> (String, String) {
    let mut connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    let lines =
        format!("GET / HTTP/1.1\r\nHost: {host}\r\nX: expanded\r\nConnection: close\r\n\r\n");
    connection.write_all(lines.as_bytes()).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_lowercase(), body.to_owned())
}

fn is_maintenance(head: &str) {
    assert!(head.starts_with("http/1.1 503"), "{head}");
    for line in
        ["retry-after: 120", "cache-control: no-store", "content-type: text/html; charset=utf-8"]
    {
        assert!(head.lines().any(|known| known == line), "{line}\n{head}");
    }
}

fn the_default() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(root.join("haproxy/maintenance.html")).unwrap()
}

#[test]
fn a_page_of_an_apps_own_is_shown_by_http_as_it_stands() {
    let (caddy, haproxy) = (binary("caddy"), binary("haproxy"));
    let place = Place::new();
    let running = place.caddy(&caddy);
    let _haproxy = place.haproxy(&haproxy);
    let (port, default) = (place.settings.http_port, the_default());
    for (host, expected) in [
        ("shop.test", PAGE),
        ("SHOP.test:80", PAGE),
        ("any.wide.test", PAGE),
        ("blog.test", "the blog's \\} page"),
        ("plain.test", default.as_str()),
        ("below.wide.test", default.as_str()),
    ] {
        let (head, body) = get(port, host);
        is_maintenance(&head);
        assert_eq!(body, expected, "{} {host}", caddy.display());
    }
    // Without Caddy there is still a page.
    drop(running);
    let (head, body) = get(port, "shop.test");
    is_maintenance(&head);
    assert_eq!(body, default);
    // And with it the app's own again, without a reload of anything.
    let _caddy = place.caddy(&caddy);
    let started = Instant::now();
    while get(port, "shop.test").1 != PAGE {
        assert!(started.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn the_flip_is_a_change_of_the_map() {
    let (caddy, haproxy) = (binary("caddy"), binary("haproxy"));
    let place = Place::new();
    let _caddy = place.caddy(&caddy);
    let _haproxy = place.haproxy(&haproxy);
    let status = || get(place.settings.http_port, "any.wide.test").0;
    place.flip("shop.test", "node1");
    let served = get(place.settings.http_port, "shop.test").0;
    assert!(served.starts_with("http/1.1 308"), "{served}");
    is_maintenance(&status());
    place.flip("shop.test", "page");
    assert_eq!(get(place.settings.http_port, "shop.test").1, PAGE);
    place.flip("shop.test", "maint");
    assert_eq!(get(place.settings.http_port, "shop.test").1, the_default());
}

#[tokio::test]
async fn a_page_of_an_apps_own_comes_with_the_hosts_certificate() {
    let (caddy, haproxy) = (binary("caddy"), binary("haproxy"));
    let place = Place::new();
    let _caddy = place.caddy(&caddy);
    let _haproxy = place.haproxy(&haproxy);
    let default = the_default();
    let at = SocketAddr::from(([127, 0, 0, 1], place.settings.https_port));
    let root = place.dir.path().join("caddy/.local/share/caddy/pki/authorities/local/root.crt");
    for (host, expected) in [
        ("shop.test", PAGE),
        ("any.wide.test", PAGE),
        ("blog.test", "the blog's \\} page"),
        ("plain.test", default.as_str()),
        ("below.wide.test", default.as_str()),
    ] {
        let started = Instant::now();
        let answer = loop {
            match ask_by_tls(&root, host, at).await {
                Ok(answer) => break answer,
                // Caddy issues certificates in the background when it starts.
                Err(error) => assert!(started.elapsed() < PATIENCE, "{host}: {error:?}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        assert_eq!(answer.status(), 503, "{host}");
        assert_eq!(answer.headers()["retry-after"], "120");
        assert_eq!(answer.headers()["cache-control"], "no-store");
        assert_eq!(answer.headers()["content-type"], "text/html; charset=utf-8");
        assert_eq!(answer.text().await.unwrap(), expected, "{} {host}", caddy.display());
    }
}

/// A request that trusts Caddy's own authority and nobody else, so that the certificate has to be the host's.
async fn ask_by_tls(
    root: &Path,
    host: &str,
    at: SocketAddr,
) -> Result<reqwest::Response, Box<dyn std::error::Error>> {
    let authority = reqwest::Certificate::from_pem(&fs::read(root)?)?;
    let client = reqwest::Client::builder()
        .tls_built_in_root_certs(false)
        .add_root_certificate(authority)
        .no_proxy()
        .resolve(host, at)
        .timeout(PATIENCE)
        .build()?;
    let url = format!("https://{host}:{}/", at.port());
    Ok(client.get(url).header("X", "expanded").send().await?)
}
