//! Names: of an app, its compose project, containers, volumes and checkouts (compat: the older system derives the same).

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

const MAX_REPO: usize = 300;
const MAX_BRANCH: usize = 128;
const MAX_DEPLOY_ID: usize = 64;
const SCHEMES: [&str; 5] = ["https", "http", "ssh", "git", "file"];

/// Why a text is not a repository, branch or id; the message names the rule, the caller names the field.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct NameError(String);

impl NameError {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// A repository's URL: trimmed, one trailing `.git` dropped, free of anything a shell, git or a path could misread.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Repo(String);

impl Repo {
    /// Parses a URL (`https`, `http`, `ssh`, `git`, `file`) or the scp-like form `user@host:path`.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let trimmed = text.trim();
        let url = trimmed.strip_suffix(".git").unwrap_or(trimmed);
        if url.is_empty() || url.len() > MAX_REPO {
            return Err(NameError::new(format!("must have 1 to {MAX_REPO} characters")));
        }
        if let Some(c) =
            url.chars().find(|c| !c.is_ascii_alphanumeric() && !"._~:/@%+-[]".contains(*c))
        {
            return Err(NameError::new(format!("contains {c:?}, which no repository URL needs")));
        }
        if url.starts_with('-') {
            return Err(NameError::new("begins with '-'"));
        }
        if !has_known_form(url) {
            return Err(NameError::new(
                "is neither scheme://host/path (https, http, ssh, git, file) nor user@host:path",
            ));
        }
        if url_path(url)
            .split(['/', ':'])
            .any(|segment| segment == ".." || segment.starts_with('-'))
        {
            return Err(NameError::new("has a path segment that is '..' or begins with '-'"));
        }
        let repo = Self(url.to_owned());
        let name = repo.last_segment();
        if name.is_empty() || name.starts_with('.') || name.contains(':') {
            // A colon would stand in the checkout's path, where it breaks bind mounts.
            return Err(NameError::new(
                "has no plain name after its last '/' (write git@host:name as ssh://git@host/name)",
            ));
        }
        Ok(repo)
    }

    /// The URL, as clones use it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether another URL leads to the same repository: both name one host and one path, whatever the scheme, the user,
    /// the port and the case.
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.place() == other.place()
    }

    /// Host and path, as they are compared.
    fn place(&self) -> (String, String) {
        let (host, path) = match self.0.split_once("://") {
            Some((_, rest)) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
            None => self.0.split_once(':').unwrap_or(("", &self.0)),
        };
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        let is_port = |port: &str| port.chars().all(|c| c.is_ascii_digit());
        let host = host.rsplit_once(':').filter(|(_, port)| is_port(port)).map_or(host, |(h, _)| h);
        let path = path.trim_matches('/').to_lowercase();
        (host.trim_end_matches('.').to_lowercase(), path)
    }

    fn last_segment(&self) -> &str {
        url_path(&self.0).trim_end_matches('/').rsplit('/').next().unwrap_or_default()
    }

    fn hash(&self) -> String {
        let digest = Md5::digest(url_path(&self.0).to_lowercase());
        digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>()[..5].to_owned()
    }
}

fn has_known_form(url: &str) -> bool {
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let host_end = rest.find('/').unwrap_or(rest.len());
            let (host, path) = rest.split_at(host_end);
            SCHEMES.contains(&scheme)
                && !host.starts_with('-')
                && !host.contains("@-")
                && path.len() > 1
                && (scheme == "file" || !host.is_empty())
        }
        None => url.split_once(':').is_some_and(|(host, path)| {
            host.split_once('@').is_some_and(|(user, name)| {
                !user.is_empty()
                    && !name.is_empty()
                    && !name.starts_with('-')
                    && !host.contains('/')
            }) && !path.is_empty()
        }),
    }
}

/// The path component as Python's `urlparse` splits it: for `git@host:org/repo` that is the whole text.
fn url_path(url: &str) -> &str {
    match url.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("", |slash| &rest[slash..]),
        None => url,
    }
}

/// A branch or tag name that is safe as a ref, in a path and in a KV key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Branch(String);

impl Branch {
    /// Parses a branch or tag name; git's own rules for refs, narrowed to a plain set of characters.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let text = text.trim();
        if text.is_empty() || text.len() > MAX_BRANCH {
            return Err(NameError::new(format!("must have 1 to {MAX_BRANCH} characters")));
        }
        if let Some(c) = text.chars().find(|c| !c.is_ascii_alphanumeric() && !"._/+-".contains(*c))
        {
            return Err(NameError::new(format!(
                "contains {c:?}; letters, digits and . _ / + - are allowed"
            )));
        }
        let bad_part = text.split('/').any(|part| {
            part.is_empty()
                || part.starts_with(['.', '-'])
                || part.ends_with(".lock")
                || part.ends_with('.')
        });
        if bad_part || text.contains("..") {
            return Err(NameError::new(
                "is not a valid ref: an empty part, '..', a leading '-' or '.', or a trailing '.' or '.lock'",
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// The name, as given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The id of one deployment: the Consul event's id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DeployId(String);

impl DeployId {
    /// Parses an id of letters, digits, `-` and `_` (it is part of a path and of KV keys). The older system's ids pass too.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        if text.is_empty() || text.len() > MAX_DEPLOY_ID || !plain || text.starts_with(['-', '.']) {
            return Err(NameError::new(format!(
                "must have 1 to {MAX_DEPLOY_ID} letters, digits, '-', '_' or '.'"
            )));
        }
        Ok(Self(text.to_owned()))
    }

    /// The id, as given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An app: a repository and a branch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AppId {
    /// The compose repository.
    pub repo: Repo,
    /// The branch or tag that is deployed.
    pub branch: Branch,
}

impl AppId {
    /// The name in KV, Consul services and paths: `foobar_master.ddb14`.
    pub fn name(&self) -> AppName {
        let segment = self.repo.last_segment().to_lowercase();
        AppName(format!("{segment}_{}.{}", self.branch.as_str(), self.repo.hash()).into())
    }
}

/// An app's name, as [`AppId::name`] makes it or as a KV key holds it. Copies share the text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AppName(Arc<str>);

impl AppName {
    /// Parses a name read from a key: what [`AppId::name`] can make, nothing that could leave its place in a path.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "._~:/@%+-[]".contains(c));
        let parts = text.split('/').all(|part| !part.is_empty() && !part.starts_with(['.', '-']));
        if !plain || !parts || text.len() > MAX_REPO + MAX_BRANCH {
            return Err(NameError::new("is not an app's name"));
        }
        Ok(Self(text.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The compose project's name: the name without everything outside `[a-z0-9]`.
    pub fn project(&self) -> ProjectName {
        ProjectName(
            self.0.chars().filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit()).collect(),
        )
    }

    /// The directory that holds the checkout of one deployment, below the deploy directory.
    pub fn checkout(&self, deploy_dir: &Path, id: &DeployId) -> PathBuf {
        deploy_dir.join(format!("{}-{}", self.0, id.as_str()))
    }
}

/// A compose project's name: `foobarmasterddb14`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProjectName(String);

impl ProjectName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The container of a service, as Compose names it in compatibility mode.
    pub fn container(&self, service: &str) -> String {
        format!("{}_{service}_1", self.0)
    }

    /// The volume that Docker and buttervolume know for a volume of the compose file.
    pub fn volume(&self, volume: &str) -> String {
        format!("{}_{volume}", self.0)
    }
}

macro_rules! text_type {
    ($($name:ident),*) => {$(
        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::parse(&text)
            }
        }
        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.as_str().to_owned()
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}
text_type!(Repo, Branch, DeployId, AppName);

impl fmt::Display for ProjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(repo: &str, branch: &str) -> String {
        let app =
            AppId { repo: Repo::parse(repo).unwrap(), branch: Branch::parse(branch).unwrap() };
        app.name().to_string()
    }

    #[test]
    fn names_are_those_of_the_older_system() {
        assert_eq!(
            name("https://gitlab.example.com/hosting/FooBar ", "master"),
            "foobar_master.ddb14"
        );
        assert_eq!(
            name("https://gitlab.example.com/hosting/FooBar2", "master"),
            "foobar2_master.dec69"
        );
        assert_eq!(name("file:///lab/git/app", "master"), "app_master.44dd7");
        assert_eq!(name("file:///lab/git/app.git", "master"), "app_master.44dd7");
    }

    #[test]
    fn the_scp_form_hashes_as_a_whole() {
        let scp = name("git@gitlab.example.com:hosting/foobar", "main");
        let ssh = name("ssh://git@gitlab.example.com/hosting/foobar", "main");
        assert!(scp.starts_with("foobar_main.") && ssh.starts_with("foobar_main.") && scp != ssh);
    }

    #[test]
    fn a_repository_is_known_by_host_and_path() {
        let is_same =
            |a: &str, b: &str| Repo::parse(a).unwrap().is_same_as(&Repo::parse(b).unwrap());
        let url = "https://gitlab.example.com/hosting/FooBar";
        for same in [
            "ssh://git@gitlab.example.com:2222/hosting/foobar.git",
            "http://x:y@GitLab.Example.com./hosting/FooBar/",
            "git@gitlab.example.com:hosting/foobar",
        ] {
            assert!(is_same(url, same) && is_same(same, url), "{same}");
        }
        for other in [
            "https://github.example.com/hosting/FooBar",
            "https://gitlab.example.com/other/FooBar",
            "file:///hosting/FooBar",
            "https://gitlab.example.com.evil.test/hosting/FooBar",
            "ssh://gitlab.example.com@other.test/hosting/FooBar",
            "https://[::1]/hosting/FooBar",
        ] {
            assert!(!is_same(url, other) && !is_same(other, url), "{other}");
        }
        assert!(!is_same("https://[::1]/a", "https://[::2]/a"));
    }

    #[test]
    fn a_project_keeps_lower_case_letters_and_digits() {
        let app = AppName::parse("foobar_Feature/x-1.ddb14").unwrap();
        assert_eq!(app.project().as_str(), "foobareaturex1ddb14");
        assert_eq!(app.project().container("web"), "foobareaturex1ddb14_web_1");
    }

    #[test]
    fn hostile_texts_are_refused() {
        for repo in [
            "",
            "-oProxyCommand=x",
            "https://h/a b",
            "https://h/a;b",
            "https://h/$(id)",
            "https://h/'a'",
            "https://h/\"a\"",
            "https://h/a\nb",
            "https://h/../etc",
            "ext::sh -c id",
            "https://-h/a",
            "ssh://git@-oX/a",
            "https://h",
            "https://h/",
            "/etc/passwd",
            "a@b",
            "git@host:x",
            "https://h/.x",
            "https://h/`id`",
            "https://h/a/..",
            "git@host:-x/y",
            "\u{e9}://h/a",
            "https://h/a\\b",
            "https://h/a?b",
        ] {
            assert!(Repo::parse(repo).is_err(), "{repo:?} was accepted");
        }
        for branch in [
            "", "-x", "a..b", "../x", "a b", "a;b", "$(id)", "a'b", "a\nb", "/a", "a/", "a//b",
            ".a", "a.lock", "a@{1}", "a:b",
        ] {
            assert!(Branch::parse(branch).is_err(), "{branch:?} was accepted");
        }
        for id in ["", "../x", "a/b", "a b", "-x", ".."] {
            assert!(DeployId::parse(id).is_err(), "{id:?} was accepted");
        }
    }
}
