//! What the machine has left: room for volumes, memory.

use std::path::{Path, PathBuf};

use async_trait::async_trait;

use super::files::{self, FileError};
use crate::model::Amount;

const MEMORY: &str = "/proc/meminfo";

/// The disk and the memory of this node.
#[async_trait]
pub trait Resources: Send + Sync {
    /// The file system of the BTRFS volumes. On a disk that hangs, so does this.
    async fn disk(&self) -> Result<Amount, ResourceError>;

    /// Memory; free is what can be had without swapping.
    async fn memory(&self) -> Result<Amount, ResourceError>;
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
pub struct FakeResources(std::sync::Mutex<Option<(Amount, Amount)>>);

#[cfg(any(test, feature = "testing"))]
impl FakeResources {
    /// Sets disk and memory; none: they can't be told.
    pub fn set(&self, room: Option<(Amount, Amount)>) {
        *super::fake::lock(&self.0) = room;
    }

    fn get(&self) -> Result<(Amount, Amount), ResourceError> {
        super::fake::lock(&self.0).ok_or(ResourceError::Meaning("of a test"))
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
