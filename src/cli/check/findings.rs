//! What `tandem check` finds, and how it tells it.

use std::path::Path;

use caddyfile::{CaddyfileError, Dial, Permits};
use serde::Serialize;

use crate::check::candidate::Candidate;
use crate::check::{self, Asking};
use crate::cli::check::files::{self, Named};
use crate::cli::printer::Printer;
use crate::error::{CommandFailure, ErrorKind, chain};
use crate::host::files::FileError;
use crate::host::repository::{in_work_tree, lfs_warning};
use crate::model::manifest::{Ends, Manifest, Service, Unset, Volume};
use crate::model::{AppId, AppRecord, MaintenancePage, page};
use crate::proxy::render::{Templates, render};
use crate::proxy::{ClusterView, Policies, Policy, ProxySettings, haproxy};

/// A deployment takes a container of it that has ended for a job that is done, and warns.
const NO_RESTART: &str = "has no restart policy: Docker does not start it again; write restart: unless-stopped, or \
    \"no\" if it is to end";
const DONE: &str = "is a job by its restart policy: it is done when it has ended with code 0";

/// Where something is, and what.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    variable: Option<&'static str>,
    /// Of the variable's text, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
    what: String,
}

/// What was found in one compose file.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    file: String,
    /// Whether a deployment would take it.
    accepted: bool,
    errors: Vec<Finding>,
    /// What is accepted and has no effect, or not the one that may be expected.
    notes: Vec<Finding>,
    /// The addresses that the app serves.
    urls: Vec<String>,
    /// The HAPROXY frontends.
    frontends: Vec<String>,
    /// How long the maintenance page of the app's own is, in bytes, if it has one.
    maintenance_page: Option<usize>,
    /// Volumes, and what becomes of them when the app moves.
    volumes: Vec<VolumeFate>,
}

#[derive(Debug, Serialize)]
struct VolumeFate {
    name: String,
    driver: String,
    /// Moves with the app, snapshot by snapshot.
    replicated: bool,
    /// Somebody else's.
    external: bool,
}

impl Report {
    pub(super) fn new(file: &Path) -> Self {
        Self {
            file: file.display().to_string(),
            accepted: true,
            errors: Vec::new(),
            notes: Vec::new(),
            urls: Vec::new(),
            frontends: Vec::new(),
            maintenance_page: None,
            volumes: Vec::new(),
        }
    }

    /// Adds a reason of the whole file.
    pub(super) fn refused(&mut self, what: String) {
        self.error(Finding { what, ..Finding::default() });
    }

    /// Looks at the file beside the compose file that visitors see under maintenance.
    pub(super) fn page(&mut self, content: Result<Option<Vec<u8>>, FileError>) {
        match content.map(|content| content.map(|content| MaintenancePage::parse(&content))) {
            Ok(None) => {}
            Ok(Some(Ok(page))) => self.maintenance_page = Some(page.as_str().len()),
            Ok(Some(Err(error))) => self.refused(error.to_string()),
            Err(error) => self.refused(chain(&error)),
        }
    }

    /// Variables that nobody has set.
    pub(super) fn unset(&mut self, unset: &[Unset]) {
        unset.iter().flat_map(Unset::errors).for_each(|what| self.refused(what));
        let notes = unset.iter().filter_map(Unset::warning);
        self.notes.extend(notes.map(|what| Finding { what, ..Finding::default() }));
    }

    fn error(&mut self, finding: Finding) {
        self.accepted = false;
        self.errors.push(finding);
    }

    /// Looks at each service alone, so that each error has its place, and then at all of them together.
    pub(super) fn look_at(&mut self, manifest: &Manifest, app: &AppId, policy: &Policy) {
        for (name, service) in &manifest.services {
            self.service(name, service, manifest, policy);
        }
        self.volumes = manifest.volumes.iter().map(VolumeFate::of).collect();
        if self.accepted {
            self.together(manifest, app, policy);
        }
    }

    fn service(&mut self, name: &str, service: &Service, manifest: &Manifest, policy: &Policy) {
        let at = |variable| Finding {
            service: Some(name.to_owned()),
            variable: Some(variable),
            ..Finding::default()
        };
        if let Some(text) = &service.caddyfile {
            let is_own = |host: &str| manifest.services.values().any(|s| s.container == host);
            let may_dial = |host: &str, port| match manifest.services.get(host) {
                _ if is_own(host) || policy.may_dial(host, port) => Dial::May,
                Some(service) => Dial::Service(service.container.clone()),
                None => Dial::MayNot,
            };
            let is_given = |host: &str| policy.certificate(host).is_some();
            let permits = Permits { may_dial: &may_dial, is_given: &is_given };
            match caddyfile::translate(text, permits) {
                Ok(translation) => {
                    self.urls.extend(translation.sites.iter().map(|site| site.url.to_string()));
                    let notes = translation.notes.into_iter();
                    self.notes.extend(notes.map(|what| Finding { what, ..at("CADDYFILE") }));
                }
                Err(error) => {
                    let (line, what) = parts(&error);
                    self.error(Finding { line: Some(line), what, ..at("CADDYFILE") });
                }
            }
        }
        let end = match service.ends {
            Ends::Maybe => Some(NO_RESTART),
            Ends::Done if !service.completes => Some(DONE),
            Ends::Done | Ends::Never => None,
        };
        self.notes.extend(end.map(|what| Finding {
            service: Some(name.to_owned()),
            what: what.to_owned(),
            ..Finding::default()
        }));
        if let Some(value) = &service.haproxy {
            match haproxy::collect([(service.container.as_str(), value)], policy) {
                Ok(merged) => self.frontends.extend(merged.keys().cloned()),
                Err(error) => {
                    let what = format!("{:?}: {}", error.config, error.what);
                    self.error(Finding { what, ..at("HAPROXY") });
                }
            }
        }
    }

    /// What no service shows alone: an address that two of them declare, a port that is reserved.
    fn together(&mut self, manifest: &Manifest, app: &AppId, policy: &Policy) {
        let asked = match Candidate::of(manifest, None, policy) {
            Ok(asked) => asked,
            Err(error) => return self.refused(chain(&error)),
        };
        let Some(entry) = entry(app, manifest, &asked) else {
            return self.refused("its entry can't be made".to_owned());
        };
        let name = app.name();
        let asking =
            Asking { app: &name, entry: &entry, former: None, manifest, urls: &asked.urls, policy };
        let found = check::own(&asking);
        found.errors.into_iter().for_each(|what| self.refused(what));
        let notes = found.warnings.into_iter();
        self.notes.extend(notes.map(|what| Finding { what, ..Finding::default() }));
        if self.accepted {
            self.rendered(app, entry, policy);
        }
    }

    /// Data that no named volume holds. Compose has seen the folder at the place `seen_in`.
    pub(super) fn mounts(&mut self, manifest: &Manifest, seen_in: &Path, dir: &Path) {
        let (found, data) =
            check::mounts::mounts(manifest, seen_in, |path| in_work_tree(dir, path));
        data.iter().for_each(|data| self.refused(data.refusal()));
        let notes = found.warnings.into_iter().chain(lfs_warning(dir));
        self.notes.extend(notes.map(|what| Finding { what, ..Finding::default() }));
    }

    /// Files that a deployment's checkout would not have.
    pub(super) fn files(&mut self, named: &Named, file: &Path) {
        let (errors, notes) = files::judge(named, file);
        errors.into_iter().for_each(|what| self.refused(what));
        self.notes.extend(notes.into_iter().map(|what| Finding { what, ..Finding::default() }));
    }

    /// What the proxies would leave out on the app's master.
    fn rendered(&mut self, app: &AppId, entry: AppRecord, policy: &Policy) {
        let mut policies = Policies::default();
        policies.insert(app.repo.clone(), policy.clone());
        let view = ClusterView {
            me: entry.master.clone(),
            nodes: Default::default(),
            apps: [(app.name(), std::sync::Arc::new(entry))].into(),
            maintenance: Default::default(),
            held: Default::default(),
            swarm: Default::default(),
            policies,
        };
        let rendered = Templates::built_in().and_then(|templates| {
            render(&view, &ProxySettings::default(), &templates, &Default::default())
        });
        match rendered {
            Ok(rendered) => {
                let own = rendered.problems.into_iter();
                own.for_each(|problem| self.refused(problem.what));
            }
            Err(error) => self.refused(chain(&error)),
        }
    }

    /// Prints it; fails if a deployment would refuse the file.
    pub(super) fn print(&self, as_json: bool, out: &mut Printer<'_>) -> Result<(), CommandFailure> {
        match as_json {
            true => out.json(self)?,
            false => self.text(out)?,
        }
        match self.errors.len() {
            0 => Ok(()),
            1 => Err(self.failure("a deployment would refuse it")),
            many => Err(self.failure(&format!("a deployment would refuse it, for {many} reasons"))),
        }
    }

    fn failure(&self, what: &str) -> CommandFailure {
        CommandFailure::new(ErrorKind::Failed, format!("{}: {what}", self.file))
    }

    fn text(&self, out: &mut Printer<'_>) -> Result<(), CommandFailure> {
        let name = self.file.rsplit('/').next().unwrap_or_default();
        for (kind, findings) in [("error", &self.errors), ("note", &self.notes)] {
            for finding in findings {
                out.line(&format!("{kind}: {}", finding.text(name)))?;
            }
        }
        if !self.accepted {
            return Ok(());
        }
        for url in &self.urls {
            out.line(&format!("serves {url}"))?;
        }
        for frontend in &self.frontends {
            out.line(&format!("HAPROXY {frontend}"))?;
        }
        if let Some(bytes) = self.maintenance_page {
            out.line(&format!("{} is the app's maintenance page ({bytes} bytes)", page::FILE))?;
        }
        for volume in &self.volumes {
            out.line(&volume.text())?;
        }
        out.line(&format!("{}: a deployment would take it", self.file))
    }
}

impl Finding {
    /// With its place in the file of this name.
    fn text(&self, file: &str) -> String {
        let service = self.service.iter().map(|service| format!("service {service}"));
        let variable = self.variable.iter().map(|variable| (*variable).to_owned());
        let line = self.line.iter().map(|line| format!("line {line}"));
        let place: Vec<_> = service.chain(variable).chain(line).collect();
        match place.is_empty() {
            true => format!("{file}: {}", self.what),
            false => format!("{file}, {}: {}", place.join(", "), self.what),
        }
    }
}

impl VolumeFate {
    fn of(volume: &Volume) -> Self {
        Self {
            name: volume.key.clone(),
            driver: volume.driver.clone(),
            replicated: volume.replicated && !volume.external,
            external: volume.external,
        }
    }

    fn text(&self) -> String {
        let (name, driver) = (&self.name, &self.driver);
        match self.replicated {
            _ if self.external => format!(
                "volume {name} is external: it has to be on the node, and is neither made nor moved with the app"
            ),
            true => format!("volume {name} ({driver}) moves with the app"),
            false => {
                format!("volume {name} ({driver}) does not move: on another node it begins empty")
            }
        }
    }
}

fn parts(error: &CaddyfileError) -> (u32, String) {
    match error {
        CaddyfileError::Syntax { line, what } => (*line, what.clone()),
        CaddyfileError::Directive { line, directive, what } => {
            (*line, format!("{directive}: {what}"))
        }
        CaddyfileError::Service { service, error } => {
            let (line, what) = parts(error);
            (line, format!("service {service}: {what}"))
        }
    }
}

/// The entry of an app that runs on a node of no name.
fn entry(app: &AppId, manifest: &Manifest, asked: &Candidate) -> Option<AppRecord> {
    let bare = serde_json::json!({
        "repo_url": app.repo.to_string(), "branch": app.branch.to_string(),
        "deploy_id": "", "master": "localhost", "ip": "127.0.0.1",
    });
    let mut entry: AppRecord = serde_json::from_value(bare).ok()?;
    asked.fill(manifest, &mut entry);
    Some(entry)
}
