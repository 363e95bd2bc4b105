//! What a service mounts, as far as it is no named volume.

use std::path::PathBuf;

use serde_json::Value;

/// Files that keep a folder in git and say nothing of what is to be in it.
const PLACEHOLDERS: [&str; 3] = [".gitkeep", ".gitignore", ".keep"];

/// What the repository has at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InRepository {
    /// Nothing, or a folder that is kept for what is to come.
    Nothing,
    /// A file.
    File,
    /// A folder with files.
    Folder,
}

impl InRepository {
    /// Of a folder, by the names of what is in it.
    pub fn folder<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        match names.into_iter().all(|name| PLACEHOLDERS.contains(&name)) {
            true => Self::Nothing,
            false => Self::Folder,
        }
    }
}

/// A mount whose content Tandem neither copies nor keeps.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mount {
    /// A file or directory of the node.
    Bind {
        /// Where it is on the node.
        source: PathBuf,
        /// Where the container sees it.
        target: String,
        /// Whether the container may only read it.
        read_only: bool,
    },
    /// A volume that Docker makes with the container, and that no name leads to.
    Anonymous {
        /// Where the container sees it.
        target: String,
    },
}

/// The mounts of a service, and the targets of all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mounts {
    /// Binds and anonymous volumes, in the file's order.
    pub kept_by_nobody: Vec<Mount>,
    /// Where something is mounted, whatever it is: an image's `VOLUME` there makes no anonymous one.
    pub targets: Vec<String>,
}

pub(super) fn mounts(service: &Value) -> Mounts {
    let mut found = Mounts::default();
    let tmpfs = service.get("tmpfs").and_then(Value::as_array).into_iter().flatten();
    let tmpfs = tmpfs.filter_map(Value::as_str).filter_map(|text| text.split(':').next());
    found.targets.extend(tmpfs.map(str::to_owned));
    for volume in service.get("volumes").and_then(Value::as_array).into_iter().flatten() {
        let text = |key: &str| volume.get(key).and_then(Value::as_str).map(super::text::unescape);
        let Some(target) = text("target") else { continue };
        let source = text("source").filter(|source| !source.is_empty());
        let read_only = volume.get("read_only").and_then(Value::as_bool).unwrap_or_default();
        found.targets.push(target.clone());
        match (text("type").as_deref(), source) {
            (Some("bind"), Some(source)) => {
                found.kept_by_nobody.push(Mount::Bind { source: source.into(), target, read_only });
            }
            (Some("volume"), None) => found.kept_by_nobody.push(Mount::Anonymous { target }),
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_only_keeps_its_place_holds_nothing() {
        assert_eq!(InRepository::folder([".gitkeep", ".gitignore"]), InRepository::Nothing);
        assert_eq!(InRepository::folder([]), InRepository::Nothing);
        assert_eq!(InRepository::folder([".gitkeep", "a.conf"]), InRepository::Folder);
    }
}
