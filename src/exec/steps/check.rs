//! The checks before anything is touched, and the KV entry that the commit will write.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use serde_json::Value;
use tracing::info;

use super::{StepContext, data, limits, mounts, place, volumes};
use crate::check::candidate::Candidate;
use crate::check::{self, Asking, Findings};
use crate::clock;
use crate::error::chain;
use crate::exec::apply::Done;
use crate::exec::claims;
use crate::exec::error::StepError;
use crate::host::compose;
use crate::host::files::read_plain;
use crate::host::repository::lfs_warning;
use crate::model::deployment::{Deployment, Step};
use crate::model::manifest::{Manifest, Unset};
use crate::model::{AppName, AppRecord, Held, MaintenancePage, keys, page};
use crate::proxy::Policies;
use crate::records;

/// Refuses what would break a rule, and prepares the entry of the new version.
pub(in crate::exec) async fn check(step: &StepContext<'_>) -> Result<Done, StepError> {
    let manifest = step.manifest(&step.new_project()).await?;
    // First: what a text says without its variables is nobody's word.
    let errors = manifest.unset.iter().flat_map(Unset::errors).collect();
    refuse(&Findings { errors, ..Findings::default() })?;
    data::require_idle(step).await?;
    let page = own_page(step)?;
    let policies = policies(step).await?;
    let policy = policies.of_repo(&step.deployment.request.app().repo);
    let asked =
        Candidate::of(&manifest, page, policy).map_err(|error| StepError::from_error(&error))?;
    let candidate = entry(step.deployment, step.ctx.address.clone(), &manifest, &asked)?;
    super::services::own_definition(step)?;
    let existing = volumes::existing(step, &manifest).await?;
    let asking = Asking {
        app: &step.app,
        entry: &candidate,
        former: step.deployment.former.as_ref(),
        manifest: &manifest,
        urls: &asked.urls,
        policy,
    };
    let mut findings = check::own(&asking);
    // Before a look at the others: two that come at the same time don't both find it free.
    let noted = claims::announce(step.ctx, &step.app, &candidate).await;
    let mut others = noted.map_err(|error| StepError::from_error(&error))?;
    others.extend(other_apps(step).await?);
    findings.extend(check::conflicts(&asking, &others));
    findings.extend(place::look(step, &manifest, &candidate).await?);
    let (mounted, carried) = mounts::look(step, &manifest);
    findings.extend(mounted);
    findings.warnings.extend(lfs_warning(&step.checkout()));
    findings.errors.extend(unknown_volumes(step, &manifest, &existing));
    findings.errors.extend(unrunnable(step));
    findings.warnings.extend(manifest.unset.iter().filter_map(Unset::warning));
    findings.errors.extend(limits::too_large(&candidate));
    findings.errors.extend(limits::unreachable_by_replication(step, &candidate).await?);
    findings.errors.extend(limits::too_old(step, &manifest).await?);
    findings.warnings.extend(limits::not_restarted(&manifest));
    refuse(&findings)?;
    step.ctx.proxies.would_accept(&step.app, &candidate).await.map_err(StepError::Refused)?;
    info!(urls = candidate.urls, volumes = ?candidate.volumes, "checked");
    let present = existing.into_iter().map(|volume| (format!("volume {volume}"), "present"));
    let carried = carried.into_iter().map(|data| (data, "carried along"));
    let output = present.chain(carried).map(|(what, how)| (what, how.to_owned()));
    Ok(Done {
        output: output.collect(),
        prepared: Some(candidate),
        warnings: findings.warnings,
        recorded: false,
    })
}

/// The repository's own maintenance page, if it has one.
fn own_page(step: &StepContext<'_>) -> Result<Option<MaintenancePage>, StepError> {
    let content = read_plain(&step.checkout().join(page::FILE), page::MAX);
    let content = content.map_err(|error| StepError::from_error(&error))?;
    let page = content.map(|content| MaintenancePage::parse(&content)).transpose();
    page.map_err(|error| StepError::Refused(vec![error.to_string()]))
}

/// The scripts that this deployment would run and that can't be.
pub(super) fn unrunnable(step: &StepContext<'_>) -> Vec<String> {
    let project = step.new_project();
    let scripts = [(Step::Update, "update.sh"), (Step::PostMigrate, "post_migrate.sh")];
    let wanted = scripts
        .iter()
        .filter(|(wanted, _)| step.deployment.steps.iter().any(|record| record.step == *wanted));
    let errors = wanted.filter_map(|(_, name)| compose::has_script(&project, name).err());
    errors.map(|error| chain(&error)).collect()
}

fn refuse(findings: &Findings) -> Result<(), StepError> {
    if findings.errors.is_empty() {
        return Ok(());
    }
    Err(StepError::Refused(findings.errors.clone()))
}

/// An app that nobody has starts with empty volumes, and one that comes to a volume of another name than its project's
/// finds it empty, too: data that no record knows is neither mounted nor removed.
fn unknown_volumes(
    step: &StepContext<'_>,
    manifest: &Manifest,
    existing: &BTreeSet<String>,
) -> Vec<String> {
    let me = &step.ctx.me;
    let own = step.project.volume("");
    let is_unknown = |name: &&String| match &step.deployment.former {
        None => true,
        // Only those that are replicated are in each entry.
        Some(former) => {
            let mut named = manifest.replicated_volumes().map(|volume| &volume.name);
            let is_new = !former.volumes.contains(*name) && !name.starts_with(&own);
            is_new && named.any(|named| named == *name)
        }
    };
    let unknown = existing.iter().filter(is_unknown);
    unknown
        .map(|volume| {
            format!("volume {volume} exists on {me}, and no app in KV has it: an app begins with empty volumes. See what it holds and whose it was, then rename or remove it")
        })
        .collect()
}

/// What admins have set; what of it can't be used is reported by the proxies, and the default applies there, too.
async fn policies(step: &StepContext<'_>) -> Result<Policies, StepError> {
    let listing = step.ctx.cluster.kv.list(keys::POLICIES).await;
    let listing = listing.map_err(|error| StepError::from_error(&error))?;
    let entries = listing.entries.iter();
    let entries = entries.map(|entry| (entry.key.as_str(), entry.value.as_slice()));
    Ok(Policies::from_entries(entries).0)
}

/// The other apps' entries; one that can't be read is reported by the proxies and is no conflict.
async fn other_apps(step: &StepContext<'_>) -> Result<Vec<(AppName, AppRecord)>, StepError> {
    let listed = records::list::<AppRecord>(step.ctx.cluster.kv.as_ref()).await;
    let listed = listed.map_err(|error| StepError::from_error(&error))?;
    Ok(listed.found.into_iter().map(|entry| (entry.name, entry.value)).collect())
}

/// The entry that the commit writes. Keys of other writers are carried over.
fn entry(
    deployment: &Deployment,
    ip: String,
    manifest: &Manifest,
    asked: &Candidate,
) -> Result<AppRecord, StepError> {
    let lost = || StepError::Lost("the record names no pair".to_owned());
    let pair = deployment.placement.as_ref().ok_or_else(lost)?;
    let app = deployment.request.app();
    let former = deployment.former.as_ref();
    let mut other = former.map(|former| former.other.clone()).unwrap_or_default();
    let checks = manifest.services.values().flat_map(|s| &s.check_urls).cloned().map(Value::String);
    other.insert("check_urls".to_owned(), Value::Array(checks.collect()));
    let mut entry = AppRecord {
        repo_url: app.repo.to_string(),
        branch: app.branch.to_string(),
        deploy_id: deployment.id.to_string(),
        previous_deploy_id: former.map(|former| former.deploy_id.clone()),
        deploy_date: deploy_date(clock::now(), former.map(|former| former.deploy_date.as_str())),
        master: pair.master.clone(),
        slave: pair.replica.clone(),
        ip,
        domains: Vec::new(),
        urls: String::new(),
        caddyfile: String::new(),
        haproxy: serde_json::Map::new(),
        ct: BTreeMap::new(),
        volumes: Vec::new(),
        maintenance_page: None,
        claims: Held::default(),
        other,
    };
    asked.fill(manifest, &mut entry);
    Ok(entry)
}

const DATE: &str = "%Y-%m-%dT%H%M%S%.6f";

/// When it was deployed: later than what the former entry says, whoever's clock wrote that. Clients wait until it changes
/// to something later.
fn deploy_date(now: DateTime<Utc>, former: Option<&str>) -> String {
    let former =
        former.and_then(|former| NaiveDateTime::parse_from_str(former, "%Y-%m-%dT%H%M%S%.f").ok());
    let after =
        former.and_then(|former| former.and_utc().checked_add_signed(TimeDelta::microseconds(1)));
    after.map_or(now, |after| now.max(after)).format(DATE).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_later_than_the_former_one() {
        let now = DateTime::UNIX_EPOCH;
        assert_eq!(deploy_date(now, None), "1970-01-01T000000.000000");
        for (former, expected) in [
            ("1969-12-31T235959.999999", "1970-01-01T000000.000000"),
            ("1970-01-01T000000.000000", "1970-01-01T000000.000001"),
            ("1970-01-01T020000.999999", "1970-01-01T020001.000000"),
            ("1970-01-01T020000", "1970-01-01T020000.000001"),
            ("", "1970-01-01T000000.000000"),
            ("yesterday", "1970-01-01T000000.000000"),
        ] {
            let date = deploy_date(now, Some(former));
            assert_eq!(date, expected, "{former}");
        }
    }
}
