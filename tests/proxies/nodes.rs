//! Nodes on one machine, each with a real HAProxy and a real Caddy at an address of its own, and one app's clients.

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
use tandem::proxy::control::{CheckRunner, ContainerFacts, ExecOutput};
use tandem::proxy::render::{Rendered, Templates, render};
use tandem::proxy::{ClusterView, Issuer, ProxySettings};

use super::maintenance::{Running, adapt, free_ports};

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// The app's master, the node where clients come in, and they.
pub(crate) const MASTER: [u8; 4] = [127, 0, 0, 11];
pub(crate) const EDGE: [u8; 4] = [127, 0, 0, 13];
pub(crate) const CLIENT: [u8; 4] = [127, 0, 0, 5];
/// What a client would rather be.
pub(crate) const FORGED: &str = "6.6.6.6";
pub(crate) const APP: &str = "shop_main.12345";

/// A node's files and processes.
pub(crate) struct Node {
    dir: tempfile::TempDir,
    pub(crate) ip: Ipv4Addr,
    pub(crate) settings: ProxySettings,
    caddy: PathBuf,
}

/// The ports that all nodes have in common.
pub(crate) fn shared() -> ProxySettings {
    let [http, https, peer_http, peer_https, door] = free_ports();
    ProxySettings {
        http_port: http,
        https_port: https,
        peer_http_port: peer_http,
        peer_https_port: peer_https,
        front_door_port: door,
        caddy_address: Ipv4Addr::LOCALHOST,
        swarm_host: "127.0.0.1".to_owned(),
        resolver: "127.0.0.1:9".to_owned(),
        issuer: Issuer::Internal,
        max_connections: 50,
        ..ProxySettings::default()
    }
}

impl Node {
    pub(crate) fn new(ip: [u8; 4], shared: &ProxySettings, caddy: &Path) -> Self {
        let (dir, ip) = (tempfile::tempdir().unwrap(), Ipv4Addr::from(ip));
        let [caddy_http, caddy_https, tls, plain] = free_ports();
        let settings = ProxySettings {
            data_dir: dir.path().to_owned(),
            run_dir: dir.path().join("run"),
            caddy_http_port: caddy_http,
            caddy_https_port: caddy_https,
            caddy_maintenance_port: tls,
            caddy_maintenance_http_port: plain,
            haproxy_address: ip,
            ..shared.clone()
        };
        for sub in ["haproxy", "caddy/held", "check", "run/haproxy", "run/caddy"] {
            fs::create_dir_all(dir.path().join(sub)).unwrap();
        }
        Self { dir, ip, settings, caddy: caddy.to_owned() }
    }

    pub(crate) fn rendered(&self, me: &str, master: &str, upstream: u16) -> Rendered {
        let templates = Templates::built_in().unwrap();
        let view = view(me, master, upstream);
        let rendered = render(&view, &self.settings, &templates, &BTreeMap::new()).unwrap();
        assert!(rendered.problems.is_empty(), "{:?}", rendered.problems);
        rendered
    }

    /// What its Caddy is given for an app at a port of this machine.
    pub(crate) fn config(&self, rendered: &Rendered, settings: &ProxySettings) -> CaddyConfig {
        let apps = rendered.caddy_sites.iter().map(|(name, sites)| {
            let adapted = adapt(&self.caddy, &sites.text, self.dir.path());
            (name.clone(), (sites.clone(), Arc::new(AppRoutes::take(&adapted, sites).unwrap())))
        });
        whole(settings, &apps.collect(), &rendered.pages)
    }

    pub(crate) fn caddy(&self, rendered: &Rendered) -> Running {
        let file = self.settings.caddy_file();
        fs::write(&file, self.config(rendered, &self.settings).text()).unwrap();
        let args = ["run", "--config", file.to_str().unwrap()];
        let running = Running::start(&self.caddy, &args, &self.dir.path().join("caddy"));
        self.wait_for(Ipv4Addr::LOCALHOST, self.settings.caddy_https_port, "caddy");
        running
    }

    /// HAProxy at the node's own address: it listens there, and connects from there.
    pub(crate) fn haproxy(&self, binary: &Path, rendered: &Rendered) -> Running {
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
    pub(crate) fn flip(&self, map: &str, to: &str) {
        let mut socket = UnixStream::connect(self.settings.runtime_socket()).unwrap();
        let map = self.settings.haproxy_dir().join(map);
        writeln!(socket, "set map {} shop.test {to}", map.display()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert_eq!(answer.trim(), "");
    }

    pub(crate) fn wait_for(&self, ip: Ipv4Addr, port: u16, of: &str) {
        let started = Instant::now();
        while std::net::TcpStream::connect((ip, port)).is_err() {
            assert!(started.elapsed() < PATIENCE, "{of}: {}", self.log(of));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn log(&self, of: &str) -> String {
        fs::read_to_string(self.dir.path().join(of).join("log")).unwrap_or_default()
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("caddy/.local/share/caddy/pki/authorities/local/root.crt")
    }
}

/// One app, by HTTP and by TLS, with a port of this machine as its container.
pub(crate) fn view(me: &str, master: &str, upstream: u16) -> ClusterView {
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

/// The check container.
pub(crate) struct Runner(pub(crate) PathBuf);

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

    async fn look(&self, _: &str) -> Result<Option<ContainerFacts>, String> {
        Ok(None)
    }
}

/// What the app is told, in lower case, after a request from an address; tried again until it answers.
pub(crate) async fn told(
    from: impl Into<IpAddr>,
    scheme: &str,
    at: SocketAddr,
    root: &Path,
) -> String {
    let from = from.into();
    let started = Instant::now();
    loop {
        match ask(from, scheme, at, root).await {
            Ok(answer) => return answer.to_lowercase(),
            Err(error) => assert!(started.elapsed() < PATIENCE, "{scheme}: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

pub(crate) async fn ask(
    from: impl Into<IpAddr>,
    scheme: &str,
    at: SocketAddr,
    root: &Path,
) -> Result<String, String> {
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

pub(crate) fn client(
    from: impl Into<IpAddr>,
    at: SocketAddr,
    root: &Path,
) -> Result<reqwest::Client, Box<dyn std::error::Error>> {
    let authority = reqwest::Certificate::from_pem(&fs::read(root)?)?;
    Ok(reqwest::Client::builder()
        .tls_built_in_root_certs(false)
        .add_root_certificate(authority)
        .no_proxy()
        .local_address(from.into())
        .resolve("shop.test", at)
        .timeout(PATIENCE)
        .build()?)
}

/// The values of a header that the app got.
pub(crate) fn header<'a>(told: &'a str, name: &str) -> Vec<&'a str> {
    let lines = told.lines().filter_map(|line| line.split_once(": "));
    lines.filter(|(known, _)| *known == name).map(|(_, value)| value.trim_end()).collect()
}
