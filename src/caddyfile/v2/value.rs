//! Values of options: durations and numbers within bounds.

use crate::duration::{LONGEST, milliseconds};

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

/// How a value may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    /// As it is.
    Whole,
    /// As the longest that there is here: it is longer.
    Capped,
}

use Fit::{Capped, Whole};

impl Value {
    pub(super) fn check(self, args: &[&str]) -> Result<Fit, String> {
        match (self, args) {
            (Self::Words, _) => Ok(Whole),
            (Self::Time(least), [text]) => time(text, least),
            (Self::TimeOr(word), [text]) if *text == word => Ok(Whole),
            (Self::TimeOr(_), [text]) => time(text, 0),
            (Self::Number(most), [text]) => match text.parse::<u32>() {
                Ok(number) if number <= most && text.chars().all(|c| c.is_ascii_digit()) => {
                    Ok(Whole)
                }
                _ => Err(format!("{text:?} is not a number up to {most}")),
            },
            (Self::Time(_) | Self::TimeOr(_) | Self::Number(_), _) => {
                Err("takes one value".to_owned())
            }
        }
    }
}

fn time(text: &str, least: u32) -> Result<Fit, String> {
    match milliseconds(text) {
        Some(time) if time > LONGEST => Ok(Capped),
        Some(time) if time >= f64::from(least) => Ok(Whole),
        _ => Err(format!("{text:?} is not a duration of {least}ms or more")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_bounds() {
        for good in ["0", "1s", "10m", "1m30s", "1.5s", "500ms", "0.1h", "9m60s"] {
            assert_eq!(Value::Time(0).check(&[good]), Ok(Whole), "{good}");
        }
        for bad in [
            "", "1", "-1s", "+1s", "1", "s", "1x", "1s ", "1e9s", "..s", "1ss", "inf", "NaNs",
            "infs", "{x}s",
        ] {
            assert!(Value::Time(0).check(&[bad]).is_err(), "{bad}");
        }
        // What people write is taken, for as long as there is here.
        for long in ["11m", "12m", "86400s", "9999h", "1d", "1h0m0s"] {
            assert_eq!(Value::Time(1000).check(&[long]), Ok(Capped), "{long}");
        }
        assert!(Value::Time(1000).check(&["999ms"]).is_err());
        assert!(Value::Time(1000).check(&["1ns"]).is_err());
        assert!(Value::Time(0).check(&[]).is_err());
        assert!(Value::Time(0).check(&["1s", "1s"]).is_err());
        assert_eq!(Value::TimeOr("-1").check(&["-1"]), Ok(Whole));
        assert!(Value::TimeOr("-1").check(&["-2"]).is_err());
    }

    #[test]
    fn numbers_have_bounds() {
        assert_eq!(Value::Number(100).check(&["100"]), Ok(Whole));
        for bad in ["101", "-1", "+1", "", "1.5", "99999999999999999999", "x"] {
            assert!(Value::Number(100).check(&[bad]).is_err(), "{bad}");
        }
    }
}
