//! Names of volumes and snapshots. buttervolume puts them into shell commands, so nothing but plain ones passes.

use std::fmt;

use super::VolumeError;

/// What a kept snapshot's time ends with on the disk: buttervolume's purge passes over a name whose time it can't read.
const KEPT: &str = "-kept";

/// `volume@2025-01-31T10:00:00.000000`, or the same with `@host` for the mark of what was sent to that host.
///
/// Sorts by volume, then by time. A snapshot that is kept from purges has this name too; on the disk it has another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotName(String);

impl SnapshotName {
    /// Parses a name, or the one that it has on the disk while it is kept.
    pub fn parse(text: &str) -> Result<Self, VolumeError> {
        let parts: Vec<_> = text.split('@').collect();
        let name = match parts.as_slice() {
            [volume, time] if is_plain(volume) && is_time(time) => {
                format!("{volume}@{}", unkept(time))
            }
            [volume, time, host] if is_plain(volume) && is_time(time) && is_host(host) => {
                format!("{volume}@{}@{host}", unkept(time))
            }
            _ => return Err(VolumeError::Name { what: "snapshot", name: text.to_owned() }),
        };
        Ok(Self(name))
    }

    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The volume that it was taken of.
    pub fn volume(&self) -> &str {
        self.part(0).unwrap_or_default()
    }

    /// When it was taken, in the local time of the node that took it.
    pub fn time(&self) -> &str {
        self.part(1).unwrap_or_default()
    }

    /// The host that it marks as having this snapshot; `None` for a snapshot proper.
    pub fn sent_to(&self) -> Option<&str> {
        self.part(2)
    }

    /// Whether this marks that `snapshot` was sent somewhere.
    pub(super) fn is_mark_of(&self, snapshot: &Self) -> bool {
        self.sent_to().is_some()
            && (self.volume(), self.time()) == (snapshot.volume(), snapshot.time())
    }

    /// The snapshot proper that this is, or marks.
    #[must_use]
    pub fn unmarked(&self) -> Self {
        Self(format!("{}@{}", self.volume(), self.time()))
    }

    /// The name on the disk while it is kept.
    pub(super) fn kept(&self) -> String {
        let host = self.sent_to().map(|host| format!("@{host}")).unwrap_or_default();
        format!("{}@{}{KEPT}{host}", self.volume(), self.time())
    }

    fn part(&self, index: usize) -> Option<&str> {
        self.0.split('@').nth(index)
    }
}

impl fmt::Display for SnapshotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn unkept(time: &str) -> &str {
    time.strip_suffix(KEPT).unwrap_or(time)
}

fn is_plain(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

fn is_time(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_.:-".contains(c))
}

fn is_host(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_.:-".contains(c))
}

pub(super) fn check_volume(name: &str) -> Result<(), VolumeError> {
    check("volume", name, is_plain)
}

pub(super) fn check_host(name: &str) -> Result<(), VolumeError> {
    check("host", name, is_host)
}

fn check(what: &'static str, name: &str, good: fn(&str) -> bool) -> Result<(), VolumeError> {
    if good(name) {
        return Ok(());
    }
    Err(VolumeError::Name { what, name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_their_parts() {
        let taken = SnapshotName::parse("p1_data@2025-01-31T10:00:00.000001").unwrap();
        assert_eq!((taken.volume(), taken.sent_to()), ("p1_data", None));
        let mark = SnapshotName::parse("p1_data@2025-01-31T10:00:00.000001@10.77.0.2").unwrap();
        assert_eq!((mark.time(), mark.sent_to()), (taken.time(), Some("10.77.0.2")));
        assert!(SnapshotName::parse("v@2025-01-31T10:00:00.5@fd00::2").is_ok());
    }

    #[test]
    fn a_kept_snapshot_has_its_name_all_the_same() {
        for text in ["v@2025-01-31T10:00:00.000001", "v@2025-01-31T10:00:00.000001@10.77.0.2"] {
            let name = SnapshotName::parse(text).unwrap();
            assert_ne!(name.kept(), text);
            assert_eq!(SnapshotName::parse(&name.kept()).unwrap(), name);
            assert_eq!(name.unmarked().as_str(), "v@2025-01-31T10:00:00.000001");
        }
    }

    #[test]
    fn what_a_shell_could_misread_is_refused() {
        for text in [
            "",
            "v",
            "v@",
            "@2025",
            "v@x",
            "v@2025@",
            "v@2025@h@x",
            "v@2025;id",
            "v@2025@-oX",
            "$(id)@2025",
            "../v@2025",
            "-v@2025",
            "a b@2025",
            "v@2025\n",
            "v/w@2025",
            "v@2025@h\"",
        ] {
            assert!(SnapshotName::parse(text).is_err(), "{text:?}");
        }
        assert!(check_volume("a;b").is_err() && check_volume("a.b_c-1").is_ok());
        assert!(check_host("-oX").is_err() && check_host("10.0.0.1").is_ok());
    }
}
