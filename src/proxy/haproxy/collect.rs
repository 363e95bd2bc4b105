//! The `HAPROXY` values of one compose file as one: what the app's record holds.

use serde_json::{Map, Value};

use super::declaration::port;
use super::{Declaration, DeclarationError, parse_all};
use crate::proxy::Policy;

/// Merges the values of services, each with its container: binds and options of the same CONFIG as sets, backends one
/// after the other, `ct` filled in, unless it names a place that the policy adds. The result is checked, so a record never holds what would be refused later.
pub fn collect<'a>(
    services: impl IntoIterator<Item = (&'a str, &'a Value)>,
    policy: &Policy,
) -> Result<Map<String, Value>, DeclarationError> {
    let mut merged = Map::new();
    for (container, value) in services {
        let configs = value.as_object().ok_or_else(|| DeclarationError {
            config: String::new(),
            what: "is not an object of configurations".to_owned(),
        })?;
        for (config, value) in configs {
            let mut value = value.clone();
            fill_in(&mut value, container, policy);
            match merged.get_mut(config) {
                Some(known) => add(known, value),
                None => {
                    merged.insert(config.clone(), value);
                }
            }
        }
    }
    merged.values_mut().for_each(conditions_first);
    let declarations = parse_all(&merged, policy.keywords())?;
    unique_backends(&declarations)?;
    for declaration in &declarations {
        if let Some(backend) =
            declaration.backends.iter().find(|backend| backend.peer_port.is_none())
        {
            return Err(DeclarationError {
                config: declaration.name.clone(),
                what: format!("backend {:?} lacks 'peer_port'", backend.name),
            });
        }
    }
    Ok(merged)
}

/// Refuses two backends of one name and kind: HAProxy would refuse everything.
pub(in crate::proxy) fn unique_backends(all: &[Declaration]) -> Result<(), DeclarationError> {
    let mut seen = std::collections::BTreeSet::new();
    for declaration in all {
        for backend in &declaration.backends {
            if !seen.insert(declaration.backend_name(backend).to_ascii_lowercase()) {
                return Err(DeclarationError {
                    config: declaration.name.clone(),
                    what: format!(
                        "there is a second backend {:?}: give each its 'name'",
                        backend.name
                    ),
                });
            }
        }
    }
    Ok(())
}

fn fill_in(config: &mut Value, container: &str, policy: &Policy) {
    let backends = config.get_mut("backends").and_then(Value::as_array_mut);
    for backend in backends.into_iter().flatten() {
        if let Some(fields) = backend.as_object_mut()
            && !is_elsewhere(fields, policy)
        {
            fields.insert("ct".to_owned(), Value::from(container));
        }
    }
}

/// The order of services is not the one of the compose file, and a backend for everything else goes last in any.
fn conditions_first(config: &mut Value) {
    let is_for_the_rest = |backend: &Value| {
        let condition = backend.get("use_backend_option").and_then(Value::as_str);
        condition.unwrap_or_default().trim().is_empty()
    };
    if let Some(backends) = config.get_mut("backends").and_then(Value::as_array_mut) {
        backends.sort_by_key(is_for_the_rest);
    }
}

/// Whether a backend names a place that the policy adds to the app's containers.
fn is_elsewhere(backend: &Map<String, Value>, policy: &Policy) -> bool {
    let place = backend.get("ct").and_then(Value::as_str);
    let port = port(backend, "port").ok().flatten();
    place.zip(port).is_some_and(|(host, port)| policy.may_dial(host, port))
}

fn add(known: &mut Value, mut more: Value) {
    for name in ["bind", "options"] {
        let pointer = format!("/frontend/{name}");
        let items = more.pointer_mut(&pointer).map(Value::take);
        let Some(Value::Array(items)) = items else {
            continue;
        };
        match known.pointer_mut(&pointer).and_then(Value::as_array_mut) {
            Some(list) => {
                for item in items {
                    if !list.contains(&item) {
                        list.push(item);
                    }
                }
            }
            None => {
                if let Some(frontend) = known.get_mut("frontend").and_then(Value::as_object_mut) {
                    frontend.insert(name.to_owned(), Value::Array(items));
                }
            }
        }
    }
    if let (Some(Value::Array(backends)), Some(list)) = (
        more.get_mut("backends").map(Value::take),
        known.get_mut("backends").and_then(Value::as_array_mut),
    ) {
        list.extend(backends);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn services_of_one_file_are_merged() {
        let one = json!({"ssh": {"frontend": {"mode": "tcp", "bind": ["*:2222"], "options": ["option tcplog"]},
            "backends": [{"name": "a", "port": 22, "peer_port": "2222"}]}});
        let two = json!({"ssh": {"frontend": {"mode": "tcp", "bind": ["*:2222", "*:2223"], "options": ["option tcplog"]},
            "backends": [{"name": "b", "port": "22", "peer_port": 2223}]}});
        let merged = collect([("x_one_1", &one), ("x_two_1", &two)], &Policy::DEFAULT).unwrap();
        let ssh = &merged["ssh"];
        assert_eq!(ssh["frontend"]["bind"], json!(["*:2222", "*:2223"]));
        assert_eq!(ssh["frontend"]["options"], json!(["option tcplog"]));
        let cts: Vec<_> = ssh["backends"].as_array().unwrap().iter().map(|b| &b["ct"]).collect();
        assert_eq!(cts, ["x_one_1", "x_two_1"]);
        assert!(
            collect([("x", &one), ("y", &one)], &Policy::DEFAULT).is_err(),
            "two backends of one name"
        );
    }

    #[test]
    fn a_backend_without_a_name_has_its_containers() {
        let value = json!({"ssh": {"frontend": {"mode": "tcp", "bind": ["*:2222"]},
            "backends": [{"port": 22, "peer_port": 2222}]}});
        let merged = collect([("x_git_1", &value)], &Policy::DEFAULT).unwrap();
        let declared = parse_all(&merged, Policy::DEFAULT.keywords()).unwrap();
        assert_eq!(declared[0].backends[0].name, "x_git_1");
        let two = json!({"ssh": {"frontend": {"mode": "tcp", "bind": ["*:2222"]}, "backends": [
            {"port": 22, "peer_port": 2222, "use_backend_option": "if { src 10.0.0.0/8 }"},
            {"port": 23, "peer_port": 2222, "name": ""}]}});
        let error = collect([("x_git_1", &two)], &Policy::DEFAULT).unwrap_err().to_string();
        assert!(error.contains("second backend \"x_git_1\": give each its 'name'"), "{error}");
    }

    #[test]
    fn a_name_may_stand_once_in_each_kind() {
        let standard = |condition: &str| json!({"backends": [{"name": "h.test", "use_backend_option": condition, "port": 80, "peer_port": 80}]});
        let value = json!({
            "http-in": standard("if { hdr(host) -i h.test }"),
            "https-in": standard("if { req_ssl_sni -i h.test }"),
            "own": {"frontend": {"mode": "tcp", "bind": ["*:2222"]},
                "backends": [{"name": "h.test", "port": 22, "peer_port": 2222}]},
        });
        let merged = collect([("x_web_1", &value)], &Policy::DEFAULT).unwrap();
        let declared = parse_all(&merged, Policy::DEFAULT.keywords()).unwrap();
        let names: Vec<_> = declared.iter().map(|d| d.backend_name(&d.backends[0])).collect();
        assert_eq!(names, ["backend.http-in.h.test", "backend.https-in.h.test", "backend-h.test"]);
    }

    /// The service that comes first by its name may be the one that takes everything.
    #[test]
    fn conditions_come_before_what_takes_the_rest() {
        let of = |condition: &str| {
            json!({"mux": {"frontend": {"mode": "tcp", "bind": ["*:2222"]}, "backends": [
                {"name": format!("n{}", condition.len()), "use_backend_option": condition, "port": 22, "peer_port": 2222}]}})
        };
        let (all, some, other) = (of(""), of("if { src 0.0.0.0/0 }"), of("if { src 10.0.0.0/8 } "));
        let merged =
            collect([("a_ssh_1", &all), ("b_web_1", &some), ("c_x_1", &other)], &Policy::DEFAULT)
                .unwrap();
        let cts: Vec<_> = merged["mux"]["backends"]
            .as_array()
            .unwrap()
            .iter()
            .map(|b| b["ct"].as_str().unwrap())
            .collect();
        assert_eq!(cts, ["b_web_1", "c_x_1", "a_ssh_1"]);
        // Also where an entry has them otherwise.
        let mut entry = merged;
        entry["mux"]["backends"].as_array_mut().unwrap().reverse();
        let declared = parse_all(&entry, Policy::DEFAULT.keywords()).unwrap();
        assert_eq!(declared[0].backends.last().unwrap().ct, "a_ssh_1");
    }

    #[test]
    fn a_backend_may_be_elsewhere_if_the_policy_says_so() {
        let value = json!({"mail": {"frontend": {"mode": "tcp", "bind": ["*:2525"]}, "backends": [
            {"name": "a", "port": 25, "peer_port": 2525, "ct": "Mail.test"},
            {"name": "b", "port": "26", "peer_port": 2525, "ct": "mail.test"},
            {"name": "c", "port": 25, "peer_port": 2525},
        ]}});
        let policy = br#"{"repo": "https://git.test/x", "upstreams": ["mail.test:25"]}"#;
        let (_, policy) = Policy::parse(policy).unwrap();
        let cts = |policy| {
            let merged = collect([("x_mail_1", &value)], policy).unwrap();
            let backends = merged["mail"]["backends"].as_array().unwrap().clone();
            backends.iter().map(|b| b["ct"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(cts(&policy), ["Mail.test", "x_mail_1", "x_mail_1"]);
        assert_eq!(cts(&Policy::DEFAULT), ["x_mail_1", "x_mail_1", "x_mail_1"]);
    }
}
