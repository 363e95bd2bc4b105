//! Carries deployments out: accepts requests into KV, works off this node's steps, and undoes them.
//!
//! The record in KV is the journal that the nodes share (`store`), one lease per app says who answers for its
//! progress (`lease`), and a node never goes below an epoch that it has seen (`journal`).

mod apply;
mod claims;
mod context;
pub(crate) mod copies;
mod decline;
mod driver;
mod error;
mod fence;
mod guard;
mod health;
mod intake;
mod journal;
mod lease;
mod lines;
mod manifests;
mod mend;
mod nodes;
mod owed;
mod projects;
mod queue;
mod records;
mod retention;
mod schedules;
mod stakes;
mod standing;
mod steps;
mod store;
mod undo;
mod watchdog;

pub use context::{Busy, Cluster, Context, ProxyCheck};
pub use driver::drive;
pub use error::{ExecError, StepError};
pub use fence::Fence;
pub use intake::{Findings, ProxyReport, gather, reject};
pub use journal::{Journal, JournalError};
pub use lease::SessionKeeper;
pub use manifests::Manifests;
pub use nodes::node_facts;
pub use owed::{Turn, Which, next_task, settle, turn};
pub use queue::{Acceptance, accept, promote};
pub use records::Records;
pub(crate) use schedules::{Changes, changes, wanted};
pub use stakes::{honour, honour_for_ever};
pub(crate) use steps::services::register_entry;
pub use store::concerns;

#[cfg(test)]
mod tests;
