//! `HAPROXY` values and what HAProxy is given: declarations, read strictly, and the map files that route by host.

mod bind;
mod collect;
mod condition;
mod declaration;
#[cfg(test)]
mod fuzz;
#[cfg(any(test, feature = "testing"))]
pub(in crate::proxy) mod invariants;
mod keyword;
pub mod maps;

pub use bind::Bind;
pub use collect::collect;
pub(in crate::proxy) use collect::unique_backends;
pub use condition::Condition;
pub use declaration::{Backend, Declaration, Frontend, Mode, Standard, parse_all};
pub use keyword::{Keyword, Keywords};

/// Why a `HAPROXY` value is not used; names the configuration and the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("HAPROXY {config:?}: {what}")]
pub struct DeclarationError {
    /// The CONFIG of the value.
    pub config: String,
    /// The field and what is wrong with it.
    pub what: String,
}
