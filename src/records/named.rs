//! What keys name: the rest of a key, behind its prefix.

use crate::model::{AppName, DeployId, NodeName};

/// What the rest of a key can name.
pub trait Named: Sized {
    /// Reads the rest of a key; none: the key is no record's.
    fn parse(rest: &str) -> Option<Self>;
}

impl Named for AppName {
    fn parse(rest: &str) -> Option<Self> {
        Self::parse(rest).ok()
    }
}

impl Named for NodeName {
    fn parse(rest: &str) -> Option<Self> {
        Self::parse(rest).ok()
    }
}

impl Named for DeployId {
    fn parse(rest: &str) -> Option<Self> {
        Self::parse(rest).ok()
    }
}

/// Anything that is not nothing.
impl Named for String {
    fn parse(rest: &str) -> Option<Self> {
        (!rest.is_empty()).then(|| rest.to_owned())
    }
}

/// An app and something of it: an app's name may hold a slash, nothing else can.
impl<T: Named> Named for (AppName, T) {
    fn parse(rest: &str) -> Option<Self> {
        let (app, of) = rest.rsplit_once('/')?;
        Some((AppName::parse(app).ok()?, T::parse(of)?))
    }
}
