//! How much of a disk or of memory is left.

use std::fmt;

use serde::{Deserialize, Serialize};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// What is left of a whole, both in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// What can still be used.
    pub free: u64,
    /// All there is.
    pub total: u64,
}

impl Amount {
    /// Whether less than so many percent of the whole are left; of nothing, nothing is.
    pub fn is_below(&self, percent: u64) -> bool {
        self.total == 0
            || u128::from(self.free) * 100 < u128::from(self.total) * u128::from(percent)
    }

    /// Whether what is left differs by so many percent of the whole, or the whole does.
    pub fn differs_by(&self, other: &Self, percent: u64) -> bool {
        let apart = u128::from(self.free.abs_diff(other.free)) * 100;
        self.total != other.total || apart >= u128::from(self.total) * u128::from(percent)
    }
}

impl fmt::Display for Amount {
    /// What is left, with its share of the whole: `81 GiB (40 %)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, name) = if self.free < GIB { (MIB, "MiB") } else { (GIB, "GiB") };
        let percent = u128::from(self.free) * 100 / u128::from(self.total.max(1));
        write!(f, "{} {name} ({percent} %)", self.free / unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_told_in_whole_units() {
        for (free, total, told) in [
            (0, 0, "0 MiB (0 %)"),
            (GIB - 1, GIB, "1023 MiB (99 %)"),
            (GIB, 4 * GIB, "1 GiB (25 %)"),
            (u64::MAX, u64::MAX, "17179869183 GiB (100 %)"),
        ] {
            assert_eq!(Amount { free, total }.to_string(), told);
        }
    }

    #[test]
    fn limits_are_parts_of_the_whole() {
        let of = |free| Amount { free, total: 1000 };
        assert!(of(99).is_below(10) && !of(100).is_below(10));
        assert!(Amount { free: 0, total: 0 }.is_below(10));
        assert!(of(500).differs_by(&of(490), 1) && !of(500).differs_by(&of(491), 1));
        assert!(of(500).differs_by(&Amount { free: 500, total: 1001 }, 1));
    }
}
