//! The texts inside a compose file: YAML in variables, durations, compose's escapes.

use std::time::Duration;

use serde_json::Value;

use super::{Ends, ManifestError};

/// Undoes what `docker compose config` does to dollars, so that its output can be read as input again.
pub(super) fn unescape(text: &str) -> String {
    text.replace("$$", "$")
}

/// A duration as compose prints it: `1m30s`, `500ms`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let unit_end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * seconds;
        rest = tail;
    }
    Duration::try_from_secs_f64(total).ok().filter(|d| !d.is_zero())
}

fn parse(service: &str, variable: &'static str, text: &str) -> Result<Value, ManifestError> {
    // JSON is YAML, but for its tabs and the like.
    if let Ok(value) = serde_json::from_str(text) {
        return Ok(value);
    }
    serde_yaml::from_str(text).map_err(|source| ManifestError::Syntax {
        service: service.to_owned(),
        variable,
        source,
    })
}

/// A mapping in YAML or JSON.
pub(super) fn mapping(
    service: &str,
    variable: &'static str,
    text: &str,
) -> Result<Value, ManifestError> {
    let value = parse(service, variable, text)?;
    if value.is_object() {
        return Ok(value);
    }
    Err(ManifestError::Form { service: service.to_owned(), variable, expected: "a mapping" })
}

/// A list of URLs in YAML or JSON.
pub(super) fn list_of_urls(
    service: &str,
    variable: &'static str,
    text: &str,
) -> Result<Vec<String>, ManifestError> {
    let refuse = || ManifestError::Form {
        service: service.to_owned(),
        variable,
        expected: "a list of http:// or https:// URLs",
    };
    let Value::Array(items) = parse(service, variable, text)? else {
        return Err(refuse());
    };
    items
        .iter()
        .map(|item| {
            let url = item.as_str().map(str::trim).unwrap_or_default();
            let host = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
            let plain = |c: char| c.is_ascii_graphic() && !"\"'\\<>`".contains(c);
            match host {
                Some(host) if !host.is_empty() && url.chars().all(plain) => Ok(url.to_owned()),
                Some(_) | None => Err(refuse()),
            }
        })
        .collect()
}

/// A service's restart policy as `restart` writes it; `deploy.restart_policy` counts where both are given, as in Compose.
pub(super) fn restart(service: &Value) -> String {
    let policy = service.pointer("/deploy/restart_policy");
    let condition = policy.and_then(|policy| policy.get("condition")).and_then(Value::as_str);
    let plain = service.get("restart").and_then(Value::as_str);
    match condition {
        Some("any") => "always".to_owned(),
        Some("none") => "no".to_owned(),
        Some(other) => {
            let tries =
                policy.and_then(|policy| policy.get("max_attempts")).and_then(Value::as_u64);
            tries.map_or_else(|| other.to_owned(), |tries| format!("{other}:{tries}"))
        }
        None => plain.unwrap_or("no").to_owned(),
    }
}

/// What the restart policy says of a container that ended with 0. None that is written says nothing.
pub(super) fn ends(service: &Value) -> Ends {
    let is_said = service.get("restart").is_some_and(|restart| !restart.is_null())
        || service.pointer("/deploy/restart_policy/condition").is_some();
    match restart(service).split(':').next() {
        Some("no" | "on-failure") if is_said => Ends::Done,
        Some("no") => Ends::Maybe,
        _ => Ends::Never,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_compose() {
        let ms = |n| Some(Duration::from_millis(n));
        for (text, expected) in [
            ("10s", ms(10_000)),
            ("1m30s", ms(90_000)),
            ("1h0m0s", ms(3_600_000)),
            ("1.5s", ms(1500)),
            ("500ms", ms(500)),
            ("0s", None),
            ("", None),
            ("10", None),
            ("s", None),
            ("1x", None),
        ] {
            assert_eq!(duration(text), expected, "{text}");
        }
    }

    #[test]
    fn an_end_is_meant_where_it_is_written() {
        use serde_json::json;
        for (service, expected) in [
            (json!({}), Ends::Maybe),
            (json!({"restart": null}), Ends::Maybe),
            (json!({"restart": "no"}), Ends::Done),
            (json!({"restart": "on-failure"}), Ends::Done),
            (json!({"restart": "on-failure:3"}), Ends::Done),
            (json!({"restart": "always"}), Ends::Never),
            (json!({"restart": "unless-stopped"}), Ends::Never),
            (json!({"deploy": {"restart_policy": {"condition": "none"}}}), Ends::Done),
            (json!({"deploy": {"restart_policy": {"condition": "any"}}}), Ends::Never),
            (json!({"deploy": {"restart_policy": {"max_attempts": 3}}}), Ends::Maybe),
        ] {
            assert_eq!(ends(&service), expected, "{service}");
        }
    }

    #[test]
    fn dollars_are_halved() {
        assert_eq!(unescape("$$CONTAINER $$$$x"), "$CONTAINER $$x");
    }
}
