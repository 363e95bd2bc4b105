//! Values of options: durations and numbers within bounds.

/// The longest duration, in milliseconds: ten minutes.
const LONGEST: f64 = 600_000.0;

/// What an option's value has to be.
#[derive(Clone, Copy)]
pub(super) enum Value {
    /// Anything.
    Words,
    /// One duration, of so many milliseconds at least.
    Time(u32),
    /// One duration, or this word.
    TimeOr(&'static str),
    /// One number, up to this.
    Number(u32),
}

impl Value {
    pub(super) fn check(self, args: &[&str]) -> Result<(), String> {
        match (self, args) {
            (Self::Words, _) => Ok(()),
            (Self::Time(least), [text]) => time(text, least),
            (Self::TimeOr(word), [text]) if *text == word => Ok(()),
            (Self::TimeOr(_), [text]) => time(text, 0),
            (Self::Number(most), [text]) => match text.parse::<u32>() {
                Ok(number) if number <= most && text.chars().all(|c| c.is_ascii_digit()) => Ok(()),
                _ => Err(format!("{text:?} is not a number up to {most}")),
            },
            (Self::Time(_) | Self::TimeOr(_) | Self::Number(_), _) => {
                Err("takes one value".to_owned())
            }
        }
    }
}

fn time(text: &str, least: u32) -> Result<(), String> {
    match milliseconds(text) {
        Some(time) if time >= f64::from(least) && time <= LONGEST => Ok(()),
        _ => Err(format!("{text:?} is not a duration from {least}ms to 10m")),
    }
}

/// A duration as Caddy reads it, but none below zero: `1m30s`, `1.5h`, `1d`; a number alone only if it is zero.
fn milliseconds(text: &str) -> Option<f64> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_bounds() {
        for good in ["0", "1s", "10m", "1m30s", "1.5s", "500ms", "0.1h", "9m60s"] {
            assert_eq!(Value::Time(0).check(&[good]), Ok(()), "{good}");
        }
        for bad in [
            "", "1", "-1s", "+1s", "1", "s", "1x", "1s ", "11m", "9999h", "1d", "1e9s", "..s",
            "1ss", "inf", "NaNs", "infs", "{x}s",
        ] {
            assert!(Value::Time(0).check(&[bad]).is_err(), "{bad}");
        }
        assert!(Value::Time(1000).check(&["999ms"]).is_err());
        assert!(Value::Time(1000).check(&["1ns"]).is_err());
        assert!(Value::Time(0).check(&[]).is_err());
        assert!(Value::Time(0).check(&["1s", "1s"]).is_err());
        assert_eq!(Value::TimeOr("-1").check(&["-1"]), Ok(()));
        assert!(Value::TimeOr("-1").check(&["-2"]).is_err());
    }

    #[test]
    fn numbers_have_bounds() {
        assert_eq!(Value::Number(100).check(&["100"]), Ok(()));
        for bad in ["101", "-1", "+1", "", "1.5", "99999999999999999999", "x"] {
            assert!(Value::Number(100).check(&[bad]).is_err(), "{bad}");
        }
    }
}
