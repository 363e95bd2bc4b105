//! Variables that a compose file asks for and nobody has set. Compose fills in nothing and goes on; where that is a part of
//! a host's name, another host is served.

use std::collections::BTreeSet;

use serde_json::Value;

/// What proxies and checks are told: nothing may be missing there.
const OURS: [&str; 3] = ["CADDYFILE", "HAPROXY", "CONSUL_CHECK_URLS"];

/// A variable that is not set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unset {
    /// Its name.
    pub name: String,
    /// Where it is asked for, of what may not lack anything: service and variable.
    pub places: Vec<(String, &'static str)>,
}

impl Unset {
    /// Finds out where variables are asked for; `raw` is the compose file before they are filled in, if it can be read.
    pub fn find(names: &BTreeSet<String>, raw: Option<&Value>) -> Vec<Self> {
        let services = raw.and_then(|raw| raw.get("services")).and_then(Value::as_object);
        let texts: Vec<_> = services
            .into_iter()
            .flatten()
            .flat_map(|(service, value)| {
                let text = move |variable| environment(value.get("environment")?, variable);
                OURS.iter().filter_map(move |variable| Some((service, *variable, text(variable)?)))
            })
            .collect();
        let places = |name: &String| {
            let asking = texts.iter().filter(|(_, _, text)| asks_for(text, name));
            asking.map(|(service, variable, _)| ((*service).clone(), *variable)).collect()
        };
        names.iter().map(|name| Self { name: name.clone(), places: places(name) }).collect()
    }

    /// Why a version that lacks it is refused: one reason for each place.
    pub fn errors(&self) -> impl Iterator<Item = String> {
        let name = &self.name;
        self.places.iter().map(move |(service, variable)| {
            format!("service {service}, {variable}: {}", Self::text(name))
        })
    }

    /// What is worth telling of one that stands in no such place.
    pub fn warning(&self) -> Option<String> {
        self.places.is_empty().then(|| Self::text(&self.name))
    }

    fn text(name: &str) -> String {
        format!(
            "the variable {name} is not set: set it in .env, or write ${{{name}:-}} if it is to be empty"
        )
    }
}

/// The names in Compose's warnings, in any of the forms that its releases print.
pub fn named_unset(stderr: &str) -> BTreeSet<String> {
    let names = stderr.lines().filter_map(|line| {
        let (before, _) = line.split_once("variable is not set")?;
        let before = before.trim_end().trim_end_matches(['"', '\\']);
        Some(before.rsplit(['"', ' ']).next()?.to_owned())
    });
    names.filter(|name| !name.is_empty() && name.chars().all(is_of_name)).collect()
}

fn environment<'a>(environment: &'a Value, variable: &str) -> Option<&'a str> {
    match environment {
        Value::Object(map) => map.get(variable)?.as_str(),
        Value::Array(list) => list.iter().find_map(|item| {
            item.as_str()?.split_once('=').filter(|(key, _)| *key == variable).map(|(_, text)| text)
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// Whether a text has `$NAME` or `${NAME…` in it; a doubled dollar is a dollar.
fn asks_for(text: &str, name: &str) -> bool {
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        rest = &rest[dollar + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            rest = after;
            continue;
        }
        let found = rest.strip_prefix('{').unwrap_or(rest);
        let end = found.find(|c: char| !is_of_name(c)).unwrap_or(found.len());
        if &found[..end] == name {
            return true;
        }
    }
    false
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_read_out_of_warnings() {
        let told = "time=\"x\" level=warning msg=\"The \\\"DOMAIN\\\" variable is not set. Defaulting to a blank string.\"\n\
                    WARN[0000] The \"A_1\" variable is not set. Defaulting to a blank string.\n\
                    WARNING: The B variable is not set. Defaulting to a blank string.\n\
                    level=warning msg=\"version is obsolete\"\n";
        let names: Vec<_> = named_unset(told).into_iter().collect();
        assert_eq!(names, ["A_1", "B", "DOMAIN"]);
    }

    #[test]
    fn places_are_those_that_ask_for_it() {
        let raw = json!({"services": {
            "web": {"environment": {
                "CADDYFILE": "app.${DOMAIN:?x} {\n proxy / $CONTAINER:80\n}", "HAPROXY": "{x: $PORT}", "OTHER": "$OTHER",
            }},
            "api": {"environment": ["CADDYFILE=$$DOMAIN $${DOMAIN} $DOMAINS", "CONSUL_CHECK_URLS=[${DEEP:-$DOMAIN}]"]},
            "bare": {},
        }});
        let names = ["DOMAIN", "OTHER", "PORT"].map(str::to_owned).into();
        let found = Unset::find(&names, Some(&raw));
        let errors: Vec<_> = found.iter().flat_map(Unset::errors).collect();
        assert_eq!(errors.len(), 3, "{errors:?}");
        assert_eq!(
            errors[0],
            "service api, CONSUL_CHECK_URLS: the variable DOMAIN is not set: set it in .env, or write ${DOMAIN:-} if it is to be empty"
        );
        assert!(errors[1].starts_with("service web, CADDYFILE: the variable DOMAIN "));
        assert!(errors[2].starts_with("service web, HAPROXY: the variable PORT "));
        let warnings: Vec<_> = found.iter().filter_map(Unset::warning).collect();
        assert!(warnings.len() == 1 && warnings[0].starts_with("the variable OTHER is not set"));
        // Nothing is known of where: a warning each.
        assert_eq!(Unset::find(&names, None).iter().filter_map(Unset::warning).count(), 3);
    }
}
