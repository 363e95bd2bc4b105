//! Durations, and how long one may be.

/// The longest duration, in milliseconds.
pub(super) const LONGEST: f64 = 600_000.0;
/// The longest duration, as it is written.
pub(super) const TEN_MINUTES: &str = "10m";
/// What is said of a longer one.
pub(super) const CAPPED: &str = "10 minutes at most here";

/// A duration as Caddy reads it, but none below zero: `1m30s`, `1.5h`, `1d`; a number alone only if it is zero.
pub(super) fn milliseconds(text: &str) -> Option<f64> {
    if text == "0" {
        return Some(0.0);
    }
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let factor = match unit {
            "ns" => 1e-6,
            "us" | "µs" | "μs" => 1e-3,
            "ms" => 1.0,
            "s" => 1e3,
            "m" => 6e4,
            "h" => 3.6e6,
            "d" => 8.64e7,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * factor;
        rest = tail;
    }
    (!text.is_empty()).then_some(total)
}
