//! Repositories, and the proxies' check.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tandem::exec::ProxyCheck;
use tandem::host::repository::{Commit, FakeRepositories, Progress, Repositories, RepositoryError};
use tandem::model::{AppId, AppName, AppRecord};

use crate::apps::Flaw;
use crate::gate::{Gate, Pace};

pub(crate) struct SimRepositories {
    pub(crate) gate: Arc<Gate>,
    pub(crate) inner: Arc<FakeRepositories>,
}

#[async_trait]
impl Repositories for SimRepositories {
    async fn checkout(
        &self,
        app: &AppId,
        target: &Path,
        progress: Progress,
    ) -> Result<Commit, RepositoryError> {
        let (inner, id, path) = (self.inner.clone(), app.clone(), target.to_owned());
        let repo = app.repo.clone();
        let failure = || RepositoryError::TimedOut { repo, after: Duration::from_secs(1) };
        self.gate
            .call(|| format!("checkout {}", app.name()), Pace::Own, failure, async move {
                inner.checkout(&id, &path, progress).await
            })
            .await
    }
}

/// Proxies that refuse the versions that are made to be refused.
pub(crate) struct SimProxies {
    pub(crate) gate: Arc<Gate>,
}

#[async_trait]
impl ProxyCheck for SimProxies {
    async fn would_accept(&self, app: &AppName, _: &AppRecord) -> Result<(), Vec<String>> {
        let found = self.gate.world.apps.iter().find(|own| own.name == *app);
        let flaw = found.map_or(Flaw::None, |app| app.head.lock().unwrap().flaw);
        match flaw {
            Flaw::Refused => Err(vec!["Caddy says no".to_owned()]),
            Flaw::None | Flaw::Build | Flaw::Update | Flaw::Up | Flaw::Unhealthy => Ok(()),
        }
    }
}
