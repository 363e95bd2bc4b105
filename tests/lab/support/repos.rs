//! Compose repositories on the lab's git server, laid from the fixtures.

use std::path::Path;
use std::process::Command;

use super::Lab;

/// A repository on the lab's git server.
pub(crate) struct Repo {
    pub(crate) name: String,
    pub(crate) url: String,
}

impl Repo {
    /// Publishes a fixture under a repository name; again: a later commit.
    pub(crate) fn publish(lab: &Lab, fixture: &str, name: &str) -> Self {
        Self::publish_edited(lab, fixture, name, &[])
    }

    /// As [`Repo::publish`], with texts of the compose file replaced.
    pub(crate) fn publish_edited(
        lab: &Lab,
        fixture: &str,
        name: &str,
        edits: &[(&str, &str)],
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let lay = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/apps/lay");
        let laid = Command::new(lay).arg(fixture).arg(dir.path()).status().unwrap();
        assert!(laid.success(), "fixture {fixture} could not be laid");
        let file = dir.path().join("docker-compose.yml");
        let mut text = std::fs::read_to_string(&file).unwrap();
        for (old, new) in edits {
            assert!(text.contains(old), "{fixture} does not contain {old:?}");
            text = text.replace(old, new);
        }
        std::fs::write(&file, text).unwrap();
        lab.run(&["git-import", dir.path().to_str().unwrap(), name]);
        let url = lab.run(&["git-url", name, "git"]).trim().to_owned();
        Self { name: name.to_owned(), url }
    }

    /// The same repository by ssh.
    pub(crate) fn by_ssh(&self, lab: &Lab) -> Self {
        let url = lab.run(&["git-url", &self.name, "ssh"]).trim().to_owned();
        Self { name: self.name.clone(), url }
    }

    pub(crate) fn deploy(&self, master: &str, slave: Option<&str>) -> String {
        let slave = slave.map_or("null".to_owned(), |slave| format!(r#""{slave}""#));
        format!(
            r#"{{"repo":"{}","branch":"master","master":"{master}","slave":{slave}}}"#,
            self.url
        )
    }

    pub(crate) fn destroy(&self) -> String {
        format!(r#"{{"repo":"{}","branch":"master"}}"#, self.url)
    }

    /// The app's name, as the records know it.
    pub(crate) fn app(&self) -> String {
        let repo = tandem::model::Repo::parse(&self.url).unwrap();
        let branch = tandem::model::Branch::parse("master").unwrap();
        tandem::model::AppId { repo, branch }.name().to_string()
    }

    /// The compose project's name.
    pub(crate) fn project(&self) -> String {
        tandem::model::AppName::parse(&self.app()).unwrap().project().to_string()
    }
}
