//! What the proxies of a node are told about the node: directories, ports, names of containers.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

/// The ports of the proxies themselves, unless other ones are set: HTTP and TLS for clients, and for the other nodes.
pub const OWN_PORTS: [u16; 4] = [80, 443, 1080, 1443];

/// The network that HAProxy and Caddy have to themselves ([`stack.yml`]).
///
/// [`stack.yml`]: ../../stack.yml
pub const OWN_NETWORK: &str = "cluster_proxies";
/// HAProxy's address on that network, unless the stack has another one.
pub const HAPROXY_ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 244, 2);
/// Caddy's address there.
pub const CADDY_ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 244, 3);

/// Who issues the certificates of sites that don't choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Issuer {
    /// A public authority by ACME, with the account's address if there is one.
    Acme(Option<String>),
    /// Caddy's own authority.
    Internal,
}

/// The settings of a node's proxies; [`Default`] is what the stack file expects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxySettings {
    /// Generated files, at the same path in the containers: `haproxy/`, `caddy/`, `check/` are below it.
    pub data_dir: PathBuf,
    /// Sockets, at the same path in the containers.
    pub run_dir: PathBuf,
    /// Where an admin puts the certificates that policies give: `NAME.crt` and `NAME.key`. No container sees it.
    pub certificate_dir: PathBuf,
    /// When set, every `bind` of HAProxy is made in this network namespace (`namespace NAME`).
    pub bind_namespace: Option<String>,
    /// Whether clients may come by IPv6 too: the node's kernel has it.
    pub ipv6: bool,
    /// HTTP.
    pub http_port: u16,
    /// TLS, routed by SNI.
    pub https_port: u16,
    /// HTTP with the PROXY protocol, for the other nodes.
    pub peer_http_port: u16,
    /// TLS with the PROXY protocol, for the other nodes.
    pub peer_https_port: u16,
    /// Ports that no app may bind, beside the four above.
    pub reserved_ports: BTreeSet<u16>,
    /// Connections that HAProxy takes at once.
    pub max_connections: u32,
    /// The DNS server that knows the containers' names.
    pub resolver: String,
    /// Caddy's address on the proxies' own network: there HAProxy leads clients, and from there requests come once more.
    pub caddy_address: Ipv4Addr,
    /// Caddy's port for HTTP.
    pub caddy_http_port: u16,
    /// Caddy's port for TLS.
    pub caddy_https_port: u16,
    /// Caddy's port for the maintenance page over TLS.
    pub caddy_maintenance_port: u16,
    /// HAProxy's address there, which alone may tell Caddy by the PROXY protocol who a client is.
    pub haproxy_address: Ipv4Addr,
    /// HAProxy's port for requests by TLS that Caddy sends back to it, with the PROXY protocol.
    pub front_door_port: u16,
    /// Caddy's port for the apps' own maintenance pages over plain HTTP.
    pub caddy_maintenance_http_port: u16,
    /// Who issues certificates where the site doesn't say.
    pub issuer: Issuer,
    /// The proxy of the swarm, which takes the `domains` of `swarm/` keys.
    pub swarm_host: String,
    /// HAProxy's container.
    pub haproxy_container: String,
    /// Caddy's container.
    pub caddy_container: String,
    /// Where `haproxy -c` is run.
    pub haproxy_check_container: String,
    /// Where `caddy adapt` is run.
    pub caddy_check_container: String,
    /// How long one check may take.
    pub check_deadline: Duration,
    /// How long a reload, a map change or a load may take.
    pub control_deadline: Duration,
    /// `Retry-After` of the maintenance page, in seconds.
    pub retry_after: u32,
    /// How long requests for an app wait while a deployment hands it over; the maintenance page comes after. None: they
    /// do not wait.
    pub hold: Duration,
}

impl Default for ProxySettings {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("/var/lib/tandem"),
            run_dir: PathBuf::from("/run/tandem"),
            certificate_dir: PathBuf::from("/etc/tandem/certificates"),
            bind_namespace: None,
            ipv6: false,
            http_port: OWN_PORTS[0],
            https_port: OWN_PORTS[1],
            peer_http_port: OWN_PORTS[2],
            peer_https_port: OWN_PORTS[3],
            // sshd, buttervolume's sshd, Docker, Consul.
            reserved_ports: BTreeSet::from([
                22, 1122, 2375, 2376, 2377, 7946, 8300, 8301, 8302, 8500, 8501, 8502, 8600,
            ]),
            max_connections: 4096,
            resolver: "127.0.0.11:53".to_owned(),
            caddy_address: CADDY_ADDRESS,
            caddy_http_port: 80,
            caddy_https_port: 443,
            caddy_maintenance_port: 8443,
            haproxy_address: HAPROXY_ADDRESS,
            front_door_port: 8444,
            caddy_maintenance_http_port: 8080,
            issuer: Issuer::Acme(None),
            swarm_host: "swarm_reverse".to_owned(),
            haproxy_container: "haproxy".to_owned(),
            caddy_container: "caddy".to_owned(),
            haproxy_check_container: "tandem-haproxy-check".to_owned(),
            caddy_check_container: "tandem-caddy-check".to_owned(),
            check_deadline: Duration::from_secs(20),
            control_deadline: Duration::from_secs(20),
            retry_after: 120,
            hold: Duration::from_secs(10),
        }
    }
}

impl ProxySettings {
    /// HAProxy's files: `haproxy.cfg`, the maps, the maintenance page.
    pub fn haproxy_dir(&self) -> PathBuf {
        self.data_dir.join("haproxy")
    }

    /// How long HAProxy keeps a request by itself, in seconds: a little longer than the agent lets it.
    pub fn hold_limit(&self) -> u64 {
        self.hold.as_secs() + 3
    }

    /// How many clients may wait for one host at once: by TLS each takes two connections, and the other apps' clients need
    /// some, too.
    pub fn held_limit(&self) -> u32 {
        self.max_connections / 4
    }

    /// How many connections one other node may have at once to ports that apps bind, for apps that are not here: each of
    /// its clients is a program on it. More are one connection that goes round and round, which ends with the last.
    pub fn node_limit(&self) -> u32 {
        (self.max_connections / 64).max(1)
    }

    /// `caddy.json`, the last configuration that Caddy took.
    pub fn caddy_file(&self) -> PathBuf {
        self.data_dir.join("caddy").join("caddy.json")
    }

    /// One empty file for each app that is handed over.
    pub fn held_dir(&self) -> PathBuf {
        self.data_dir.join("caddy").join("held")
    }

    /// What Caddy made of the apps' texts.
    pub fn adapted_dir(&self) -> PathBuf {
        self.data_dir.join("caddy").join("adapted")
    }

    /// Candidates, while the check containers look at them.
    pub fn check_dir(&self) -> PathBuf {
        self.data_dir.join("check")
    }

    /// HAProxy's master process.
    pub fn master_socket(&self) -> PathBuf {
        self.run_dir.join("haproxy").join("master.sock")
    }

    /// HAProxy's Runtime API.
    pub fn runtime_socket(&self) -> PathBuf {
        self.run_dir.join("haproxy").join("admin.sock")
    }

    /// HAProxy's own service that wakes connections which wait in `hold.lua`.
    pub fn clock_socket(&self) -> PathBuf {
        self.run_dir.join("haproxy").join("clock.sock")
    }

    /// Caddy's admin API.
    pub fn caddy_socket(&self) -> PathBuf {
        self.run_dir.join("caddy").join("admin.sock")
    }

    /// Whether a port is one of the proxies' own.
    pub fn is_own(&self, port: u16) -> bool {
        let own = [self.http_port, self.https_port, self.peer_http_port, self.peer_https_port];
        // With a namespace of their own, apps' binds can't meet it.
        let is_front_door = self.bind_namespace.is_none() && port == self.front_door_port;
        is_front_door || own.contains(&port)
    }

    /// Whether no app may bind a port, unless a policy says so.
    pub fn is_reserved(&self, port: u16) -> bool {
        self.is_own(port) || self.reserved_ports.contains(&port)
    }
}
