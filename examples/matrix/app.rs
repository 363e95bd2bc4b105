//! The guestbook's repository: one commit per deployment, each with a name of its own, sound or broken.

use std::path::Path;
use std::process::Command;

use crate::case::Pair;
use crate::fault::Version;
use crate::support::{Lab, Repo};

/// Where it is published.
const NAME: &str = "guestbook";

/// The app that all runs deploy.
pub(crate) struct App {
    pub(crate) repo: Repo,
    pub(crate) name: String,
    pub(crate) project: String,
}

impl App {
    /// The first version.
    pub(crate) fn first(lab: &Lab) -> Self {
        publish(lab, "first", Version::Sound);
        let url = lab.run(&["git-url", NAME, "git"]).trim().to_owned();
        let repo = Repo { name: NAME.to_owned(), url };
        let (name, project) = (repo.app(), repo.project());
        Self { repo, name, project }
    }

    /// The payload of a deploy event.
    pub(crate) fn deploy(&self, pair: Pair) -> String {
        let value = serde_json::json!({
            "repo": self.repo.url, "branch": "master", "master": pair.master, "slave": pair.slave,
            "update": true,
        });
        value.to_string()
    }

    /// The payload of a destroy event.
    pub(crate) fn destroy(&self) -> String {
        self.repo.destroy()
    }

    pub(crate) fn record_key(&self, id: &str) -> String {
        format!("tandem/deployments/{}/{id}", self.name)
    }
}

/// Commits a version: `label` is what the app says at /version.
pub(crate) fn publish(lab: &Lab, label: &str, version: Version) {
    let dir = tempfile::tempdir().unwrap();
    let lay = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/apps/lay");
    let laid = Command::new(lay).arg("guestbook").arg(dir.path()).status().unwrap();
    assert!(laid.success(), "the guestbook could not be laid");
    std::fs::write(dir.path().join("app/version"), format!("{label}\n")).unwrap();
    spoil(dir.path(), version);
    lab.run(&["git-import", dir.path().to_str().unwrap(), NAME]);
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
