//! What the scheduler does with a volume. Pure.

use std::fmt;

/// An action as buttervolume's schedule names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Take a snapshot.
    Snapshot,
    /// Take a snapshot and send it to the host of this address.
    Replicate(String),
    /// Remove old snapshots by this pattern.
    Purge(String),
    /// Something that Tandem never schedules, but an operator may.
    Other(String),
}

impl Action {
    /// Parses what [`fmt::Display`] writes; anything else is [`Action::Other`].
    pub fn parse(text: &str) -> Self {
        match text.split_once(':') {
            None if text == "snapshot" => Self::Snapshot,
            Some(("replicate", host)) if !host.is_empty() => Self::Replicate(host.to_owned()),
            Some(("purge", pattern)) if !pattern.is_empty() => Self::Purge(pattern.to_owned()),
            Some(_) | None => Self::Other(text.to_owned()),
        }
    }

    /// Whether the text is safe in buttervolume's table of comma-separated values and in its shell.
    pub(super) fn is_plain(&self) -> bool {
        let text = self.to_string();
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "_.:-".contains(c))
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Snapshot => f.write_str("snapshot"),
            Self::Replicate(host) => write!(f, "replicate:{host}"),
            Self::Purge(pattern) => write!(f, "purge:{pattern}"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

/// One line of the scheduler's table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// The volume.
    pub volume: String,
    /// What is done with it.
    pub action: Action,
    /// How often.
    pub minutes: u32,
    /// Whether it is done; false while it is paused.
    pub active: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_read_back_as_written() {
        for (text, action) in [
            ("snapshot", Action::Snapshot),
            ("replicate:10.77.0.2", Action::Replicate("10.77.0.2".to_owned())),
            ("replicate:fd00::2", Action::Replicate("fd00::2".to_owned())),
            ("purge:1h:1d:1w:4w:1y", Action::Purge("1h:1d:1w:4w:1y".to_owned())),
            ("synchronize:a,b", Action::Other("synchronize:a,b".to_owned())),
            ("replicate:", Action::Other("replicate:".to_owned())),
        ] {
            assert_eq!(Action::parse(text), action);
            assert_eq!(action.to_string(), text);
        }
    }

    #[test]
    fn what_would_break_the_table_is_not_plain() {
        assert!(Action::parse("replicate:10.77.0.2").is_plain());
        for text in ["replicate:a,b", "replicate:a\nb", "replicate:$(id)", "purge:1h;x", ""] {
            assert!(!Action::parse(text).is_plain(), "{text}");
        }
    }
}
