//! Services: how they are registered and listed.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::ConsulError;

const CALL: &str = "PUT agent/service/register";

/// A service to register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceDefinition {
    /// Its id on this node; may hold `/`.
    pub id: String,
    /// Its name in the catalog.
    pub name: String,
    /// Its address, if it isn't the node's.
    pub address: Option<String>,
    /// Its checks, carried out by the local agent.
    pub checks: Vec<HttpCheck>,
    /// Its tags.
    pub tags: Vec<String>,
}

/// A GET that must answer 2xx.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpCheck {
    /// What Consul's page shows.
    pub name: String,
    /// What is asked for.
    pub url: String,
    /// The time between two checks.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Whether any certificate will do: that of an authority which only the app's own node has can't be checked.
    pub skip_tls_verify: bool,
}

/// A service of the local agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceInfo {
    /// Its name in the catalog.
    pub name: String,
    /// Its address; empty: the node's.
    pub address: String,
    /// Its port; 0: none.
    pub port: u16,
    /// Its tags.
    pub tags: Vec<String>,
}

/// The body of a registration and the id that it gets.
#[derive(Debug)]
pub(crate) struct Registration {
    pub(crate) id: String,
    pub(crate) body: Value,
}

impl ServiceDefinition {
    /// The registration that Consul's API takes.
    pub(crate) fn registration(&self) -> Registration {
        let checks: Vec<Value> = self.checks.iter().map(HttpCheck::to_wire).collect();
        let mut body = json!({
            "ID": self.id,
            "Name": self.name,
            "Tags": self.tags,
            "Checks": checks,
        });
        if let Some(address) = &self.address {
            body["Address"] = json!(address);
        }
        Registration { id: self.id.clone(), body }
    }
}

impl HttpCheck {
    fn to_wire(&self) -> Value {
        json!({
            "Name": self.name,
            "HTTP": self.url,
            "Interval": format!("{}ms", self.interval.as_millis()),
            "Timeout": format!("{}ms", self.timeout.as_millis()),
            "TLSSkipVerify": self.skip_tls_verify,
            // It is registered when it was just found healthy; the first check may be an interval away.
            "Status": "passing",
        })
    }
}

impl Registration {
    /// A registration from an app's `service.json`: Consul's own rule for a missing id is the name.
    pub(crate) fn from_file(file: Value) -> Result<Self, ConsulError> {
        let refuse = |reason: &str| Err(ConsulError::argument(CALL, reason));
        let Value::Object(mut object) = file else {
            return refuse("service.json is not an object");
        };
        if object.len() == 1
            && let Some(inner) = object.remove("service")
        {
            let Value::Object(inner) = inner else {
                return refuse("the service in service.json is not an object");
            };
            object = inner;
        }
        match text(&object, "id").or_else(|| text(&object, "name")) {
            Some(id) if text(&object, "name").is_some() => {
                Ok(Self { id: id.to_owned(), body: Value::Object(object) })
            }
            Some(_) | None => refuse("service.json has no name"),
        }
    }
}

/// A field with text in it; Consul takes names of fields in any case.
fn text<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    object
        .iter()
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .and_then(|(_, value)| value.as_str())
        .filter(|value| !value.is_empty())
}

/// Whether every release reads the id from a path as it is written.
pub(super) fn is_plain_id(id: &str) -> bool {
    id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte))
        && !id.split('/').any(|part| matches!(part, "" | "." | ".."))
}

#[derive(Deserialize)]
struct WireService {
    #[serde(rename = "Service", alias = "Name")]
    name: String,
    #[serde(rename = "Address", default)]
    address: String,
    #[serde(rename = "Port", default)]
    port: u16,
    #[serde(rename = "Tags", default)]
    tags: Option<Vec<String>>,
}

/// The answer of `agent/services`, or the bodies of registrations.
pub(crate) fn parse_services(
    services: BTreeMap<String, Value>,
) -> Result<BTreeMap<String, ServiceInfo>, serde_json::Error> {
    services
        .into_iter()
        .map(|(id, value)| {
            let wire: WireService = serde_json::from_value(value)?;
            let info = ServiceInfo {
                name: wire.name,
                address: wire.address,
                port: wire.port,
                tags: wire.tags.unwrap_or_default(),
            };
            Ok((id, info))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_becomes_a_registration() {
        let service = ServiceDefinition {
            id: "foobar_x/y.ddb14".into(),
            name: "foobar".into(),
            address: None,
            checks: vec![HttpCheck {
                name: "HTTP check".into(),
                url: "https://foobar.example".into(),
                interval: Duration::from_secs(60),
                timeout: Duration::from_secs(10),
                skip_tls_verify: false,
            }],
            tags: vec![],
        };
        assert_eq!(
            service.registration().body,
            json!({"ID": "foobar_x/y.ddb14", "Name": "foobar", "Tags": [], "Checks": [
                {"Name": "HTTP check", "HTTP": "https://foobar.example", "Interval": "60000ms", "Timeout": "10000ms", "TLSSkipVerify": false, "Status": "passing",}
            ]})
        );
    }

    #[test]
    fn a_file_may_be_of_either_form() {
        let id = |file: Value| Registration::from_file(file).map(|r| r.id);
        assert_eq!(id(json!({"Name": "a", "Port": 80})).unwrap(), "a");
        assert_eq!(id(json!({"name": "a", "ID": "b"})).unwrap(), "b");
        assert_eq!(id(json!({"service": {"name": "a"}})).unwrap(), "a");
        for bad in [
            json!([]),
            json!({}),
            json!({"id": "a"}),
            json!({"service": 1}),
            json!({"services": [{"name": "a"}]}),
        ] {
            assert!(Registration::from_file(bad).is_err());
        }
    }

    #[test]
    fn services_are_listed_by_id() {
        let wire = serde_json::from_str(
            r#"{"b/1":{"ID":"b/1","Service":"b","Tags":null,"Port":0,"Address":"","Meta":{}}}"#,
        )
        .unwrap();
        assert_eq!(parse_services(wire).unwrap()["b/1"].name, "b");
    }

    #[test]
    fn a_plain_id_is_one_that_no_encoding_changes() {
        assert!(is_plain_id("foobar_x/y.ddb14"));
        for id in ["a b", "a%20b", "a//b", "/a", "a/", "a/../b", "é", ""] {
            assert!(!is_plain_id(id), "{id}");
        }
    }
}
