//! `service.json`: the repository's own definition of its Consul service.

use serde_json::Value;

/// Its name, at the root of the repository.
pub const FILE: &str = "service.json";
/// A file larger than this is none.
pub const MAX: usize = 64 * 1024;
/// What a check may not do: run something on the node.
const REFUSED_KEYS: [&str; 4] = ["args", "script", "dockercontainerid", "shell"];

/// Why a definition is not registered.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{FILE}: {0}")]
pub struct DefinitionError(String);

/// Reads a definition; `id` becomes its id, so that it can be found again.
///
/// # Errors
/// [`DefinitionError`] for what Consul would not take, and for checks that run something on the node.
pub fn parse(text: &[u8], id: &str) -> Result<Value, DefinitionError> {
    let refuse = |what: String| Err(DefinitionError(what));
    if text.len() > MAX {
        return refuse("is larger than 64 KiB".to_owned());
    }
    let value: Value =
        serde_json::from_slice(text).map_err(|error| DefinitionError(error.to_string()))?;
    let Value::Object(mut fields) = value else {
        let what = "must be an object, as Consul's /v1/agent/service/register takes it";
        return refuse(what.to_owned());
    };
    // Files for `consul services register` wrap the definition.
    if let Some(Value::Object(inner)) =
        fields.remove("service").or_else(|| fields.remove("Service"))
    {
        fields = inner;
    }
    if let Some(key) = find_key(&Value::Object(fields.clone())) {
        return refuse(format!(
            "{key:?} would run something on the node; use an HTTP or TCP check"
        ));
    }
    if !fields.keys().any(|key| key.eq_ignore_ascii_case("name")) {
        return refuse("has no \"Name\"".to_owned());
    }
    fields.retain(|key, _| !key.eq_ignore_ascii_case("id"));
    fields.insert("ID".to_owned(), Value::String(id.to_owned()));
    Ok(Value::Object(fields))
}

fn find_key(value: &Value) -> Option<String> {
    match value {
        Value::Object(fields) => fields.iter().find_map(|(key, value)| {
            match REFUSED_KEYS.contains(&key.to_lowercase().as_str()) {
                true => Some(key.clone()),
                false => find_key(value),
            }
        }),
        Value::Array(items) => items.iter().find_map(find_key),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_gets_the_apps_name_as_its_id() {
        let value = parse(br#"{"service":{"name":"x","id":"y","port":1}}"#, "app_main.00000");
        assert_eq!(value.unwrap(), serde_json::json!({"name":"x","port":1,"ID":"app_main.00000"}));
    }

    #[test]
    fn a_definition_that_runs_something_is_refused() {
        for text in [
            r#"{"Name":"x","Check":{"Args":["id"]}}"#,
            r#"{"Name":"x","Checks":[{"Script":"id"}]}"#,
        ] {
            let error = parse(text.as_bytes(), "a").unwrap_err().to_string();
            assert!(error.starts_with("service.json: ") && error.contains("would run"), "{error}");
        }
        assert!(parse(b"[]", "a").is_err() && parse(b"{}", "a").is_err());
    }
}
