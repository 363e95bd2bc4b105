//! The apps' repositories: one commit per deployment, each with a name of its own, sound or broken.

use std::path::Path;
use std::process::Command;

use tandem::model::AppId;

use crate::case::Pair;
use crate::fault::Version;
use crate::support::{Lab, Repo};

/// What a run deploys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Which {
    /// The guestbook: every run but those of a few names.
    Guestbook,
    /// The guestbook on a branch with capitals and a slash in its name.
    Branch,
    /// WordPress with MariaDB.
    Blog,
}

impl Which {
    pub(crate) const ALL: [Self; 3] = [Self::Guestbook, Self::Branch, Self::Blog];

    /// What the names of its runs begin with.
    pub(crate) fn prefix(self) -> &'static str {
        match self {
            Which::Guestbook => "",
            Which::Branch => "branch:",
            Which::Blog => "blog:",
        }
    }

    fn fixture(self) -> &'static str {
        match self {
            Which::Guestbook | Which::Branch => "guestbook",
            Which::Blog => "blog",
        }
    }

    /// The service that says the version, and the database's.
    pub(crate) fn services(self) -> [&'static str; 2] {
        match self {
            Which::Guestbook | Which::Branch => ["app", "db"],
            Which::Blog => ["web", "db"],
        }
    }

    /// The BTRFS volumes.
    pub(crate) fn replicated(self) -> [&'static str; 2] {
        match self {
            Which::Guestbook | Which::Branch => ["attachments", "database"],
            Which::Blog => ["database", "uploads"],
        }
    }

    /// The local volume.
    pub(crate) fn local(self) -> Option<&'static str> {
        match self {
            Which::Guestbook | Which::Branch => Some("cache"),
            Which::Blog => None,
        }
    }
}

/// Where an app answers, and how it is talked to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Site {
    pub(crate) host: &'static str,
    pub(crate) which: Which,
}

/// An app of the runs under a name and a host of its own.
pub(crate) struct App {
    repo: Repo,
    branch: &'static str,
    pub(crate) site: Site,
    /// As the records know it.
    pub(crate) name: String,
    pub(crate) project: String,
}

impl App {
    /// The app that a run deploys.
    pub(crate) fn of(lab: &Lab, which: Which) -> Self {
        match which {
            Which::Guestbook => Self::new(lab, "guestbook", "master", "guestbook.test", which),
            Which::Branch => Self::new(lab, "guestbook", "Feature/x-1", "branch.test", which),
            Which::Blog => {
                lab.run(&["image", "blog"]);
                Self::new(lab, "blog", "master", "blog.test", which)
            }
        }
    }

    /// The app that data is migrated to.
    pub(crate) fn other(lab: &Lab) -> Self {
        Self::new(lab, "other", "master", "other.test", Which::Guestbook)
    }

    fn new(lab: &Lab, name: &str, branch: &'static str, host: &'static str, which: Which) -> Self {
        let url = lab.run(&["git-url", name, "git"]).trim().to_owned();
        let repo = Repo { name: name.to_owned(), url };
        let parsed = tandem::model::Repo::parse(&repo.url).unwrap();
        let id = AppId { repo: parsed, branch: tandem::model::Branch::parse(branch).unwrap() };
        let (name, project) = (id.name().to_string(), id.name().project().to_string());
        Self { repo, branch, site: Site { host, which }, name, project }
    }

    /// Commits a version: `label` is what the app says at /version.
    pub(crate) fn publish(&self, lab: &Lab, label: &str, version: Version) {
        let dir = tempfile::tempdir().unwrap();
        let fixture = self.site.which.fixture();
        let lay = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/apps/lay");
        let laid = Command::new(lay).arg(fixture).arg(dir.path()).status().unwrap();
        assert!(laid.success(), "{fixture} could not be laid");
        let [service, _] = self.site.which.services();
        std::fs::write(dir.path().join(service).join("version"), format!("{label}\n")).unwrap();
        edit(&dir.path().join("docker-compose.yml"), &format!("{fixture}.test"), self.site.host);
        spoil(dir.path(), version);
        lab.run(&["git-import", dir.path().to_str().unwrap(), &self.repo.name, self.branch]);
    }

    /// The payload of a deploy event.
    pub(crate) fn deploy(&self, pair: Pair, update: bool) -> String {
        let value = serde_json::json!({
            "repo": self.repo.url, "branch": self.branch, "master": pair.master, "slave": pair.slave,
            "update": update,
        });
        value.to_string()
    }

    /// The payload of a destroy event.
    pub(crate) fn destroy(&self) -> String {
        serde_json::json!({"repo": self.repo.url, "branch": self.branch}).to_string()
    }

    /// The payload of a migrate event from this app to another one.
    pub(crate) fn migrate(&self, to: &App) -> String {
        let target = serde_json::json!({"repo": to.repo.url});
        serde_json::json!({"repo": self.repo.url, "branch": self.branch, "target": target})
            .to_string()
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
