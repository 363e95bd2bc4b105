//! The `.env` of a checkout, which makes plain compose commands in it mean the right project.

use std::fs;
use std::path::Path;

use super::{ComposeError, Project};
use crate::host::files::{self, FileError};

/// Set by Tandem; what the repository says about them is dropped.
const OURS: [&str; 3] = ["COMPOSE_PROJECT_NAME", "COMPOSE_COMPATIBILITY", "CONTAINER"];

/// Writes the checkout's `.env`: the repository's own lines, then the project's name and what keeps `$CONTAINER` as it is
/// when compose fills in variables. Idempotent.
pub async fn prepare_env(project: &Project) -> Result<(), ComposeError> {
    let Project { name, dir } = project.clone();
    files::off_thread(move || complete(&dir, name.as_str()))
        .await
        .map_err(|source| ComposeError::Checkout { project: project.name.clone(), source })
}

fn complete(dir: &Path, project: &str) -> Result<(), FileError> {
    let path = dir.join(".env");
    check_place(dir, &path)?;
    let old = files::read(&path)?.unwrap_or_default();
    let text = merge(&String::from_utf8_lossy(&old), project);
    if text.as_bytes() != old {
        files::replace(&path, text.as_bytes(), 0o644)?;
    }
    Ok(())
}

/// A `.env` that links out of the checkout would show another file's lines to the app's containers.
fn check_place(dir: &Path, path: &Path) -> Result<(), FileError> {
    match (fs::canonicalize(path), fs::canonicalize(dir)) {
        (Ok(real), Ok(root)) if !real.starts_with(&root) => Err(FileError::Io {
            action: "take",
            path: path.to_owned(),
            source: std::io::Error::other("it links out of the checkout"),
        }),
        (_, _) => Ok(()),
    }
}

fn merge(old: &str, project: &str) -> String {
    let mut text = String::new();
    for line in old.lines().filter(|line| !is_ours(line)) {
        text.push_str(line);
        text.push('\n');
    }
    text.push_str(&format!(
        "COMPOSE_PROJECT_NAME={project}\nCOMPOSE_COMPATIBILITY=true\nCONTAINER='$CONTAINER'\n"
    ));
    text
}

fn is_ours(line: &str) -> bool {
    let line = line.trim_start();
    let line = line.strip_prefix("export ").unwrap_or(line);
    let key = line.split(['=', ':']).next().unwrap_or_default();
    OURS.contains(&key.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    use crate::model::AppName;

    const ADDED: &str =
        "COMPOSE_PROJECT_NAME=p1\nCOMPOSE_COMPATIBILITY=true\nCONTAINER='$CONTAINER'\n";

    fn project(dir: &Path) -> Project {
        Project { name: AppName::parse("p1").unwrap().project(), dir: dir.to_owned() }
    }

    #[test]
    fn the_repositorys_lines_are_kept_and_ours_are_replaced() {
        let old = "# note\nA=b\nexport COMPOSE_PROJECT_NAME=evil\nCONTAINER = x\nCONTAINERS=kept\n COMPOSE_COMPATIBILITY: no";
        let new = merge(old, "p1");
        assert_eq!(new, format!("# note\nA=b\nCONTAINERS=kept\n{ADDED}"));
        assert_eq!(merge(&new, "p1"), new);
        assert_eq!(merge("", "p1"), ADDED);
    }

    #[tokio::test]
    async fn a_checkout_without_env_gets_one() {
        let dir = tempfile::tempdir().unwrap();
        prepare_env(&project(dir.path())).await.unwrap();
        assert_eq!(fs::read_to_string(dir.path().join(".env")).unwrap(), ADDED);
    }

    #[tokio::test]
    async fn a_link_out_of_the_checkout_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        symlink("/etc/passwd", dir.path().join(".env")).unwrap();
        assert!(prepare_env(&project(dir.path())).await.is_err());
        let inside = tempfile::tempdir().unwrap();
        fs::write(inside.path().join("defaults"), "A=b\n").unwrap();
        symlink("defaults", inside.path().join(".env")).unwrap();
        prepare_env(&project(inside.path())).await.unwrap();
        let text = fs::read_to_string(inside.path().join(".env")).unwrap();
        assert_eq!(text, format!("A=b\n{ADDED}"));
    }
}
