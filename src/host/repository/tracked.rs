//! What a repository has below a folder.

use std::fs;
use std::path::Path;

use crate::model::manifest::InRepository;

/// Names that a folder's content is judged by: more say nothing new.
const MANY: usize = 100;

/// What a fresh checkout has at a path: all that is there comes from the repository.
pub fn in_checkout(path: &Path) -> InRepository {
    match fs::symlink_metadata(path) {
        Err(_) => InRepository::Nothing,
        Ok(facts) if !facts.is_dir() => InRepository::File,
        Ok(_) => {
            let entries = fs::read_dir(path).into_iter().flatten().flatten().take(MANY);
            let names: Vec<_> =
                entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
            InRepository::folder(names.iter().map(String::as_str))
        }
    }
}

/// What git has of a path below a folder that somebody works in; where there is no repository, all that is there counts.
pub fn in_work_tree(dir: &Path, path: &Path) -> InRepository {
    let known = || {
        let repository = git2::Repository::discover(dir).ok()?;
        let root = repository.workdir()?.canonicalize().ok()?;
        let inside = dir.canonicalize().ok()?.strip_prefix(&root).ok()?.join(path);
        let index = repository.index().ok()?;
        let below = index.iter().filter_map(|entry| {
            let entry = String::from_utf8(entry.path).ok()?;
            Path::new(&entry).strip_prefix(&inside).ok().map(Path::to_owned)
        });
        let below: Vec<_> = below.take(MANY).collect();
        if below.iter().any(|rest| rest.as_os_str().is_empty()) {
            return Some(InRepository::File);
        }
        let names = below.iter().filter_map(|rest| rest.to_str());
        Some(InRepository::folder(names))
    };
    known().unwrap_or_else(|| in_checkout(&dir.join(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_has_in_a_folder_is_not_in_git_before_it_is_added() {
        let dir = tempfile::tempdir().unwrap();
        let app = dir.path().join("app");
        for (path, text) in [("data/db", "x"), ("html/index.html", "x"), ("kept/.gitkeep", "")] {
            fs::create_dir_all(app.join(path).parent().unwrap()).unwrap();
            fs::write(app.join(path), text).unwrap();
        }
        let told = |path: &str| in_work_tree(&app, Path::new(path));
        assert_eq!(told("data"), InRepository::Folder, "there is no repository");
        let repository = git2::Repository::init(dir.path()).unwrap();
        let mut index = repository.index().unwrap();
        index.add_path(Path::new("app/html/index.html")).unwrap();
        index.add_path(Path::new("app/kept/.gitkeep")).unwrap();
        index.write().unwrap();
        assert_eq!(told("data"), InRepository::Nothing);
        assert_eq!(told("kept"), InRepository::Nothing);
        assert_eq!(told("html"), InRepository::Folder);
        assert_eq!(told(""), InRepository::Folder);
        assert_eq!(told("html/index.html"), InRepository::File);
        assert_eq!(told("html/uploads"), InRepository::Nothing);
        assert_eq!(in_checkout(&app.join("kept")), InRepository::Nothing);
        assert_eq!(in_checkout(&app.join("none")), InRepository::Nothing);
        assert_eq!(in_checkout(&app.join("html/index.html")), InRepository::File);
    }
}
