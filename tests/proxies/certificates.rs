//! An app that moves keeps its certificate: a Caddy is issued one by ACME, the agents' code takes it to the storage of
//! another, which serves it without asking the authority, and can renew it; and back.
//!
//! The authority is a Caddy too. It reaches the hosts that it certifies at port 80 or 443 of the address that `/etc/hosts`
//! says, so all of this runs in a network and with a `/etc/hosts` of its own (`unshare`, as root).

use std::collections::BTreeSet;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use serde_json::{Value, json};
use tandem::agent::{Certificates, Publisher};
use tandem::consul::kv::Kv;
use tandem::consul::memory::MemoryConsul;
use tandem::model::NodeName;
use tandem::proxy::certificates::{CertificateHost, CertificateSource, SharedKey, Storage};

use super::binary;

const PATIENCE: Duration = Duration::from_secs(60);
const AUTHORITY: &str = "https://ca.test/acme/local/directory";
const INSIDE: &str = "certificates::inside_a_network_of_its_own";

#[test]
fn certificates_move_with_their_app_and_are_issued_once() {
    let output = Command::new("unshare")
        .args(["--net", "--mount"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", INSIDE, "--ignored", "--nocapture"])
        .output()
        .unwrap();
    let said =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{}", said.concat());
    assert!(said[0].contains("1 passed"), "{}", said.concat());
}

/// Not alone: the test above starts it.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a network of its own"]
async fn inside_a_network_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let hosts = dir.path().join("hosts");
    fs::write(&hosts, "127.0.0.1 localhost app.test\n127.0.0.2 ca.test\n").unwrap();
    run("ip", &["link", "set", "lo", "up"]);
    run("mount", &["--bind", hosts.to_str().unwrap(), "/etc/hosts"]);
    let caddy = binary("caddy");
    let authority = Authority::start(&caddy, dir.path());
    authority.await_own_certificate().await;
    there_and_back(dir.path(), &caddy, &authority).await;
}

async fn there_and_back(dir: &Path, caddy: &Path, authority: &Authority) {
    let consul = MemoryConsul::new();
    let mut one = Node::new(dir, "node1", &consul);
    let mut two = Node::new(dir, "node2", &consul);
    let before = authority.issued();
    let serial = {
        let _caddy = one.serve(caddy, authority, None);
        let serial = served(authority, None).await;
        assert_eq!(one.publish().await, serial);
        serial
    };
    // node2 has never seen it: first it is the slave, whose Caddy shows a copy, then the app moves there.
    two.place().await;
    for ratio in [Some(0.01), None] {
        let _caddy = two.serve(caddy, authority, ratio);
        assert_eq!(served(authority, None).await, serial, "another certificate is served");
        assert_eq!(authority.issued() - before, 1, "the authority was asked again");
    }
    // Certificates tell their age in seconds.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    // The new master renews it, and the app moves back to where the former one lies.
    let renewed = {
        let _caddy = two.serve(caddy, authority, Some(0.999));
        let renewed = served(authority, Some(&serial)).await;
        assert_eq!(two.publish().await, renewed);
        renewed
    };
    assert_eq!(one.serial().await, serial);
    one.place().await;
    let _caddy = one.serve(caddy, authority, None);
    assert_eq!(served(authority, None).await, renewed);
    assert_eq!(authority.issued() - before, 2, "once, and renewed once");
    assert_eq!(one.problems() + &two.problems(), "");
}

/// A node's part in it: Caddy's storage and the agent's code.
struct Node {
    data: PathBuf,
    certificates: Arc<Certificates>,
    publisher: Publisher,
}

impl Node {
    fn new(dir: &Path, name: &str, consul: &MemoryConsul) -> Self {
        let data = dir.join(name);
        fs::create_dir_all(&data).unwrap();
        let me = NodeName::parse(name).unwrap();
        let kv: Arc<dyn Kv> = Arc::new(consul.client(&me));
        let key = SharedKey::parse(&"0f".repeat(32)).unwrap();
        let certificates = Arc::new(Certificates::new(kv, key, &data));
        let publisher = Publisher::new(certificates.clone(), me);
        Self { data, certificates, publisher }
    }

    /// A Caddy as the stack starts it, serving the app. With a ratio, what is left of a certificate's time for renewing.
    fn serve(&self, binary: &Path, authority: &Authority, renew: Option<f64>) -> Running {
        let issuer = json!({"module": "acme", "ca": AUTHORITY, "trusted_roots_pem_files": [authority.root()]});
        let mut policy = json!({"issuers": [issuer]});
        if let Some(ratio) = renew {
            policy["renewal_window_ratio"] = json!(ratio);
        }
        let handle = json!([{"handler": "static_response", "body": "here"}]);
        let server = json!({
            "listen": ["127.0.0.1:443"],
            "routes": [{"match": [{"host": ["app.test"]}], "handle": handle}],
            "automatic_https": {"disable_redirects": true},
            "tls_connection_policies": [{}],
            "protocols": ["h1", "h2"],
        });
        let config = json!({
            "admin": {"disabled": true},
            "apps": {
                "http": {"servers": {"https": server}},
                "tls": {"automation": {"policies": [policy]}},
                "pki": {"certificate_authorities": {"local": {"install_trust": false}}},
            },
        });
        Running::start(binary, &self.data, "caddy-data", &config, "127.0.0.1:443")
    }

    /// Publishes as the agent does, until there is something; returns the serial number of what this Caddy has.
    async fn publish(&mut self) -> String {
        let started = Instant::now();
        while Storage::new(&self.data).find(&host()).await.unwrap().newest.is_none() {
            assert!(
                started.elapsed() < PATIENCE,
                "Caddy's files are not where they are looked for"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.publisher.look(&BTreeSet::from([host()]), Utc::now()).await;
        self.serial().await
    }

    async fn place(&self) {
        assert!(self.certificates.place(&BTreeSet::from([host()])).await);
    }

    async fn serial(&self) -> String {
        let found = Storage::new(&self.data).find(&host()).await.unwrap();
        found.newest.unwrap().facts().serial.clone()
    }

    fn problems(&self) -> String {
        self.certificates.problems().into_iter().map(|problem| problem.what).collect()
    }
}

fn host() -> CertificateHost {
    CertificateHost::parse("app.test").unwrap()
}

/// A Caddy that issues certificates, and writes down who asked.
struct Authority {
    running: Running,
    dir: PathBuf,
}

impl Authority {
    fn start(binary: &Path, dir: &Path) -> Self {
        let handle = json!([{"handler": "acme_server", "ca": "local", "lifetime": "12h"}]);
        let server = json!({
            "listen": ["127.0.0.2:443"],
            "routes": [{"match": [{"host": ["ca.test"]}], "handle": handle}],
            "automatic_https": {"disable_redirects": true},
            "tls_connection_policies": [{}],
            "logs": {},
        });
        let policy = json!({"subjects": ["ca.test"], "issuers": [{"module": "internal"}]});
        let config = json!({
            "admin": {"disabled": true},
            "apps": {
                "http": {"http_port": 7080, "servers": {"ca": server}},
                "tls": {"automation": {"policies": [policy]}},
                "pki": {"certificate_authorities": {"local": {"install_trust": false}}},
            },
        });
        let dir = dir.join("authority");
        fs::create_dir(&dir).unwrap();
        let running = Running::start(binary, &dir, "data", &config, "127.0.0.2:443");
        Self { running, dir }
    }

    fn root(&self) -> PathBuf {
        self.dir.join("data/caddy/pki/authorities/local/root.crt")
    }

    /// Caddy listens before it has a certificate of its own; who is turned away by an authority asks again a minute later.
    async fn await_own_certificate(&self) {
        let started = Instant::now();
        loop {
            let answer = match client(self, "ca.test", [127, 0, 0, 2]) {
                Ok(client) => client.get(AUTHORITY).send().await.map_err(|error| error.to_string()),
                Err(error) => Err(error),
            };
            match answer {
                Ok(_) => return,
                Err(error) => assert!(started.elapsed() < PATIENCE, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// How many certificates it was made to issue, by its access log.
    fn issued(&self) -> usize {
        let log = self.running.log();
        let lines = log.lines().filter(|line| line.contains("/finalize\""));
        lines.filter(|line| line.contains("\"status\":200")).count()
    }
}

/// A Caddy that ends when this is dropped.
struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    fn start(binary: &Path, dir: &Path, data: &str, config: &Value, address: &str) -> Self {
        let (file, log) = (dir.join("caddy.json"), dir.join("log"));
        fs::write(&file, config.to_string()).unwrap();
        let data = dir.join(data);
        let mut child = Command::new(binary)
            .args(["run", "--config"])
            .arg(&file)
            .env_clear()
            .envs(["HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"].map(|name| (name, &data)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let started = Instant::now();
        while TcpStream::connect(address).is_err() {
            let ended = child.try_wait().unwrap();
            let said = || fs::read_to_string(&log).unwrap_or_default();
            assert!(ended.is_none() && started.elapsed() < PATIENCE, "{}", said());
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { child, log }
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The serial number of what a client sees that trusts nobody but the authority; with `former`, another one than that.
async fn served(authority: &Authority, former: Option<&str>) -> String {
    let started = Instant::now();
    loop {
        let seen = seen(authority).await;
        match seen {
            Ok(serial) if Some(serial.as_str()) != former => return serial,
            seen => assert!(started.elapsed() < PATIENCE, "{seen:?}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A client that trusts nobody but the authority.
fn client(authority: &Authority, host: &str, ip: [u8; 4]) -> Result<reqwest::Client, String> {
    let root = fs::read(authority.root()).map_err(|error| error.to_string())?;
    let root = reqwest::Certificate::from_pem(&root).map_err(|error| error.to_string())?;
    let built = reqwest::Client::builder()
        .tls_built_in_root_certs(false)
        .add_root_certificate(root)
        .resolve(host, SocketAddr::from((ip, 443)))
        .tls_info(true)
        .no_proxy()
        .build();
    built.map_err(|error| error.to_string())
}

async fn seen(authority: &Authority) -> Result<String, String> {
    use x509_cert::der::Decode as _;
    let client = client(authority, "app.test", [127, 0, 0, 1])?;
    let answer = client.get("https://app.test/").send().await.map_err(|error| error.to_string())?;
    let info = answer.extensions().get::<reqwest::tls::TlsInfo>();
    let leaf = info.and_then(reqwest::tls::TlsInfo::peer_certificate).ok_or("no certificate")?;
    let leaf = x509_cert::Certificate::from_der(leaf).map_err(|error| error.to_string())?;
    let serial = leaf.tbs_certificate.serial_number;
    Ok(serial.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}
