//! Files that are only named in a repository, and lie elsewhere: git LFS. Checkouts hold the names.

use std::path::Path;

use crate::host::files::read_plain;

/// What is worth reading of attributes.
const MAX: usize = 256 * 1024;

/// What is said of a checkout whose repository keeps files by git LFS, if it does.
pub fn lfs_warning(checkout: &Path) -> Option<String> {
    let attributes = read_plain(&checkout.join(".gitattributes"), MAX).ok()??;
    let patterns = patterns(&String::from_utf8_lossy(&attributes));
    (!patterns.is_empty()).then(|| {
        format!(
            "git LFS is not followed: files like {} are a few lines of text in the checkout (.gitattributes), not what they stand for",
            patterns.join(", ")
        )
    })
}

/// The patterns of the files that a filter of LFS's stands for.
fn patterns(attributes: &str) -> Vec<String> {
    let lines = attributes.lines().filter(|line| !line.trim_start().starts_with('#'));
    let by_lfs = lines.filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let pattern = words.next()?;
        words.any(|word| word == "filter=lfs").then(|| pattern.chars().take(80).collect())
    });
    by_lfs.take(5).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_filter_of_lfs_stands_for_is_told() {
        let text = "# *.x filter=lfs\n*.psd filter=lfs diff=lfs merge=lfs -text\n*.txt text\n*.bin -filter\n";
        assert_eq!(patterns(text), ["*.psd"]);
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(lfs_warning(dir.path()), None);
        std::fs::write(dir.path().join(".gitattributes"), text).unwrap();
        assert!(lfs_warning(dir.path()).unwrap().contains("*.psd"));
        std::fs::write(dir.path().join(".gitattributes"), "* text=auto\n").unwrap();
        assert_eq!(lfs_warning(dir.path()), None);
    }
}
