//! The app as a service of the local Consul agent, with its checks.

use std::path::Path;

use caddyfile::{SiteUrl, privately_certified};
use serde_json::Value;

use super::{StepContext, routed};
use crate::consul::catalog::{HttpCheck, ServiceDefinition};
use crate::exec::apply::Done;
use crate::exec::context::Context;
use crate::exec::error::StepError;
use crate::host::files::read_plain;
use crate::model::{AppName, AppRecord, definition};
use crate::proxy::Issuer;

/// Registers `service.json` if the repository has one, and the generated service otherwise. Done when every node serves
/// what was committed.
pub(in crate::exec) async fn register(step: &StepContext<'_>) -> Result<Done, StepError> {
    register_entry(step.ctx, &step.app, step.prepared()?, &step.checkout()).await?;
    // A first deployment has no maintenance that ends.
    routed::wait(step).await
}

/// Registers an app by its entry and its checkout.
pub(crate) async fn register_entry(
    ctx: &Context,
    app: &AppName,
    entry: &AppRecord,
    checkout: &Path,
) -> Result<(), StepError> {
    let catalog = &ctx.cluster.catalog;
    match definition_in(checkout, app)? {
        Some(definition) => catalog.register_raw_service(definition).await.map(drop),
        None => catalog.register_service(&generated(ctx, app, entry)).await,
    }
    .map_err(|e| StepError::from_error(&e))
}

/// Removes the app's service.
pub(in crate::exec) async fn deregister(step: &StepContext<'_>) -> Result<Done, StepError> {
    let id = step.app.as_str();
    step.ctx.cluster.catalog.deregister_service(id).await.map_err(|e| StepError::from_error(&e))?;
    Ok(Done::default())
}

/// The repository's own definition, checked; its id becomes the app's name, so that it can be found again.
pub(super) fn own_definition(step: &StepContext<'_>) -> Result<Option<Value>, StepError> {
    definition_in(&step.checkout(), &step.app)
}

fn definition_in(checkout: &Path, app: &AppName) -> Result<Option<Value>, StepError> {
    let text = read_plain(&checkout.join(definition::FILE), definition::MAX);
    let Some(text) = text.map_err(|error| StepError::from_error(&error))? else {
        return Ok(None);
    };
    let parsed = definition::parse(&text, app.as_str());
    parsed.map(Some).map_err(|error| StepError::from_error(&error))
}

/// The generated service: the app's name, and a check per URL.
fn generated(ctx: &Context, app: &AppName, entry: &AppRecord) -> ServiceDefinition {
    let extra =
        entry.other.get("check_urls").and_then(Value::as_array).cloned().unwrap_or_default();
    let extra = extra.iter().filter_map(Value::as_str);
    let urls = entry
        .urls
        .split(", ")
        .filter(|url| url.starts_with("http") && !url.contains('*'))
        .chain(extra);
    let private = privately_certified(&entry.caddyfile);
    let is_private = |url: &str| {
        ctx.config.issuer == Issuer::Internal
            || SiteUrl::parse(url)
                .is_ok_and(|url| private.iter().any(|known| known.host == url.host))
    };
    let checks = urls.map(|url| HttpCheck {
        name: url.to_owned(),
        url: url.to_owned(),
        interval: ctx.config.check_interval,
        timeout: ctx.config.check_interval.min(std::time::Duration::from_secs(10)),
        skip_tls_verify: is_private(url),
    });
    let name = app.to_string();
    ServiceDefinition {
        id: name.clone(),
        name,
        address: Some(ctx.address.clone()),
        tags: Vec::new(),
        checks: checks.collect(),
    }
}
