//! `tandem check`

mod files;
mod findings;

use std::path::{Path, PathBuf};

use clap::Args;

use super::printer::Printer;
use crate::error::{CommandFailure, ErrorKind, chain};
use crate::host::compose::{Compose, ComposeError, Project};
use crate::host::files::read_plain;
use crate::model::manifest::Manifest;
use crate::model::{AppId, Branch, Repo, definition, page};
use crate::proxy::Policy;
use findings::Report;

/// The names that Compose looks for, in its order.
const NAMES: [&str; 4] =
    ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];

/// Check an app's compose file before pushing it
///
/// Makes the checks that a deployment makes of the text: Compose accepts the file, CADDYFILE, HAPROXY, CONSUL_CHECK_URLS,
/// service.json and maintenance.html can be used, nothing is declared twice. It needs `docker compose`, but no cluster and no running
/// Docker; what only a cluster can tell (other apps' hosts and ports, the proxies' own checks) is left to the deployment.
///
/// Exit codes: 0 the deployment would take it; 1 it would not; 3 Compose is not there; 4 there is no such file.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct CheckArgs {
    /// The compose file, or the folder that it is in
    #[arg(default_value = ".")]
    path: PathBuf,
    /// The names of the volume drivers whose volumes are replicated, as in the agents' settings
    #[arg(long, env = "TANDEM_VOLUME_DRIVERS", value_delimiter = ',', default_value = DRIVERS, value_name = "NAMES")]
    volume_drivers: Vec<String>,
    /// A policy for the app's repository, as in KV: the text of a key below tandem/policy/
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const DRIVERS: &str = "anybox/buttervolume:latest,ccomb/buttervolume:latest,btrfs";

pub(super) async fn run(
    args: &CheckArgs,
    compose: &dyn Compose,
    out: &mut Printer<'_>,
) -> Result<(), CommandFailure> {
    let file = compose_file(&args.path)?;
    let dir = file.parent().unwrap_or(Path::new("/"));
    let app = app_of(dir)?;
    let project = Project { name: app.name().project(), dir: dir.to_owned() };
    let policy = args.policy.as_deref().map_or(Ok(Policy::DEFAULT), policy)?;
    let mut report = Report::new(&file);
    let (config, seen_in) = files::config(compose, &project).await;
    match config {
        Ok(config) => match Manifest::parse(&config.value, &project.name, &args.volume_drivers) {
            Ok(manifest) => {
                report.unset(&config.unset);
                report.look_at(&manifest, &app, &policy);
                report.mounts(&manifest, seen_in.path(dir), dir);
                let written = compose.written(&project).await.ok();
                let places = [seen_in.path(dir), dir];
                report.files(&files::named(&manifest, written.as_ref(), places), &file);
            }
            Err(error) => report.refused(chain(&error)),
        },
        Err(ComposeError::Invalid { why }) => report.refused(why),
        Err(error) => {
            return Err(CommandFailure::from_error(ErrorKind::Unavailable, &error).hint(
                "`tandem check` asks `docker compose config`: is the Compose plugin installed?",
            ));
        }
    }
    report.page(read_plain(&dir.join(page::FILE), page::MAX));
    match read_plain(&dir.join(definition::FILE), definition::MAX) {
        Ok(Some(text)) => {
            if let Err(error) = definition::parse(&text, app.name().as_str()) {
                report.refused(error.to_string());
            }
        }
        Ok(None) => {}
        Err(error) => report.refused(chain(&error)),
    }
    report.print(args.json, out)
}

/// What an admin has set, or means to set, for the repository. Which one it names does not matter here.
fn policy(path: &Path) -> Result<Policy, CommandFailure> {
    let shown = path.display();
    let text = std::fs::read(path)
        .map_err(|error| CommandFailure::new(ErrorKind::NotFound, format!("{shown}: {error}")))?;
    let parsed = Policy::parse(&text).map(|(_, policy)| policy);
    parsed.map_err(|error| CommandFailure::new(ErrorKind::Usage, format!("{shown} {error}")))
}

/// The file itself, so that messages can name it. What it links to has another name, which nobody looks for.
fn compose_file(path: &Path) -> Result<PathBuf, CommandFailure> {
    let missing = |text: String| Err(CommandFailure::new(ErrorKind::NotFound, text));
    let Ok(real) = path.canonicalize() else {
        return missing(format!("{}: there is no such file or folder", path.display()));
    };
    if real.is_dir() {
        let file = named_files(&real).into_iter().map(|name| real.join(name));
        return match file.into_iter().find(|file| file.is_file()) {
            Some(file) => Ok(file),
            None => {
                missing(format!("{} has no compose file ({})", path.display(), NAMES.join(", ")))
            }
        };
    }
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    match named_files(&dir).iter().any(|known| known == name) {
        true => Ok(dir.join(name)),
        false => Err(CommandFailure::new(
            ErrorKind::Usage,
            format!("a deployment does not look at {name:?}, only at {}", NAMES.join(", ")),
        )),
    }
}

/// The names of the files that Compose reads in a folder: those that its `.env` names, else the usual ones.
fn named_files(dir: &Path) -> Vec<String> {
    let env = std::fs::read_to_string(dir.join(".env")).unwrap_or_default();
    let named = env.lines().rev().find_map(|line| line.trim().strip_prefix("COMPOSE_FILE="));
    match named.map(|named| named.trim().trim_matches(['"', '\''])) {
        Some(named) if !named.is_empty() => named.split(':').map(str::to_owned).collect(),
        Some(_) | None => NAMES.map(str::to_owned).into(),
    }
}

/// A name for the app: which one does not matter, save that containers and volumes are named after it.
fn app_of(dir: &Path) -> Result<AppId, CommandFailure> {
    let wrong = |error: &dyn std::error::Error| CommandFailure::from_error(ErrorKind::Usage, error);
    let name = dir.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let plain: String = name.chars().filter(|c| c.is_ascii_alphanumeric()).collect();
    let name = if plain.is_empty() { "app".to_owned() } else { plain };
    Ok(AppId {
        repo: Repo::parse(&format!("file:///{name}")).map_err(|error| wrong(&error))?,
        branch: Branch::parse("main").map_err(|error| wrong(&error))?,
    })
}

#[cfg(test)]
mod tests;
