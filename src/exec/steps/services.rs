//! The app as a service of the local Consul agent, with its checks.

use serde_json::Value;

use super::StepContext;
use crate::consul::catalog::{HttpCheck, ServiceDefinition};
use crate::exec::apply::Done;
use crate::exec::error::StepError;
use crate::model::definition;
use crate::proxy::Issuer;
use crate::proxy::caddyfile::{SiteUrl, privately_certified};

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
    let path = step.checkout().join(definition::FILE);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StepError::Failed(format!("{}: {error}", definition::FILE))),
    };
    let parsed = definition::parse(&text, step.app.as_str());
    parsed.map(Some).map_err(|error| StepError::from_error(&error))
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
