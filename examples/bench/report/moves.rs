//! The tables of moves, of what they send, of many at once, and of a redeployment that changes nothing.

use std::fmt::{self, Formatter};

use super::{Report, row, write_faults};
use crate::floor::MOVE;
use crate::many::Many;
use crate::moves::{DELAYED, Moves};
use crate::redeploy::Unchanged;
use crate::traffic::Traffic;

impl Report {
    pub(super) fn write_moves(&self, f: &mut Formatter<'_>, moves: &Moves) -> fmt::Result {
        writeln!(
            f,
            "MOVE {}, 100 MB under writes, requests through a node without a master",
            moves.what
        )?;
        row(f, "longest gap between successes", &moves.gap, "s")?;
        row(f, "floor: the hand-off by hand", &moves.floor["total"], "s")?;
        for part in MOVE {
            row(f, &format!("  of which {part}"), &moves.floor[part], "s")?;
        }
        writeln!(f, "  {:<34} {:7.1} × the floor", "ratio of the medians", moves.ratio)?;
        row(f, "event → outcome", &moves.whole, "s")?;
        row(f, "new connections, 50/s", &moves.sent, "")?;
        row(f, "  of which failed", &moves.failed, "")?;
        write_faults(f, "  failures of all runs", &moves.faults)?;
        row(f, &format!("  succeeded after more than {DELAYED} s"), &moves.delayed, "")?;
        row(f, "  the slowest success", &moves.longest, "s")?;
        writeln!(f, "  where the time of the gap goes:")?;
        moves
            .parts
            .iter()
            .try_for_each(|part| row(f, &format!("  {}", part.what), &part.time, "s"))?;
        writeln!(f)
    }
}

pub(super) fn write_unchanged(f: &mut Formatter<'_>, unchanged: &Unchanged) -> fmt::Result {
    writeln!(f, "REDEPLOY of hello, nothing changed")?;
    row(f, "longest gap between successes", &unchanged.gap, "s")?;
    row(f, "event → outcome", &unchanged.whole, "s")?;
    row(f, "new connections, every 10 ms", &unchanged.sent, "")?;
    row(f, "  of which failed", &unchanged.failed, "")?;
    write_faults(f, "  failures of all runs", &unchanged.faults)?;
    writeln!(f)
}

pub(super) fn write_traffic(f: &mut Formatter<'_>, moves: &[Traffic]) -> fmt::Result {
    if moves.is_empty() {
        return Ok(());
    }
    writeln!(f, "TRAFFIC of a move: by ssh between the nodes, both ways, with headers")?;
    for Traffic { what, changed, sent } in moves {
        let beside = match sent.checked_div(*changed) {
            Some(_) => format!("{:.2} × what changed", megabytes(*sent) / megabytes(*changed)),
            None => "nothing changed".to_owned(),
        };
        writeln!(f, "  {what:<34} {:7.2} MB  {beside}", megabytes(*sent))?;
    }
    writeln!(f)
}

pub(super) fn write_many(f: &mut Formatter<'_>, many: &Many) -> fmt::Result {
    writeln!(f, "{} APPS deployed over three nodes", many.apps)?;
    writeln!(f, "  {:<34} {:7.1} s", "at once: first event → last outcome", many.at_once)?;
    writeln!(f, "  {:<34} {:7.1} s", "one after the other, summed", many.one_by_one)?;
    writeln!(f, "  {:<34} {:7.2} × one after the other\n", "ratio", many.ratio)
}

#[expect(clippy::cast_precision_loss, reason = "a volume has fewer bytes than 2^53")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
