//! What a sender says of a snapshot, and what the receiver holds against it. Pure.

use std::fmt;

use crate::host::volume::{SnapshotName, Verified};

/// A snapshot by its name and by the id that every copy of it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::exec) struct Announced {
    pub(in crate::exec) snapshot: SnapshotName,
    pub(in crate::exec) origin: String,
}

impl Announced {
    /// Reads what [`fmt::Display`] wrote into the record.
    pub(in crate::exec) fn parse(text: &str) -> Option<Self> {
        let (name, origin) = text.split_once(' ')?;
        let snapshot = SnapshotName::parse(name).ok()?;
        Some(Self { snapshot, origin: origin.to_owned() })
    }

    /// Whether these are the facts of the announced snapshot itself, on the node that took it.
    pub(super) fn verify_own(&self, found: Option<&Verified>) -> Result<(), String> {
        match found {
            Some(found) if found.read_only && found.origin() == Some(&self.origin) => Ok(()),
            Some(_) => Err("it is another one, or writable".to_owned()),
            None => Err("it is gone".to_owned()),
        }
    }

    /// Whether these are the facts of a whole copy of just this snapshot.
    pub(in crate::exec) fn verify(&self, found: Option<&Verified>) -> Result<(), String> {
        let found = found.ok_or("it did not arrive")?;
        if !found.is_whole_copy() {
            return Err("it arrived in part only".to_owned());
        }
        if found.received_uuid.as_deref() != Some(&self.origin) {
            let origin = found.received_uuid.as_deref().unwrap_or_default();
            return Err(format!("it is a copy of {origin}, announced was {}", self.origin));
        }
        Ok(())
    }
}

impl fmt::Display for Announced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.snapshot, self.origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_copy_of_the_announced_snapshot_passes() {
        let announced = Announced::parse("p_data@2025-01-31T10:00:00.000001 46083948").unwrap();
        assert_eq!(Announced::parse(&announced.to_string()), Some(announced.clone()));
        let copy = Verified {
            read_only: true,
            received_uuid: Some("46083948".to_owned()),
            ..Verified::default()
        };
        assert_eq!(announced.verify(Some(&copy)), Ok(()));
        let torn = Verified { read_only: false, received_uuid: None, ..copy.clone() };
        let other = Verified { received_uuid: Some("0".to_owned()), ..copy.clone() };
        let writable = Verified { read_only: false, ..copy };
        for wrong in [None, Some(&torn), Some(&other), Some(&writable)] {
            assert!(announced.verify(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(Announced::parse("p_data@2025"), None);
        assert_eq!(Announced::parse("p_data 46083948"), None);
    }
}
