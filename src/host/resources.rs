//! What the machine has left: room for volumes, memory.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use async_trait::async_trait;

use super::files::{self, FileError};
use crate::model::{Amount, Port, Protocol};

const MEMORY: &str = "/proc/meminfo";
/// The sockets of the network namespace that the agent is in, which is the machine's.
const SOCKETS: [(&str, Protocol); 4] = [
    ("/proc/net/tcp", Protocol::Tcp),
    ("/proc/net/tcp6", Protocol::Tcp),
    ("/proc/net/udp", Protocol::Udp),
    ("/proc/net/udp6", Protocol::Udp),
];

/// The disk and the memory of this node.
#[async_trait]
pub trait Resources: Send + Sync {
    /// The file system of the BTRFS volumes. On a disk that hangs, so does this.
    async fn disk(&self) -> Result<Amount, ResourceError>;

    /// Memory; free is what can be had without swapping.
    async fn memory(&self) -> Result<Amount, ResourceError>;

    /// The ports that something on the machine listens at, at whatever address.
    async fn listening(&self) -> Result<BTreeSet<Port>, ResourceError>;
}

/// Why it can't be told what is left.
#[derive(Debug, thiserror::Error)]
pub enum ResourceError {
    /// The system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// The kernel's account of the memory makes no sense.
    #[error("{MEMORY} has no line {0}")]
    Meaning(&'static str),
}

/// The machine that this process runs on.
#[derive(Debug, Clone)]
pub struct Machine {
    /// A directory on the file system of the volumes.
    pub volumes: PathBuf,
}

#[async_trait]
impl Resources for Machine {
    async fn disk(&self) -> Result<Amount, ResourceError> {
        Ok(files::space(&self.volumes).await?)
    }

    async fn memory(&self) -> Result<Amount, ResourceError> {
        let text = files::read_optional(Path::new(MEMORY)).await?.unwrap_or_default();
        parse(&String::from_utf8_lossy(&text))
    }

    async fn listening(&self) -> Result<BTreeSet<Port>, ResourceError> {
        let mut ports = BTreeSet::new();
        for (path, protocol) in SOCKETS {
            // A kernel without IPv6 has no file for it.
            let text = files::read_optional(Path::new(path)).await?.unwrap_or_default();
            ports.extend(listening(&String::from_utf8_lossy(&text), protocol));
        }
        Ok(ports)
    }
}

/// The local ports of the sockets that wait for somebody, in the kernel's table of a protocol.
fn listening(table: &str, protocol: Protocol) -> impl Iterator<Item = Port> {
    let waits = match protocol {
        Protocol::Tcp => "0A",
        Protocol::Udp => "07",
    };
    table.lines().skip(1).filter_map(move |line| {
        let mut words = line.split_ascii_whitespace().skip(1);
        let (local, state) = (words.next()?, words.nth(1)?);
        let number = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
        (state == waits && number > 0).then_some(Port { number, protocol })
    })
}

fn parse(meminfo: &str) -> Result<Amount, ResourceError> {
    let bytes = |name: &'static str| {
        let mut lines = meminfo.lines().filter_map(|line| line.split_once(':'));
        let value = lines.find_map(|(key, value)| (key == name).then_some(value.trim()));
        let kib = value.and_then(|value| value.strip_suffix(" kB")?.parse::<u64>().ok());
        kib.and_then(|kib| kib.checked_mul(1024)).ok_or(ResourceError::Meaning(name))
    };
    Ok(Amount { free: bytes("MemAvailable")?, total: bytes("MemTotal")? })
}

/// A machine with as much left as a test says; it can't tell before.
#[cfg(any(test, feature = "testing"))]
#[derive(Debug, Default)]
pub struct FakeResources {
    room: std::sync::Mutex<Option<(Amount, Amount)>>,
    listening: std::sync::Mutex<BTreeSet<Port>>,
}

#[cfg(any(test, feature = "testing"))]
impl FakeResources {
    /// Sets disk and memory; none: they can't be told.
    pub fn set(&self, room: Option<(Amount, Amount)>) {
        *super::fake::lock(&self.room) = room;
    }

    /// Something listens at a port from now on.
    pub fn listen(&self, port: Port) {
        super::fake::lock(&self.listening).insert(port);
    }

    fn get(&self) -> Result<(Amount, Amount), ResourceError> {
        super::fake::lock(&self.room).ok_or(ResourceError::Meaning("of a test"))
    }
}

#[cfg(any(test, feature = "testing"))]
#[async_trait]
impl Resources for FakeResources {
    async fn disk(&self) -> Result<Amount, ResourceError> {
        Ok(self.get()?.0)
    }

    async fn memory(&self) -> Result<Amount, ResourceError> {
        Ok(self.get()?.1)
    }

    async fn listening(&self) -> Result<BTreeSet<Port>, ResourceError> {
        Ok(super::fake::lock(&self.listening).clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_what_can_be_had_without_swapping() {
        let text = "MemTotal:       24576000 kB\nMemFree:          100000 kB\nMemAvailable:   12288000 kB\nHugePages_Total:       0\n";
        let expected = Amount { free: 12_288_000 * 1024, total: 24_576_000 * 1024 };
        assert_eq!(parse(text).unwrap(), expected);
        for wrong in ["", "MemTotal: 1 kB\n", "MemTotal: 1 kB\nMemAvailable: x kB\n"] {
            let error = parse(wrong).unwrap_err().to_string();
            assert_eq!(error, "/proc/meminfo has no line MemAvailable", "{wrong}");
        }
    }

    #[test]
    fn only_sockets_that_wait_for_somebody_hold_a_port() {
        let tcp = "  sl  local_address rem_address   st tx_queue rx_queue\n\
            0: 0100007F:0CEA 00000000:0000 0A 00000000:00000000\n\
            1: 0100007F:1F90 0100007F:C350 01 00000000:00000000\n\
            2: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 0\n\
            3: torn";
        let told: Vec<_> = listening(tcp, Protocol::Tcp).map(|port| port.to_string()).collect();
        assert_eq!(told, ["3306/tcp", "80/tcp"]);
        let udp = "  sl  local_address rem_address   st\n 7: 00000000:0035 00000000:0000 07 0\n";
        let told: Vec<_> = listening(udp, Protocol::Udp).map(|port| port.to_string()).collect();
        assert_eq!(told, ["53/udp"]);
    }

    #[tokio::test]
    async fn a_port_that_is_listened_at_is_found() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = Port::tcp(socket.local_addr().unwrap().port());
        let machine = Machine { volumes: PathBuf::from("/") };
        assert!(machine.listening().await.unwrap().contains(&port));
    }

    #[tokio::test]
    async fn this_machine_has_both() {
        let machine = Machine { volumes: PathBuf::from("/") };
        for amount in [machine.disk().await.unwrap(), machine.memory().await.unwrap()] {
            assert!(0 < amount.free && amount.free <= amount.total, "{amount:?}");
        }
        let nowhere = Machine { volumes: PathBuf::from("/no/such/dir") };
        assert!(nowhere.disk().await.is_err());
    }
}
