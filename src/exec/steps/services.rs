//! The app as a service of the local Consul agent, with its checks.

use serde_json::Value;

use super::StepContext;
use crate::consul::catalog::{HttpCheck, ServiceDefinition};
use crate::exec::apply::Done;
use crate::exec::error::StepError;
use crate::proxy::Issuer;
use crate::proxy::caddyfile::{SiteUrl, privately_certified};

/// A `service.json` larger than this is not one.
const MAX_SERVICE_JSON: usize = 64 * 1024;
/// What a check in `service.json` may not do: run something on the node.
const REFUSED_CHECK_KEYS: [&str; 4] = ["args", "script", "dockercontainerid", "shell"];

/// Registers `service.json` if the repository has one, and the generated service otherwise.
pub(in crate::exec) async fn register(step: &StepContext<'_>) -> Result<Done, StepError> {
    let catalog = &step.ctx.cluster.catalog;
    match own_definition(step)? {
        Some(definition) => catalog.register_raw_service(definition).await.map(drop),
        None => catalog.register_service(&generated(step)?).await,
    }
    .map_err(|e| StepError::from_error(&e))?;
    Ok(Done::default())
}

/// Removes the app's service.
pub(in crate::exec) async fn deregister(step: &StepContext<'_>) -> Result<Done, StepError> {
    let id = step.app.as_str();
    step.ctx.cluster.catalog.deregister_service(id).await.map_err(|e| StepError::from_error(&e))?;
    Ok(Done::default())
}

/// The repository's own definition, checked; its id becomes the app's name, so that it can be found again.
pub(super) fn own_definition(step: &StepContext<'_>) -> Result<Option<Value>, StepError> {
    let path = step.checkout().join("service.json");
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StepError::Failed(format!("service.json: {error}"))),
    };
    parse_definition(&text, step.app.as_str())
        .map(Some)
        .map_err(|problem| StepError::Failed(format!("service.json: {problem}")))
}

fn parse_definition(text: &[u8], id: &str) -> Result<Value, String> {
    if text.len() > MAX_SERVICE_JSON {
        return Err("is larger than 64 KiB".to_owned());
    }
    let value: Value = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let Value::Object(mut fields) = value else {
        return Err("must be an object, as Consul's /v1/agent/service/register takes it".to_owned());
    };
    // Files for `consul services register` wrap the definition.
    if let Some(Value::Object(inner)) =
        fields.remove("service").or_else(|| fields.remove("Service"))
    {
        fields = inner;
    }
    if let Some(key) = find_key(&Value::Object(fields.clone()), &REFUSED_CHECK_KEYS) {
        return Err(format!("{key:?} would run something on the node; use an HTTP or TCP check"));
    }
    if !fields.keys().any(|key| key.eq_ignore_ascii_case("name")) {
        return Err("has no \"Name\"".to_owned());
    }
    fields.retain(|key, _| !key.eq_ignore_ascii_case("id"));
    fields.insert("ID".to_owned(), Value::String(id.to_owned()));
    Ok(Value::Object(fields))
}

fn find_key(value: &Value, keys: &[&str]) -> Option<String> {
    match value {
        Value::Object(fields) => fields.iter().find_map(|(key, value)| {
            if keys.contains(&key.to_lowercase().as_str()) {
                Some(key.clone())
            } else {
                find_key(value, keys)
            }
        }),
        Value::Array(items) => items.iter().find_map(|item| find_key(item, keys)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// The generated service: the app's name, and a check per URL.
fn generated(step: &StepContext<'_>) -> Result<ServiceDefinition, StepError> {
    let prepared = step.prepared()?;
    let extra =
        prepared.other.get("check_urls").and_then(Value::as_array).cloned().unwrap_or_default();
    let extra = extra.iter().filter_map(Value::as_str);
    let urls = prepared
        .urls
        .split(", ")
        .filter(|url| url.starts_with("http") && !url.contains('*'))
        .chain(extra);
    let private = privately_certified(&prepared.caddyfile);
    let is_private = |url: &str| {
        step.ctx.config.issuer == Issuer::Internal
            || SiteUrl::parse(url)
                .is_ok_and(|url| private.iter().any(|known| known.host == url.host))
    };
    let checks = urls.map(|url| HttpCheck {
        name: url.to_owned(),
        url: url.to_owned(),
        interval: step.ctx.config.check_interval,
        timeout: step.ctx.config.check_interval.min(std::time::Duration::from_secs(10)),
        skip_tls_verify: is_private(url),
    });
    let name = step.app.to_string();
    Ok(ServiceDefinition {
        id: name.clone(),
        name,
        address: Some(step.ctx.address.clone()),
        tags: Vec::new(),
        checks: checks.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_gets_the_apps_name_as_its_id() {
        let value =
            parse_definition(br#"{"service":{"name":"x","id":"y","port":1}}"#, "app_main.00000");
        assert_eq!(value.unwrap(), serde_json::json!({"name":"x","port":1,"ID":"app_main.00000"}));
    }

    #[test]
    fn a_definition_that_runs_something_is_refused() {
        for text in [
            r#"{"Name":"x","Check":{"Args":["id"]}}"#,
            r#"{"Name":"x","Checks":[{"Script":"id"}]}"#,
        ] {
            assert!(parse_definition(text.as_bytes(), "a").unwrap_err().contains("would run"));
        }
        assert!(parse_definition(b"[]", "a").is_err() && parse_definition(b"{}", "a").is_err());
    }
}
