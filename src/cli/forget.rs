//! `tandem forget`

use clap::Args;

use super::consul_failure;
use super::printer::Printer;
use crate::consul::kv::Kv;
use crate::consul::txn::TxnOp;
use crate::error::{CommandFailure, ErrorKind};
use crate::model::{AppName, keys};

/// Give up apps whose entries are missing
///
/// Where many entries below `app/` are gone at once and no record says that the apps were destroyed, the nodes go on
/// serving what they knew of them, and `tandem status` names them. This says that they are gone indeed. It removes no
/// container, volume or snapshot; an app that is there is destroyed by a `destroy` event.
#[derive(Debug, Args)]
pub(super) struct ForgetArgs {
    /// Their names, as `tandem status` writes them
    #[arg(required = true, value_parser = AppName::parse)]
    apps: Vec<AppName>,
}

pub(super) async fn run(
    args: &ForgetArgs,
    kv: &dyn Kv,
    out: &mut Printer<'_>,
) -> Result<(), CommandFailure> {
    for app in &args.apps {
        let found = kv.get(&keys::app(app)).await.map_err(|error| consul_failure(&error))?;
        if found.is_some() {
            let text = format!("{app} is there");
            return Err(CommandFailure::new(ErrorKind::Usage, text)
                .hint("a `destroy` event removes an app and keeps its snapshots"));
        }
        let given_up = TxnOp::Set { key: keys::gone(app), value: Vec::new() };
        kv.transact(vec![given_up]).await.map_err(|error| consul_failure(&error))?;
        out.line(&format!("{app} is given up: the nodes cease to serve it within seconds"))?;
    }
    Ok(())
}
