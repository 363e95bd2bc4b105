//! The words of the domain, as types that can't hold a wrong value. Pure: no clock, files, network or tokio.

pub mod app;
pub mod claims;
pub mod definition;
pub mod deployment;
mod file_name;
pub mod hand_over;
pub mod keys;
pub mod manifest;
pub mod page;
pub mod placement;
pub mod port;
pub mod record;
pub mod request;
pub mod room;

pub use app::{AppId, AppName, Branch, DeployId, ProjectName, Repo};
pub use hand_over::{HandOver, Routing};
pub use page::MaintenancePage;
pub use placement::{NodeName, Placement, Role};
pub use port::{Port, Protocol};
pub use record::{AppRecord, Held};
pub use request::{Request, Wanted};
pub use room::Amount;
