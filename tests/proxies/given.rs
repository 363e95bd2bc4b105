//! Certificates that an admin gives hosts by a policy, from the admin's files through the agent's code and a real Caddy
//! to a client: shown for these hosts and no others, renewed without an outage, kept when the files are wrong.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde_json::{Value, json};
use tandem::model::NodeName;
use tandem::proxy::control::{CheckRunner, ContainerFacts, ExecOutput, LocalControl};
use tandem::proxy::{ClusterView, Issuer, Problem, Proxies, ProxySettings};
use x509_cert::der::pem::decode_vec;

use super::binary;

const PATIENCE: Duration = Duration::from_secs(60);

/// Made by `openssl req -x509`, for `shop.test` and `*.shop.test`: one on P-256, one with RSA.
const FIRST: [&str; 2] = [include_str!("testdata/first.crt"), include_str!("testdata/first.key")];
const RENEWED: [&str; 2] =
    [include_str!("testdata/renewed.crt"), include_str!("testdata/renewed.key")];

#[tokio::test(flavor = "multi_thread")]
async fn caddy_shows_an_admins_certificate_for_the_hosts_that_have_it() {
    let binary = binary("caddy");
    let mut node = Node::new(&binary);
    node.admin_puts(FIRST);
    let caddy = node.start().await;
    assert_eq!(node.apply().await, "");
    node.shows("shop.test", FIRST).await;
    // By the certificate's wildcard.
    node.shows("www.shop.test", FIRST).await;
    // Another app's, though the wildcard covers it too.
    node.shows_its_own("other.shop.test").await;
    node.admin_puts([RENEWED[0], FIRST[1]]);
    let problem = node.apply().await;
    assert!(problem.contains("another certificate; the one from before stays"), "{problem}");
    node.shows("shop.test", FIRST).await;
    node.admin_puts(RENEWED);
    assert_eq!(node.apply().await, "");
    node.shows("shop.test", RENEWED).await;
    node.shows("www.shop.test", RENEWED).await;
    node.shows_its_own("other.shop.test").await;
    node.keys_are_in_no_configuration();
    // A Caddy that starts anew has it before the agent says anything, also without the admin's files.
    drop(caddy);
    fs::remove_dir_all(&node.settings.certificate_dir).unwrap();
    let _caddy = node.start().await;
    node.shows("shop.test", RENEWED).await;
    let problem = node.apply().await;
    assert!(problem.contains("shop.crt does not exist; the one from before stays"), "{problem}");
    node.shows("shop.test", RENEWED).await;
    node.policy = json!({"repo": "https://git.test/shop"});
    assert_eq!(node.apply().await, "");
    node.shows_its_own("shop.test").await;
    let copies = fs::read_dir(node.settings.data_dir.join("caddy/given")).unwrap();
    assert_eq!(copies.count(), 0, "the key stays where nobody needs it");
}

/// A node's Caddy and the agent's part that looks after it.
struct Node {
    _dir: tempfile::TempDir,
    binary: PathBuf,
    settings: ProxySettings,
    proxies: Proxies,
    policy: Value,
}

impl Node {
    fn new(binary: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let [http, https, tls, plain] = free_ports();
        let settings = ProxySettings {
            data_dir: dir.path().join("data"),
            run_dir: dir.path().join("run"),
            certificate_dir: dir.path().join("admin"),
            caddy_http_port: http,
            caddy_https_port: https,
            caddy_maintenance_port: tls,
            caddy_maintenance_http_port: plain,
            issuer: Issuer::Internal,
            ..ProxySettings::default()
        };
        for dir in [settings.run_dir.join("caddy"), settings.certificate_dir.clone()] {
            fs::create_dir_all(dir).unwrap();
        }
        let control = LocalControl::new(settings.clone(), Arc::new(Checks(binary.to_owned())));
        let proxies = Proxies::new(settings.clone(), Arc::new(control)).unwrap();
        let policy = json!({"repo": "https://git.test/shop",
            "certificates": {"shop": ["shop.test", "www.shop.test"]}});
        Self { _dir: dir, binary: binary.to_owned(), settings, proxies, policy }
    }

    fn admin_puts(&self, texts: [&str; 2]) {
        for (ending, text) in ["crt", "key"].into_iter().zip(texts) {
            let path = self.settings.certificate_dir.join(format!("shop.{ending}"));
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        }
    }

    /// Starts Caddy as the stack does, with the file that the agent wrote.
    async fn start(&self) -> Running {
        self.proxies.bootstrap(&NodeName::parse("node1").unwrap()).await.unwrap();
        let home = self.settings.data_dir.join("caddy-data");
        fs::create_dir_all(&home).unwrap();
        let log = self.settings.data_dir.join("log");
        let child = Command::new(&self.binary)
            .args(["run", "--config"])
            .arg(self.settings.caddy_file())
            .env_clear()
            .envs(["HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"].map(|name| (name, &home)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut running = Running(child);
        let started = Instant::now();
        while UnixStream::connect(self.settings.caddy_socket()).is_err() {
            let ended = running.0.try_wait().unwrap();
            let said = || fs::read_to_string(&log).unwrap_or_default();
            assert!(ended.is_none() && started.elapsed() < PATIENCE, "{}", said());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        running
    }

    /// What the agent does after each change, and every half minute; what it says of it.
    async fn apply(&mut self) -> String {
        let app = |repo: &str, sites: &str| {
            json!({"repo_url": format!("https://git.test/{repo}"), "branch": "main", "deploy_id": "1",
                "master": "node1", "ip": "127.0.0.1", "caddyfile": sites, "ct": {}})
        };
        let shop = "https://shop.test, https://www.shop.test {\n respond here\n}";
        let entries = BTreeMap::from([
            ("app/shop_main.11111", app("shop", shop)),
            ("app/other_main.22222", app("other", "https://other.shop.test {\n respond there\n}")),
            ("tandem/policy/shop", self.policy.clone()),
        ]);
        let entries: Vec<_> =
            entries.iter().map(|(key, value)| (*key, value.to_string().into_bytes())).collect();
        let entries = entries.iter().map(|(key, value)| (*key, value.as_slice()));
        let me = NodeName::parse("node1").unwrap();
        let nodes = BTreeMap::from([(me.clone(), "127.0.0.1".to_owned())]);
        let (view, unreadable) = ClusterView::from_entries(me, nodes, entries);
        assert!(unreadable.is_empty(), "{unreadable:?}");
        let applied = self.proxies.apply(&view).await.unwrap();
        assert!(!applied.caddy_is_down && applied.unchecked.is_empty(), "{applied:?}");
        applied.problems.iter().map(|Problem { what, .. }| what.as_str()).collect()
    }

    /// The certificate of a host, at the port for sites and at the one for maintenance.
    async fn shows(&self, host: &str, texts: [&str; 2]) {
        let expected = decode_vec(texts[0].as_bytes()).unwrap().1;
        for port in [self.settings.caddy_https_port, self.settings.caddy_maintenance_port] {
            self.until(host, port, |shown| *shown == expected).await;
        }
    }

    /// One that Caddy itself has issued for just that host.
    async fn shows_its_own(&self, host: &str) {
        let given = [FIRST, RENEWED].map(|texts| decode_vec(texts[0].as_bytes()).unwrap().1);
        let is_own = |shown: &Vec<u8>| {
            let names = shown.windows(host.len()).any(|part| part == host.as_bytes());
            names && !given.contains(shown)
        };
        self.until(host, self.settings.caddy_https_port, is_own).await;
    }

    async fn until(&self, host: &str, port: u16, is_right: impl Fn(&Vec<u8>) -> bool) {
        let started = Instant::now();
        loop {
            let shown = shown(host, port).await;
            if shown.as_ref().is_ok_and(&is_right) {
                return;
            }
            let shown = shown.map(|shown| String::from_utf8_lossy(&shown).into_owned());
            let (binary, log) = (self.binary.display(), self.settings.data_dir.join("log"));
            let log = || fs::read_to_string(&log).unwrap_or_default();
            assert!(started.elapsed() < PATIENCE, "{binary} {host} {port}: {shown:?}\n{}", log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn keys_are_in_no_configuration(&self) {
        let text = fs::read_to_string(self.settings.caddy_file()).unwrap();
        assert!(text.contains("caddy/given/shop-") && !text.contains("PRIVATE"), "{text}");
        for texts in [FIRST, RENEWED] {
            let line = texts[1].lines().nth(1).unwrap();
            assert!(!text.contains(line));
        }
    }
}

/// A Caddy that ends when this is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Caddy's checks by the binary itself; HAProxy has no part in this.
struct Checks(PathBuf);

#[async_trait]
impl CheckRunner for Checks {
    async fn exec(&self, _: &str, argv: &[String], _: Duration) -> Result<ExecOutput, String> {
        if !argv.iter().any(|word| word == "caddy") {
            return Ok(ExecOutput { code: 0, stdout: Vec::new(), stderr: Vec::new() });
        }
        let word = |word: &String| match word.as_str() {
            "caddy" => self.0.display().to_string(),
            word => word.to_owned(),
        };
        let argv: Vec<_> = argv.iter().map(word).collect();
        let output = Command::new(&argv[0]).args(&argv[1..]).output();
        let output = output.map_err(|error| error.to_string())?;
        let code = i64::from(output.status.code().unwrap_or(137));
        Ok(ExecOutput { code, stdout: output.stdout, stderr: output.stderr })
    }

    /// Only of what adapts texts it is known which one it is.
    async fn look(&self, container: &str) -> Result<Option<ContainerFacts>, String> {
        let image = self.0.display().to_string();
        let facts = ContainerFacts { image, ..ContainerFacts::default() };
        Ok(container.ends_with("caddy-check").then_some(facts))
    }
}

/// What a client is shown that asks for a host.
async fn shown(host: &str, port: u16) -> Result<Vec<u8>, String> {
    let client = reqwest::Client::builder()
        .danger_accept_invalid_certs(true)
        .resolve(host, SocketAddr::from(([127, 0, 0, 1], port)))
        .tls_info(true)
        .no_proxy()
        .build()
        .map_err(|error| error.to_string())?;
    let answer = client.get(format!("https://{host}:{port}/")).send().await;
    let answer = answer.map_err(|error| format!("{error:?}"))?;
    let info = answer.extensions().get::<reqwest::tls::TlsInfo>();
    let leaf = info.and_then(reqwest::tls::TlsInfo::peer_certificate).ok_or("no certificate")?;
    Ok(leaf.to_vec())
}

fn free_ports<const N: usize>() -> [u16; N] {
    let all = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    all.map(|listener| listener.local_addr().unwrap().port())
}
