//! Tests on a real cluster: `make test-lab` starts the lab, runs these one after the other, and ends it.
//!
//! Each test leaves the cluster without apps, and begins by making sure that it is.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::too_many_lines,
    reason = "tests drive the lab's own command, one story each"
)]

mod acl;
mod blog;
mod broken;
mod bystander;
mod check;
mod claims;
mod clock;
mod deploy;
mod events;
mod faults;
mod hands;
mod hold;
mod hostile;
mod hung;
mod load;
mod lost;
mod moves;
mod parallel;
mod proxies;
mod replication;
mod routing;
mod support;
mod swarm;
mod texts;
mod waits;
