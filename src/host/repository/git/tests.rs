use super::*;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::Mutex;

use git2::{Repository, Signature};

use crate::model::{Branch, Repo};

struct Fixture {
    dir: tempfile::TempDir,
    bare: PathBuf,
}

impl Fixture {
    /// A bare repository `app.git` with branches `main` and `both`, and tags `v1` (annotated) and `both`.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let bare = dir.path().join("app.git");
        let repo = Repository::init_bare(&bare).unwrap();
        let first = commit(&repo, "refs/heads/main", "one");
        let object = repo.find_object(first, None).unwrap();
        repo.tag("v1", &object, &me(), "a release", false).unwrap();
        repo.tag_lightweight("both", &object, false).unwrap();
        commit(&repo, "refs/heads/main", "two");
        commit(&repo, "refs/heads/both", "from the branch");
        Self { dir, bare }
    }

    fn app(&self, branch: &str) -> AppId {
        self.app_at(&self.bare.with_extension(""), branch)
    }

    fn app_at(&self, path: &Path, branch: &str) -> AppId {
        AppId {
            repo: Repo::parse(&format!("file://{}", path.display())).unwrap(),
            branch: Branch::parse(branch).unwrap(),
        }
    }

    fn target(&self) -> PathBuf {
        self.dir.path().join("deploy/app_x/main-1")
    }

    async fn checkout(&self, branch: &str) -> Result<Commit, RepositoryError> {
        git().checkout(&self.app(branch), &self.target(), Progress::log()).await
    }

    fn text(&self) -> String {
        fs::read_to_string(self.target().join("file")).unwrap()
    }

    fn leftovers(&self) -> usize {
        let parent = self.target();
        let entries = fs::read_dir(parent.parent().unwrap()).unwrap();
        entries.filter(|entry| entry.as_ref().unwrap().path() != self.target()).count()
    }
}

fn git() -> GitRepositories {
    GitRepositories::new(GitSettings::default())
}

fn me() -> Signature<'static> {
    Signature::now("me", "me@example.com").unwrap()
}

fn commit(repo: &Repository, name: &str, text: &str) -> git2::Oid {
    let blob = repo.blob(text.as_bytes()).unwrap();
    let script = repo.blob(b"#!/bin/sh\r\n").unwrap();
    let link = repo.blob(b"file").unwrap();
    let mut tree = repo.treebuilder(None).unwrap();
    tree.insert("file", blob, 0o100644).unwrap();
    tree.insert("update.sh", script, 0o100755).unwrap();
    tree.insert("link", link, 0o120000).unwrap();
    let tree = repo.find_tree(tree.write().unwrap()).unwrap();
    let parent = repo.find_reference(name).and_then(|r| r.peel_to_commit());
    let parents: Vec<_> = parent.iter().collect();
    repo.commit(Some(name), &me(), &me(), text, &tree, &parents).unwrap()
}

#[tokio::test]
async fn a_branch_is_checked_out_with_modes_links_and_line_ends_as_they_are() {
    let fixture = Fixture::new();
    let commit = fixture.checkout("main").await.unwrap();
    assert_eq!(commit.as_str().len(), 40);
    assert_eq!(fixture.text(), "two");
    let at = |name: &str| fixture.target().join(name);
    assert_eq!(fs::read(at("update.sh")).unwrap(), b"#!/bin/sh\r\n");
    assert_eq!(fs::metadata(at("update.sh")).unwrap().permissions().mode() & 0o111, 0o111);
    assert_eq!(fs::read_link(at("link")).unwrap(), Path::new("file"));
    assert_eq!(fs::metadata(fixture.target()).unwrap().permissions().mode() & 0o777, 0o755);
    let repo = Repository::open(fixture.target()).unwrap();
    assert_eq!(repo.head().unwrap().shorthand().unwrap(), "main");
    assert_eq!(fixture.leftovers(), 0);
}

#[tokio::test]
async fn a_tag_is_checked_out_at_its_commit() {
    let fixture = Fixture::new();
    let commit = fixture.checkout("v1").await.unwrap();
    assert_eq!(fixture.text(), "one");
    let again = fixture.checkout("v1").await.unwrap();
    assert_eq!(commit, again);
}

#[tokio::test]
async fn a_branch_comes_before_a_tag_of_the_same_name() {
    let fixture = Fixture::new();
    fixture.checkout("both").await.unwrap();
    assert_eq!(fixture.text(), "from the branch");
}

#[tokio::test]
async fn a_complete_target_is_left_as_it_is() {
    let fixture = Fixture::new();
    let first = fixture.checkout("main").await.unwrap();
    fs::write(fixture.target().join(".env"), "made later").unwrap();
    assert_eq!(fixture.checkout("main").await.unwrap(), first);
    assert!(fixture.target().join(".env").exists());
}

#[tokio::test]
async fn another_commit_or_something_else_in_the_targets_place_is_replaced() {
    let fixture = Fixture::new();
    fs::create_dir_all(fixture.target()).unwrap();
    fs::write(fixture.target().join("stray"), "").unwrap();
    fixture.checkout("main").await.unwrap();
    assert!(!fixture.target().join("stray").exists());
    commit(&Repository::open(&fixture.bare).unwrap(), "refs/heads/main", "three");
    fixture.checkout("main").await.unwrap();
    assert_eq!((fixture.text().as_str(), fixture.leftovers()), ("three", 0));
    fs::remove_dir_all(fixture.target()).unwrap();
    symlink(fixture.dir.path(), fixture.target()).unwrap();
    fixture.checkout("main").await.unwrap();
    assert!(!fs::symlink_metadata(fixture.target()).unwrap().is_symlink());
    assert!(fixture.bare.exists());
}

#[tokio::test]
async fn what_an_agent_left_behind_when_it_died_is_swept() {
    let fixture = Fixture::new();
    let parent = fixture.target().parent().unwrap().to_owned();
    fs::create_dir_all(parent.join(".main-1.x7.partial/deep")).unwrap();
    fs::create_dir_all(parent.join(".main-12.x7.partial")).unwrap();
    fixture.checkout("main").await.unwrap();
    assert!(!parent.join(".main-1.x7.partial").exists());
    assert!(parent.join(".main-12.x7.partial").exists());
}

#[tokio::test]
async fn a_missing_branch_is_told_with_those_that_are_there() {
    let fixture = Fixture::new();
    let error = fixture.checkout("mian").await.unwrap_err().to_string();
    assert!(error.ends_with("has no branch or tag mian; it has both, main"), "{error}");
    assert!(!fixture.target().exists() && fixture.leftovers() == 0);
    let repo = Repository::open(&fixture.bare).unwrap();
    let head = repo.refname_to_id("refs/heads/main").unwrap();
    for n in 0..12 {
        repo.reference(&format!("refs/heads/b{n:02}"), head, false, "").unwrap();
    }
    let error = fixture.checkout("mian").await.unwrap_err().to_string();
    assert!(error.ends_with("b07, b08, b09 and 4 more"), "{error}");
}

#[tokio::test]
async fn a_missing_repository_is_told() {
    let fixture = Fixture::new();
    let app = fixture.app_at(&fixture.dir.path().join("nothing"), "main");
    let error = git().checkout(&app, &fixture.target(), Progress::log()).await;
    assert!(matches!(error, Err(RepositoryError::NoSuchRepository { .. })), "{error:?}");
}

#[tokio::test]
async fn a_host_where_nobody_listens_is_told_with_its_port() {
    // A port that was free a moment ago.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let app = AppId {
        repo: Repo::parse(&format!("git://127.0.0.1:{port}/app")).unwrap(),
        branch: Branch::parse("main").unwrap(),
    };
    let dir = tempfile::tempdir().unwrap();
    let error = git().checkout(&app, &dir.path().join("x"), Progress::log()).await;
    let Err(RepositoryError::HostUnreachable { host, .. }) = error else {
        panic!("{error:?}");
    };
    assert_eq!(host, format!("127.0.0.1:{port}"));
}

#[tokio::test]
async fn a_silent_host_ends_at_the_deadline() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let held = tokio::spawn(async move {
        let mut streams = Vec::new();
        for _ in 0..2 {
            streams.push(listener.accept().await.unwrap());
        }
        streams
    });
    let app = AppId {
        repo: Repo::parse(&format!("git://127.0.0.1:{port}/app")).unwrap(),
        branch: Branch::parse("main").unwrap(),
    };
    let dir = tempfile::tempdir().unwrap();
    let git = GitRepositories::new(GitSettings {
        timeout: Duration::from_millis(300),
        ..GitSettings::default()
    });
    let error = git.checkout(&app, &dir.path().join("x"), Progress::log()).await;
    assert!(matches!(error, Err(RepositoryError::TimedOut { .. })), "{error:?}");
    // Closing the connections frees the thread, which the runtime waits for.
    drop(held.await.unwrap());
}

#[tokio::test]
async fn progress_is_told() {
    let fixture = Fixture::new();
    let lines = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&lines);
    let progress = Progress::to(move |line| sink.lock().unwrap().push(line.to_owned()));
    git().checkout(&fixture.app("main"), &fixture.target(), progress).await.unwrap();
    let lines = lines.lock().unwrap();
    assert!(lines.iter().any(|line| line.starts_with("received ")), "{lines:?}");
}
