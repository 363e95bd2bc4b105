//! Copies of volumes on another node: which of them can be trusted, how old they are, what no purge may remove, and what
//! stands in the way of the next one. Pure: the agent brings the facts and the time.

mod copies;
mod keep;
mod line;
mod mend;
mod stalled;
mod state;
mod torn;
mod unsent;

pub use copies::{Held, Survey};
pub use keep::{OtherEnd, worth_keeping};
pub use line::{Line, Lines, Strange};
pub use mend::{dead_marks, unheld_marks};
pub use stalled::{Stall, Stalled};
pub use state::{AHEAD, CopyState, ReplicaState, Standing, age};
pub use torn::Sightings;
pub use unsent::unsent;

#[cfg(test)]
mod tests;
