//! Texts that nothing waits for are adapted beside all else: thousands of them take minutes.

use std::sync::Arc;

use tokio::task::JoinSet;
use tracing::warn;

use super::adapted::{Adapted, Outcome};
use crate::model::AppName;
use crate::proxy::control::ProxyControl;
use crate::proxy::render::AppSites;

/// So many are adapted before the outcomes are put to use.
const BATCH: usize = 64;

/// At most one batch at a time; it ends with this.
#[derive(Default)]
pub(super) struct Beside(JoinSet<Batch>);

struct Batch {
    outcomes: Vec<(AppName, Arc<AppSites>, Outcome)>,
    /// Whether Caddy could be asked about all of them.
    is_whole: bool,
}

impl Beside {
    pub(super) fn is_busy(&self) -> bool {
        !self.0.is_empty()
    }

    /// Notes the outcomes of a batch that has ended; false if it was not asked to its end.
    pub(super) fn finished(&mut self, adapted: &mut Adapted) -> bool {
        let mut is_whole = true;
        while let Some(ended) = self.0.try_join_next() {
            let batch = match ended {
                Ok(batch) => batch,
                // What it has asked is on disk: what it stumbled over would be met again at once.
                Err(error) => {
                    warn!(%error, "texts that stand by were not adapted; they are tried again");
                    is_whole = false;
                    continue;
                }
            };
            is_whole &= batch.is_whole;
            for (app, sites, outcome) in &batch.outcomes {
                adapted.note(app, sites, outcome);
            }
        }
        is_whole
    }

    /// Begins with some of the texts, unless it is busy.
    pub(super) fn begin(
        &mut self,
        adapted: &Adapted,
        control: Arc<dyn ProxyControl>,
        mut texts: Vec<(AppName, Arc<AppSites>)>,
    ) {
        if self.is_busy() {
            return;
        }
        texts.truncate(BATCH);
        let disk = adapted.disk().clone();
        self.0.spawn(async move {
            let mut batch = Batch { outcomes: Vec::new(), is_whole: true };
            for (app, sites) in texts {
                match disk.outcome(control.as_ref(), &sites).await {
                    Ok(outcome) => batch.outcomes.push((app, sites, outcome.map(Arc::new))),
                    Err(_) => {
                        batch.is_whole = false;
                        break;
                    }
                }
            }
            batch
        });
    }
}
