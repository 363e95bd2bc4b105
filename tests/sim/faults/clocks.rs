//! Wall clocks that jump: nothing that matters may go by them.

use std::sync::atomic::Ordering;

use super::Fault;
use crate::rng::Rng;
use crate::world::World;

const MINUTE: i64 = 60;
const DAY: i64 = 24 * 60 * MINUTE;

/// A small step as of NTP, the hours of a wrong zone, or a battery that is empty.
pub(super) fn draw(rng: &Rng, node: usize) -> Fault {
    let far = *rng.pick(&[1, 10 * MINUTE, 3 * 60 * MINUTE, DAY, 365 * DAY]);
    let by = if rng.percent(50) { far } else { -far };
    Fault::ClockJumps(node, by)
}

/// The clock shows another time; half of the time it is the right one again.
pub(super) fn jump(world: &World, node: usize, by: i64) {
    let machine = &world.machines[node];
    let now = machine.clock.load(Ordering::Relaxed);
    let to = if now != 0 { 0 } else { by };
    machine.clock.store(to, Ordering::Relaxed);
    world.trace.line(machine.name.as_str(), || format!("the clock is {to} s ahead"));
}
