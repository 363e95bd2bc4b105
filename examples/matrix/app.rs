//! The guestbook's repository: one commit per deployment, each with a name of its own, sound or broken.

use std::path::Path;
use std::process::Command;

use crate::case::Pair;
use crate::fault::Version;
use crate::support::{Lab, Repo};

/// An app of the runs: the guestbook under a name and a host of its own.
pub(crate) struct App {
    repo: Repo,
    /// As the records know it.
    pub(crate) name: String,
    pub(crate) project: String,
    pub(crate) host: &'static str,
}

impl App {
    /// The app that every run deploys.
    pub(crate) fn main(lab: &Lab) -> Self {
        Self::new(lab, "guestbook", "guestbook.test")
    }

    /// The app that data is migrated to.
    pub(crate) fn other(lab: &Lab) -> Self {
        Self::new(lab, "other", "other.test")
    }

    fn new(lab: &Lab, name: &str, host: &'static str) -> Self {
        let url = lab.run(&["git-url", name, "git"]).trim().to_owned();
        let repo = Repo { name: name.to_owned(), url };
        let (name, project) = (repo.app(), repo.project());
        Self { repo, name, project, host }
    }

    /// Commits a version: `label` is what the app says at /version.
    pub(crate) fn publish(&self, lab: &Lab, label: &str, version: Version) {
        let dir = tempfile::tempdir().unwrap();
        let lay = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/apps/lay");
        let laid = Command::new(lay).arg("guestbook").arg(dir.path()).status().unwrap();
        assert!(laid.success(), "the guestbook could not be laid");
        std::fs::write(dir.path().join("app/version"), format!("{label}\n")).unwrap();
        edit(&dir.path().join("docker-compose.yml"), "guestbook.test", self.host);
        spoil(dir.path(), version);
        lab.run(&["git-import", dir.path().to_str().unwrap(), &self.repo.name]);
    }

    /// The payload of a deploy event.
    pub(crate) fn deploy(&self, pair: Pair, update: bool) -> String {
        let value = serde_json::json!({
            "repo": self.repo.url, "branch": "master", "master": pair.master, "slave": pair.slave,
            "update": update,
        });
        value.to_string()
    }

    /// The payload of a destroy event.
    pub(crate) fn destroy(&self) -> String {
        self.repo.destroy()
    }

    /// The payload of a migrate event from this app to another one.
    pub(crate) fn migrate(&self, to: &App) -> String {
        let target = serde_json::json!({"repo": to.repo.url});
        serde_json::json!({"repo": self.repo.url, "branch": "master", "target": target}).to_string()
    }

    pub(crate) fn record_key(&self, id: &str) -> String {
        format!("tandem/deployments/{}/{id}", self.name)
    }
}

/// Breaks the version in one place.
fn spoil(dir: &Path, version: Version) {
    let compose = |old, new| edit(&dir.join("docker-compose.yml"), old, new);
    match version {
        Version::Sound => {}
        Version::PullFails => compose("    build: db\n", "    image: tandem-fixtures/none:1\n"),
        Version::BuildFails => {
            edit(&dir.join("app/Dockerfile"), "CMD ", "RUN echo \"on purpose\" >&2; exit 3\nCMD ");
        }
        Version::UpFails => {
            compose("    build: app\n", "    build: app\n    entrypoint: [\"/nowhere\"]\n");
        }
        Version::NeverHealthy => {
            let test = "test: [\"CMD\", \"curl\"";
            compose(test, "test: [\"CMD\", \"false\", \"curl\"");
            compose("start_period: 30s", "start_period: 1s");
        }
        Version::UpdateFails => std::fs::write(dir.join("update.exit"), "1\n").unwrap(),
    }
}

fn edit(file: &Path, old: &str, new: &str) {
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.contains(old), "{} does not contain {old:?}", file.display());
    std::fs::write(file, text.replace(old, new)).unwrap();
}
