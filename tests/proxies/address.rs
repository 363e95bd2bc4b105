//! The client's address, through two real HAProxys and a real Caddy to an app, and what a client may say of itself.
//!
//! Each node has an address of its own on this machine, which its HAProxy listens at and connects from.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde_json::json;
use tandem::model::NodeName;
use tandem::proxy::caddy::{AppRoutes, CaddyConfig, whole};
use tandem::proxy::control::{
    CheckRunner, ContainerFacts, Effect, ExecOutput, LocalControl, ProxyControl as _,
};
use tandem::proxy::render::{Rendered, Templates, render};
use tandem::proxy::{ClusterView, Issuer, ProxySettings};
use tokio::net::TcpSocket;

use super::maintenance::{Running, adapt, free_ports};
use super::{binaries, echo};

const PATIENCE: Duration = Duration::from_secs(30);
/// The app's master, the node where clients come in, and they.
const MASTER: [u8; 4] = [127, 0, 0, 11];
const EDGE: [u8; 4] = [127, 0, 0, 13];
const CLIENT: [u8; 4] = [127, 0, 0, 5];
/// What a client would rather be.
const FORGED: &str = "6.6.6.6";
const APP: &str = "shop_main.12345";

/// A node's files and processes.
struct Node {
    dir: tempfile::TempDir,
    ip: Ipv4Addr,
    settings: ProxySettings,
    caddy: PathBuf,
}

/// The ports that all nodes have in common.
fn shared() -> ProxySettings {
    let [http, https, peer_http, peer_https, door, proxy_door] = free_ports();
    ProxySettings {
        http_port: http,
        https_port: https,
        peer_http_port: peer_http,
        peer_https_port: peer_https,
        front_door_port: door,
        front_door_proxy_port: proxy_door,
        caddy_host: "127.0.0.1".to_owned(),
        swarm_host: "127.0.0.1".to_owned(),
        resolver: "127.0.0.1:9".to_owned(),
        issuer: Issuer::Internal,
        max_connections: 50,
        ..ProxySettings::default()
    }
}

impl Node {
    /// A node whose agent has asked its Caddy what it can do.
    async fn new(ip: [u8; 4], shared: &ProxySettings, caddy: &Path) -> Self {
        let (dir, ip) = (tempfile::tempdir().unwrap(), Ipv4Addr::from(ip));
        let [caddy_http, caddy_https, tls, plain] = free_ports();
        let mut settings = ProxySettings {
            data_dir: dir.path().to_owned(),
            run_dir: dir.path().join("run"),
            caddy_http_port: caddy_http,
            caddy_https_port: caddy_https,
            caddy_maintenance_port: tls,
            caddy_maintenance_http_port: plain,
            haproxy_host: ip.to_string(),
            ..shared.clone()
        };
        for sub in ["haproxy", "caddy/held", "check", "run/haproxy", "run/caddy"] {
            fs::create_dir_all(dir.path().join(sub)).unwrap();
        }
        let runner = Runner(caddy.to_owned());
        let control = LocalControl::new(settings.clone(), Arc::new(runner));
        settings.caddy_abilities = control.caddy_abilities().await.unwrap();
        settings.sends_proxy = settings.caddy_abilities.is_current();
        assert_eq!(settings.sends_proxy, !caddy.ends_with("caddy-2.6"), "{}", caddy.display());
        Self { dir, ip, settings, caddy: caddy.to_owned() }
    }

    fn rendered(&self, me: &str, master: &str, upstream: u16) -> Rendered {
        let templates = Templates::built_in().unwrap();
        let view = view(me, master, upstream);
        let rendered = render(&view, &self.settings, &templates, &BTreeMap::new()).unwrap();
        assert!(rendered.problems.is_empty(), "{:?}", rendered.problems);
        rendered
    }

    /// What its Caddy is given for an app at a port of this machine.
    fn config(&self, rendered: &Rendered, settings: &ProxySettings) -> CaddyConfig {
        let apps = rendered.caddy_sites.iter().map(|(name, sites)| {
            let adapted = adapt(&self.caddy, &sites.text, self.dir.path());
            (name.clone(), (sites.clone(), Arc::new(AppRoutes::take(&adapted, sites).unwrap())))
        });
        whole(settings, &apps.collect(), &rendered.pages)
    }

    fn caddy(&self, rendered: &Rendered) -> Running {
        let file = self.settings.caddy_file();
        fs::write(&file, self.config(rendered, &self.settings).text()).unwrap();
        let args = ["run", "--config", file.to_str().unwrap()];
        let running = Running::start(&self.caddy, &args, &self.dir.path().join("caddy"));
        self.wait_for(Ipv4Addr::LOCALHOST, self.settings.caddy_https_port, "caddy");
        running
    }

    /// HAProxy at the node's own address: it listens there, and connects from there.
    fn haproxy(&self, binary: &Path, rendered: &Rendered) -> Running {
        let data = self.settings.haproxy_dir();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("haproxy");
        for name in ["hold.lua", "maintenance.html"] {
            fs::copy(root.join(name), data.join(name)).unwrap();
        }
        for (name, text) in &rendered.maps {
            fs::write(data.join(name), text).unwrap();
        }
        let text = rendered.haproxy_cfg.replace("bind *:", &format!("bind {}:", self.ip));
        let text = text.replacen("defaults\n", &format!("defaults\n    source {}\n", self.ip), 1);
        let file = data.join("haproxy.cfg");
        fs::write(&file, text).unwrap();
        let running = Running::start(binary, &["-db", "-f", file.to_str().unwrap()], &data);
        self.wait_for(self.ip, self.settings.http_port, "haproxy");
        running
    }

    /// Changes where the app's host leads, as the agent does it.
    fn flip(&self, map: &str, to: &str) {
        let mut socket = UnixStream::connect(self.settings.runtime_socket()).unwrap();
        let map = self.settings.haproxy_dir().join(map);
        writeln!(socket, "set map {} shop.test {to}", map.display()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert_eq!(answer.trim(), "");
    }

    fn wait_for(&self, ip: Ipv4Addr, port: u16, of: &str) {
        let started = Instant::now();
        while std::net::TcpStream::connect((ip, port)).is_err() {
            assert!(started.elapsed() < PATIENCE, "{of}: {}", self.log(of));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn log(&self, of: &str) -> String {
        fs::read_to_string(self.dir.path().join(of).join("log")).unwrap_or_default()
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("caddy/.local/share/caddy/pki/authorities/local/root.crt")
    }
}

/// One app, by HTTP and by TLS, with a port of this machine as its container.
fn view(me: &str, master: &str, upstream: u16) -> ClusterView {
    let upstream = format!("127.0.0.1:{upstream}");
    let sites = ["http", "https"]
        .map(|scheme| format!("{scheme}://shop.test {{\n reverse_proxy http://{upstream}\n}}\n"));
    let record = json!({
        "repo_url": "https://git.test/shop", "branch": "main", "deploy_id": "1", "master": master,
        "ip": "127.0.0.1", "caddyfile": sites.concat(), "ct": {},
    });
    let policy = json!({"repo": "https://git.test/shop", "upstreams": [upstream]});
    let entries = [(format!("app/{APP}"), record), ("tandem/policy/shop".to_owned(), policy)]
        .map(|(key, value)| (key, value.to_string().into_bytes()));
    let entries = entries.iter().map(|(key, value)| (key.as_str(), value.as_slice()));
    let node = |name: &str| NodeName::parse(name).unwrap();
    let nodes = [("node1", MASTER), ("node3", EDGE)];
    let nodes = nodes.map(|(name, ip)| (node(name), Ipv4Addr::from(ip).to_string()));
    let (view, problems) = ClusterView::from_entries(node(me), nodes.into(), entries);
    assert!(problems.is_empty(), "{problems:?}");
    view
}

/// The check container, and what Docker says of the others.
struct Runner(PathBuf);

#[async_trait]
impl CheckRunner for Runner {
    async fn exec(&self, _: &str, argv: &[String], _: Duration) -> Result<ExecOutput, String> {
        let caddy = self.0.display().to_string();
        let words = argv.iter().map(|word| if word == "caddy" { &caddy } else { word });
        let words: Vec<_> = words.collect();
        let output = std::process::Command::new(words[0]).args(&words[1..]).output();
        let output = output.map_err(|error| error.to_string())?;
        let code = output.status.code().unwrap_or(-1).into();
        Ok(ExecOutput { code, stdout: output.stdout, stderr: output.stderr })
    }

    async fn look(&self, container: &str) -> Result<Option<ContainerFacts>, String> {
        let addresses = match container {
            "tandem-caddy-check" => Default::default(),
            // The other two are named by their addresses here.
            _ => container.parse().into_iter().collect(),
        };
        Ok(Some(ContainerFacts { image: "the same".to_owned(), addresses }))
    }
}

/// What the app is told, in lower case, after a request from an address; tried again until it answers.
async fn told(from: [u8; 4], scheme: &str, at: SocketAddr, root: &Path) -> String {
    let started = Instant::now();
    loop {
        match ask(from, scheme, at, root).await {
            Ok(answer) => return answer.to_lowercase(),
            Err(error) => assert!(started.elapsed() < PATIENCE, "{scheme}: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn ask(from: [u8; 4], scheme: &str, at: SocketAddr, root: &Path) -> Result<String, String> {
    let client = client(from, at, root).map_err(|error| format!("{error:?}"))?;
    let request = client.get(format!("{scheme}://shop.test:{}/", at.port()));
    let request = ["X-Forwarded-For", "X-Real-IP", "Forwarded"]
        .into_iter()
        .fold(request, |request, name| request.header(name, FORGED));
    let answer = request.send().await.map_err(|error| format!("{error:?}"))?;
    match answer.status().as_u16() {
        200 => answer.text().await.map_err(|error| format!("{error:?}")),
        status => Err(format!("status {status}")),
    }
}

fn client(
    from: [u8; 4],
    at: SocketAddr,
    root: &Path,
) -> Result<reqwest::Client, Box<dyn std::error::Error>> {
    let authority = reqwest::Certificate::from_pem(&fs::read(root)?)?;
    Ok(reqwest::Client::builder()
        .tls_built_in_root_certs(false)
        .add_root_certificate(authority)
        .no_proxy()
        .local_address(IpAddr::from(from))
        .resolve("shop.test", at)
        .timeout(PATIENCE)
        .build()?)
}

/// The values of a header that the app got.
fn header<'a>(told: &'a str, name: &str) -> Vec<&'a str> {
    let lines = told.lines().filter_map(|line| line.split_once(": "));
    lines.filter(|(known, _)| *known == name).map(|(_, value)| value.trim_end()).collect()
}

/// All that comes back when bytes are sent from an address; an end of the connection is an answer, too.
async fn raw(from: [u8; 4], at: SocketAddr, text: &str) -> String {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    // Whoever is not wanted may be told so before the connection is taken for made.
    let Ok(stream) = socket.connect(at).await else { return String::new() };
    let stream = stream.into_std().unwrap();
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let (mut stream, mut answer) = (stream, Vec::new());
    let _ = stream.write_all(text.as_bytes());
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).to_lowercase()
}

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n";

/// Every Caddy with every HAProxy.
fn generations() -> Vec<(PathBuf, PathBuf)> {
    let haproxys = binaries("haproxy");
    let pair = |caddy: PathBuf| haproxys.iter().map(move |it| (caddy.clone(), it.clone()));
    binaries("caddy").into_iter().flat_map(pair).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_app_is_told_who_its_client_is_through_two_nodes() {
    let upstream = echo::start();
    for (caddy, haproxy) in generations() {
        let shared = shared();
        let master = Node::new(MASTER, &shared, &caddy).await;
        let edge = Node::new(EDGE, &shared, &caddy).await;
        let on_master = master.rendered("node1", "node1", upstream);
        let _caddy = master.caddy(&on_master);
        let _master = master.haproxy(&haproxy, &on_master);
        let _edge = edge.haproxy(&haproxy, &edge.rendered("node3", "node1", upstream));
        let at = |ip: [u8; 4], port| SocketAddr::from((ip, port));
        let (client, of_haproxy) = ("127.0.0.5", "127.0.0.11");
        let is_current = master.settings.sends_proxy;
        for (scheme, port) in [("http", shared.http_port), ("https", shared.https_port)] {
            for node in [EDGE, MASTER] {
                let told = told(CLIENT, scheme, at(node, port), &master.root()).await;
                let names = ["x-forwarded-for", "x-real-ip"];
                let addresses = names.map(|name| header(&told, name).join(";"));
                let expected = match (is_current, scheme) {
                    (true, _) => [client.to_owned(), client.to_owned()],
                    // The way that the request came, from the client on.
                    (false, "http") => [format!("{client}, {of_haproxy}"), client.to_owned()],
                    (false, _) => [of_haproxy.to_owned(), of_haproxy.to_owned()],
                };
                let of = (&caddy, &haproxy, scheme, node);
                assert_eq!(addresses, expected, "{of:?}");
            }
        }
        let log = master.log("caddy");
        let logged = log.matches("\"remote_ip\":\"127.0.0.5\"").count();
        assert_eq!(logged, if is_current { 4 } else { 0 }, "{}", caddy.display());
        forged_headers_count_for_nothing(&master, is_current).await;
        // The pages that Caddy has are reached in the same way.
        for (map, to, scheme, port) in [
            ("http.map", "page", "http", shared.http_port),
            ("https.map", "maint", "https", shared.https_port),
        ] {
            master.flip(map, to);
            let answer = ask(CLIENT, scheme, at(MASTER, port), &master.root()).await;
            assert_eq!(answer, Err("status 503".to_owned()), "{} {scheme}", caddy.display());
        }
    }
}

/// The PROXY protocol from whoever is not one of the nodes' HAProxys.
async fn forged_headers_count_for_nothing(node: &Node, is_current: bool) {
    let settings = &node.settings;
    let text = format!("PROXY TCP4 {FORGED} 127.0.0.1 1 2\r\n{REQUEST}");
    let at = |ip: Ipv4Addr, port| SocketAddr::from((ip, port));
    let edge = raw(CLIENT, at(node.ip, settings.http_port), &text).await;
    assert!(edge.starts_with("http/1.1 400") && !edge.contains(FORGED), "{edge}");
    for port in [settings.peer_http_port, settings.front_door_proxy_port] {
        let answer = raw(CLIENT, at(node.ip, port), &text).await;
        assert_eq!(answer, "", "only for nodes, and for Caddy");
    }
    // An app's container reaches Caddy itself: it is served, as who it is.
    let container = [127, 0, 0, 66];
    let caddy = at(Ipv4Addr::LOCALHOST, settings.caddy_http_port);
    let answer = raw(container, caddy, &text).await;
    assert!(!answer.contains(FORGED), "{answer}");
    match is_current {
        true => assert_eq!(header(&answer, "x-forwarded-for"), ["127.0.0.66"]),
        false => assert!(answer.starts_with("http/1.1 400"), "{answer}"),
    }
    // HAProxy without the header, as before it was told to send it.
    let [a, b, c, d] = node.ip.octets();
    let plain = raw([a, b, c, d], caddy, REQUEST).await;
    assert!(plain.starts_with("http/1.1 200"), "{plain}");
}

/// A connection from before: the app has left the node where the client's connection ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_caddy_sends_once_more_is_still_its_clients() {
    let upstream = echo::start();
    let [nobody] = free_ports();
    for (caddy, haproxy) in generations() {
        let shared = shared();
        let former = Node::new(MASTER, &shared, &caddy).await;
        let next = Node::new(EDGE, &shared, &caddy).await;
        let on_next = next.rendered("node3", "node3", upstream);
        let _next = (next.caddy(&on_next), next.haproxy(&haproxy, &on_next));
        let left = former.rendered("node1", "node1", nobody);
        fs::write(former.settings.held_dir().join(APP), "").unwrap();
        let _caddy = former.caddy(&left);
        let _haproxy = former.haproxy(&haproxy, &former.rendered("node1", "node3", upstream));
        // As HAProxy would have led it there, before.
        let direct = SocketAddr::from((Ipv4Addr::LOCALHOST, former.settings.caddy_https_port));
        let told = told(CLIENT, "https", direct, &former.root()).await;
        let addresses = header(&told, "x-forwarded-for").join(";");
        match former.settings.sends_proxy {
            true => assert_eq!(addresses, "127.0.0.5", "{}", caddy.display()),
            false => assert_eq!(addresses, "127.0.0.13", "{}", caddy.display()),
        }
        assert_eq!(header(&told, "x-tandem-again"), ["1"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_lives_on_over_a_load_where_caddy_can_do_it() {
    let upstream = echo::start();
    for (caddy, haproxy) in generations() {
        let shared = shared();
        let node = Node::new(MASTER, &shared, &caddy).await;
        let rendered = node.rendered("node1", "node1", upstream);
        let (_caddy, _haproxy) = (node.caddy(&rendered), node.haproxy(&haproxy, &rendered));
        let mut stream = std::net::TcpStream::connect((node.ip, shared.http_port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = "GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.extend(byte);
        }
        assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
        let is_open = |stream: &mut std::net::TcpStream| {
            let mut echoed = [0; 4];
            let sent = stream.write_all(b"ping");
            sent.and_then(|()| stream.read_exact(&mut echoed)).is_ok() && &echoed == b"ping"
        };
        assert!(is_open(&mut stream));
        let mut changed = node.settings.clone();
        (changed.front_door_port, changed.front_door_proxy_port) = (1, 1);
        let changed = node.config(&rendered, &changed);
        let runner = Runner(caddy.clone());
        let control = LocalControl::new(node.settings.clone(), Arc::new(runner));
        assert_eq!(control.load_caddy(&changed).await.unwrap(), Effect::Changed(1));
        if node.settings.sends_proxy {
            assert!(is_open(&mut stream), "{}", caddy.display());
            continue;
        }
        let started = Instant::now();
        while is_open(&mut stream) {
            assert!(started.elapsed() < PATIENCE, "{}", caddy.display());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
