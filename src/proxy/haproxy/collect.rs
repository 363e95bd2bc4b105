//! The `HAPROXY` values of one compose file as one: what the app's record holds.

use serde_json::{Map, Value};

use super::{Declaration, DeclarationError, parse_all};

/// Merges the values of services, each with its container: binds and options of the same CONFIG as sets, backends one
/// after the other, `ct` filled in. The result is checked, so a record never holds what would be refused later.
pub fn collect<'a>(
    services: impl IntoIterator<Item = (&'a str, &'a Value)>,
) -> Result<Map<String, Value>, DeclarationError> {
    let mut merged = Map::new();
    for (container, value) in services {
        let configs = value.as_object().ok_or_else(|| DeclarationError {
            config: String::new(),
            what: "is not an object of configurations".to_owned(),
        })?;
        for (config, value) in configs {
            let mut value = value.clone();
            fill_in(&mut value, container);
            match merged.get_mut(config) {
                Some(known) => add(known, value),
                None => {
                    merged.insert(config.clone(), value);
                }
            }
        }
    }
    let declarations = parse_all(&merged)?;
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

/// Refuses two backends of one name: HAProxy would refuse everything.
pub(in crate::proxy) fn unique_backends(all: &[Declaration]) -> Result<(), DeclarationError> {
    let mut seen = std::collections::BTreeSet::new();
    for declaration in all {
        for backend in &declaration.backends {
            if !seen.insert(backend.name.as_str()) {
                return Err(DeclarationError {
                    config: declaration.name.clone(),
                    what: format!("there is a second backend {:?}", backend.name),
                });
            }
        }
    }
    Ok(())
}

fn fill_in(config: &mut Value, container: &str) {
    let backends = config.get_mut("backends").and_then(Value::as_array_mut);
    for backend in backends.into_iter().flatten() {
        if let Some(fields) = backend.as_object_mut() {
            fields.insert("ct".to_owned(), Value::from(container));
        }
    }
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
        let merged = collect([("x_one_1", &one), ("x_two_1", &two)]).unwrap();
        let ssh = &merged["ssh"];
        assert_eq!(ssh["frontend"]["bind"], json!(["*:2222", "*:2223"]));
        assert_eq!(ssh["frontend"]["options"], json!(["option tcplog"]));
        let cts: Vec<_> = ssh["backends"].as_array().unwrap().iter().map(|b| &b["ct"]).collect();
        assert_eq!(cts, ["x_one_1", "x_two_1"]);
        assert!(collect([("x", &one), ("y", &one)]).is_err(), "two backends of one name");
    }
}
