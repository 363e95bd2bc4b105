//! What failed on the way, while the rest goes on.

use tracing::warn;

use super::ProxyError;
use crate::error::chain;

/// The first failure, which is the one that is told; the others are logged.
#[derive(Debug, Default)]
pub(super) struct Failures(Option<ProxyError>);

impl Failures {
    /// Notes a failure; whether there was none.
    pub(super) fn note<T>(&mut self, result: Result<T, impl Into<ProxyError>>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                let error = error.into();
                match &self.0 {
                    None => self.0 = Some(error),
                    Some(_) => warn!(error = %chain(&error), "and this failed, too"),
                }
                None
            }
        }
    }

    pub(super) fn first(self) -> Result<(), ProxyError> {
        self.0.map_or(Ok(()), Err)
    }
}
