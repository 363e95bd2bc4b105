//! The files that a compose file needs, and which of them a deployment's checkout would have: all that git has, and a
//! `.env`.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::host::compose::{Compose, ComposeError, Config, Project, prepare_env};
use crate::host::repository::in_work_tree;
use crate::model::manifest::{InRepository, Manifest};

/// What each deployment writes, also where the repository has none.
const ENV: &str = ".env";

/// Paths below the app's folder, each with what it is for.
pub(super) type Named = BTreeMap<PathBuf, String>;

/// Where Compose has seen the files.
pub(super) struct SeenIn(Option<TempDir>);

impl SeenIn {
    /// The folder itself, or what stood in its place.
    pub(super) fn path<'a>(&'a self, dir: &'a Path) -> &'a Path {
        self.0.as_ref().map_or(dir, TempDir::path)
    }
}

/// The compose file as a deployment sees it: a checkout has a `.env` in any case. Where this folder has none, and the
/// compose file can't do without, another one stands in its place; nothing is written to the app's own.
pub(super) async fn config(
    compose: &dyn Compose,
    project: &Project,
) -> (Result<Config, ComposeError>, SeenIn) {
    let found = compose.config(project).await;
    let lacks_env = |why: &str| why.contains(ENV) && !project.dir.join(ENV).exists();
    match &found {
        Err(ComposeError::Invalid { why }) if lacks_env(why) => {}
        _ => return (found, SeenIn(None)),
    }
    let Ok(stand_in) = stand_in(&project.dir) else { return (found, SeenIn(None)) };
    let as_deployed = Project { name: project.name.clone(), dir: stand_in.path().to_owned() };
    if prepare_env(&as_deployed).await.is_err() {
        return (found, SeenIn(None));
    }
    (compose.config(&as_deployed).await, SeenIn(Some(stand_in)))
}

/// A folder with links to all that is in another one.
fn stand_in(dir: &Path) -> std::io::Result<TempDir> {
    let made = tempfile::tempdir_in(std::env::temp_dir().canonicalize()?)?;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        symlink(entry.path(), made.path().join(entry.file_name()))?;
    }
    Ok(made)
}

/// The files that the compose file names, by their paths below the app's folder, which Compose has seen at each of
/// `places`; `written` is what it says before variables are filled in.
pub(super) fn named(manifest: &Manifest, written: Option<&Value>, places: [&Path; 2]) -> Named {
    let mut named = Named::new();
    for (path, what) in &manifest.files {
        named.insert(path.clone(), what.clone());
    }
    let services = written.and_then(|w| w.get("services")).and_then(Value::as_object);
    for (name, service) in services.into_iter().flatten() {
        let files = service.get("env_file").and_then(Value::as_array).into_iter().flatten();
        let needed = files.filter(|file| file.get("required") != Some(&Value::Bool(false)));
        let paths = needed.filter_map(|file| file.get("path").unwrap_or(file).as_str());
        for path in paths.filter(|path| !path.contains('$')) {
            named.insert(path.into(), format!("an env_file of service {name}"));
        }
        if let Some(dockerfile) = dockerfile(service).filter(|path| path.exists()) {
            named.insert(dockerfile, format!("the Dockerfile of service {name}"));
        }
    }
    let below = |path: PathBuf| {
        let below = places.iter().find_map(|place| path.strip_prefix(place).ok());
        below.map_or_else(|| path.clone(), Path::to_owned)
    };
    named.into_iter().map(|(path, what)| (below(path), what)).collect()
}

/// What an image is built by, where that is a file.
fn dockerfile(service: &Value) -> Option<PathBuf> {
    let build = service.get("build")?;
    let context = Path::new(build.get("context")?.as_str()?);
    let file = build.get("dockerfile").and_then(Value::as_str).unwrap_or("Dockerfile");
    context.is_absolute().then(|| context.join(file))
}

/// What keeps a deployment from being as this folder is, and what may: errors and notes.
pub(super) fn judge(named: &Named, file: &Path) -> (Vec<String>, Vec<String>) {
    let dir = file.parent().unwrap_or(Path::new("/"));
    let (mut errors, mut notes) = (Vec::new(), Vec::new());
    let mut all = named.clone();
    all.remove(Path::new(ENV));
    if let Some(name) = file.file_name() {
        all.insert(name.into(), "the compose file".to_owned());
    }
    for (path, what) in all.iter().filter(|(path, _)| path.is_relative()) {
        if in_work_tree(dir, path) != InRepository::Nothing {
            continue;
        }
        let shown = path.display();
        match dir.join(path).exists() {
            true => notes.push(format!(
                "{shown} ({what}) is here and not in git: a deployment would not have it (git add {shown})"
            )),
            false if dir.join("update.sh").exists() => notes.push(format!(
                "{shown} ({what}) is not here: update.sh has to make it"
            )),
            false => errors.push(format!("{shown} ({what}) is not here")),
        }
    }
    let env = dir.join(ENV);
    if env.exists() && in_work_tree(dir, Path::new(ENV)) == InRepository::Nothing {
        notes.push(format!(
            "{ENV} is here and not in git: a deployment would have none of its variables"
        ));
    }
    (errors, notes)
}
