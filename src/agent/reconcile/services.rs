//! Registrations with the local Consul agent, which forgets them with its data.

use tracing::{info, warn};

use super::{Known, still};
use crate::consul::ConsulError;
use crate::exec::{Context, register_entry};
use crate::model::DeployId;

/// Registers the apps that serve here and are not registered, and takes back what is registered here of the others.
pub(super) async fn mend(ctx: &Context, known: &[Known]) -> Result<(), ConsulError> {
    let registered = ctx.cluster.catalog.services().await?;
    for app in known {
        let is_here = registered.contains_key(app.app.as_str());
        if is_here == (app.record.master == ctx.me) {
            continue;
        }
        let _busy = ctx.busy.with(&app.app).await;
        let Some(record) = still(ctx, app).await else { continue };
        if is_here {
            info!(app = %app.app, "serves elsewhere: its service is taken back");
            ctx.cluster.catalog.deregister_service(app.app.as_str()).await?;
            continue;
        }
        // An entry that names no deployment has no checkout, and so no service.json.
        let Ok(id) = DeployId::parse(&app.record.deploy_id) else { continue };
        let checkout = app.app.checkout(&ctx.config.deploy_dir, &id);
        match register_entry(ctx, &app.app, &record, &checkout).await {
            Ok(()) => info!(app = %app.app, "registered again"),
            Err(error) => warn!(app = %app.app, %error, "can't be registered"),
        }
    }
    Ok(())
}
