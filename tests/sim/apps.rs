//! The apps of a run: their versions, good and bad, and the requests about them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use tandem::host::compose::Project;
use tandem::model::{AppId, AppName, Branch, DeployId, ProjectName, Repo};

use crate::faults::{Hands, Wounds};

/// What is wrong with a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// Nothing.
    None,
    /// The proxies refuse it.
    Refused,
    /// Its image does not build.
    Build,
    /// `update.sh` exits with 1.
    Update,
    /// `up` fails half-way.
    Up,
    /// A container ends at once.
    Unhealthy,
}

/// A version of an app, as it is pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) number: u32,
    pub(crate) flaw: Flaw,
    /// Whether it has one more volume.
    pub(crate) extra: bool,
}

/// An app, and what its users were promised.
pub(crate) struct App {
    number: usize,
    pub(crate) id: AppId,
    pub(crate) name: AppName,
    pub(crate) project: ProjectName,
    pub(crate) head: Mutex<Version>,
    pub(crate) promises: Mutex<Promises>,
    pub(crate) wounds: Mutex<Wounds>,
    pub(crate) hands: Mutex<Hands>,
}

/// Writes that were acknowledged, by volume, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Promises {
    pub(crate) written: BTreeMap<String, Vec<String>>,
    /// What was written to apps that were destroyed since: their snapshots hold it.
    pub(crate) archived: Vec<BTreeMap<String, Vec<String>>>,
    /// What the source of a migration held at least, by the migration.
    offered: BTreeMap<DeployId, (usize, BTreeMap<String, Vec<String>>)>,
    /// Migrations that came to their end.
    settled: BTreeSet<DeployId>,
    /// Nodes on which somebody writes to what an app has left that nobody knew any more when it began anew elsewhere, and
    /// which of the archived ones that was.
    left: BTreeMap<usize, usize>,
    /// Snapshots that the scheduler took and sent while a deployment had the app in its hands: they hold what its version
    /// wrote, which may be given up.
    caught: BTreeMap<String, DeployId>,
    /// Such deployments, by the volume that began from such a snapshot when the app went on with copies.
    inherited: BTreeSet<(String, DeployId)>,
    count: u32,
}

impl Promises {
    /// Whether a volume may hold what a deployment's version wrote that was given up: it is all that was left of it.
    pub(crate) fn has_inherited(&self, volume: &str, deployment: &DeployId) -> bool {
        self.inherited.contains(&(volume.to_owned(), deployment.clone()))
    }
}

impl App {
    pub(crate) fn new(number: usize) -> Self {
        let id = AppId {
            repo: Repo::parse(&format!("https://git.example/app{number}")).unwrap(),
            branch: Branch::parse("main").unwrap(),
        };
        let name = id.name();
        let project = name.project();
        let head = Version { number: 0, flaw: Flaw::None, extra: false };
        Self {
            number,
            id,
            name,
            project,
            head: Mutex::new(head),
            promises: Mutex::default(),
            wounds: Mutex::default(),
            hands: Mutex::default(),
        }
    }

    /// The next version is pushed; a volume that was added once stays.
    pub(crate) fn push(&self, flaw: Flaw, extra: bool) -> Version {
        let mut head = self.head.lock().unwrap();
        *head = Version { number: head.number + 1, flaw, extra: extra || head.extra };
        *head
    }

    /// The version that is pushed.
    pub(crate) fn head(&self) -> Version {
        *self.head.lock().unwrap()
    }

    /// The text of a deploy event.
    pub(crate) fn deploy(&self, master: &str, slave: Option<&str>, update: bool) -> String {
        serde_json::json!({
            "repo": self.id.repo.to_string(), "branch": "main",
            "master": master, "slave": slave, "update": update,
        })
        .to_string()
    }

    /// The text of a deploy event that leaves both nodes, or one of them, to be picked.
    pub(crate) fn deploy_somewhere(&self, master: Option<&str>) -> String {
        let mut text = serde_json::json!({"repo": self.id.repo.to_string(), "branch": "main"});
        if let Some(master) = master {
            text["master"] = master.into();
        }
        text.to_string()
    }

    /// The text of a destroy event.
    pub(crate) fn destroy(&self) -> String {
        serde_json::json!({"repo": self.id.repo.to_string(), "branch": "main"}).to_string()
    }

    /// Makes a token that is acknowledged for a volume.
    pub(crate) fn promise(&self, volume: &str) -> String {
        self.promise_among(volume, |promises| &mut promises.written)
    }

    /// Makes a token for a volume that somebody has mounted on a node, whatever the app is by now.
    pub(crate) fn promise_there(&self, node: usize, volume: &str) -> String {
        self.promise_among(volume, |promises| match promises.left.get(&node) {
            Some(was) => &mut promises.archived[*was],
            None => &mut promises.written,
        })
    }

    fn promise_among(
        &self,
        volume: &str,
        which: impl FnOnce(&mut Promises) -> &mut BTreeMap<String, Vec<String>>,
    ) -> String {
        let mut promises = self.promises.lock().unwrap();
        promises.count += 1;
        let token = format!("w{}.{}", self.number, promises.count);
        which(&mut promises).entry(volume.to_owned()).or_default().push(token.clone());
        token
    }

    /// A migration to this app was asked for: it will bring at least what its source has by now.
    pub(crate) fn expect(&self, migration: &DeployId, source: &App) {
        let source = source.promises.lock().unwrap();
        let offer = (source.settled.len(), source.written.clone());
        self.promises.lock().unwrap().offered.entry(migration.clone()).or_insert(offer);
    }

    /// Whether this is the first time that a migration is said to have come to its end.
    pub(crate) fn settles(&self, migration: &DeployId) -> bool {
        self.promises.lock().unwrap().settled.insert(migration.clone())
    }

    /// A migration came to its end: volumes hold what the source's did and what was written to them since, as `live`
    /// tells by volume; what they held before is in snapshots.
    pub(crate) fn take_over(
        &self,
        migration: &DeployId,
        source: &App,
        volumes: &BTreeMap<String, String>,
        live: &BTreeMap<String, String>,
    ) {
        let migrated = source.promises.lock().unwrap().settled.len();
        let mut promises = self.promises.lock().unwrap();
        let (before, offered) = promises.offered.get(migration).cloned().unwrap_or_default();
        for (from, to) in volumes {
            // A source that was a target itself meanwhile holds what that brought.
            let offered = offered.get(from).filter(|_| before == migrated);
            let mut brought = offered.cloned().unwrap_or_default();
            let content = live.get(to).map(String::as_str).unwrap_or_default();
            let there: BTreeSet<&str> = content.split(';').collect();
            let mut before = promises.written.remove(to).unwrap_or_default();
            // Proxies that are behind lead users to the new version before it is committed.
            let is_new =
                |token: &String| there.contains(token.as_str()) && !brought.contains(token);
            let since = before.iter().rev().take_while(|token| is_new(token)).count();
            brought.extend(before.split_off(before.len() - since));
            promises.written.insert(to.clone(), brought);
            if !before.is_empty() {
                promises.archived.push([(to.clone(), before)].into());
            }
        }
    }

    /// The text of a migrate event from another app to this one.
    pub(crate) fn migrate(&self, source: &App, update: bool) -> String {
        serde_json::json!({
            "repo": source.id.repo.to_string(), "branch": "main",
            "target": {"repo": self.id.repo.to_string()}, "update": update,
        })
        .to_string()
    }

    /// A disk is lost: `left` tells what the newest copy of a volume holds of what was promised.
    pub(crate) fn keep_what_is_left(&self, left: impl Fn(&str, &[String]) -> Vec<String>) {
        let mut promises = self.promises.lock().unwrap();
        let Promises { written, archived, offered, .. } = &mut *promises;
        let offered = offered.values_mut().map(|(_, volumes)| volumes);
        for volumes in std::iter::once(written).chain(archived).chain(offered) {
            for (volume, tokens) in volumes {
                *tokens = left(volume, tokens);
            }
        }
    }

    /// The app goes on with copies: `kept` tells what they hold of what was promised, and the rest has to be in what is left
    /// elsewhere. Migrations from this app bring what it has now.
    pub(crate) fn go_on_with(
        &self,
        deployment: &DeployId,
        kept: impl Fn(&str, &[String]) -> Vec<String>,
    ) {
        let mut promises = self.promises.lock().unwrap();
        promises.settled.insert(deployment.clone());
        let mut rest = BTreeMap::new();
        for (volume, tokens) in &mut promises.written {
            let kept = kept(volume, tokens);
            let there: BTreeSet<&String> = kept.iter().collect();
            let lost = tokens.iter().filter(|token| !there.contains(token)).cloned().collect();
            rest.insert(volume.clone(), lost);
            *tokens = kept;
        }
        promises.archived.push(rest);
    }

    /// The scheduler has sent a snapshot while a deployment had the app in its hands.
    pub(crate) fn catch(&self, snapshot: &str, deployment: DeployId) {
        self.promises.lock().unwrap().caught.insert(snapshot.to_owned(), deployment);
    }

    /// A volume began from a copy.
    pub(crate) fn inherit(&self, volume: &str, snapshot: &str) {
        let mut promises = self.promises.lock().unwrap();
        if let Some(deployment) = promises.caught.get(snapshot).cloned() {
            promises.inherited.insert((volume.to_owned(), deployment));
        }
    }

    /// The app is gone: what was promised is in its snapshots now.
    pub(crate) fn archive(&self) {
        let mut promises = self.promises.lock().unwrap();
        let written = std::mem::take(&mut promises.written);
        promises.archived.push(written);
    }

    /// A deployment has brought the app of now to a node: who writes there writes to it.
    pub(crate) fn goes_on_at(&self, node: usize) {
        self.promises.lock().unwrap().left.remove(&node);
    }

    /// The app has begun anew where nobody knew of it: who still writes to what it has left on these nodes writes to the one
    /// that was, and no copy has both.
    pub(crate) fn begin_anew(&self, left: &[usize]) {
        self.archive();
        let mut promises = self.promises.lock().unwrap();
        let was = promises.archived.len() - 1;
        for node in left {
            promises.left.entry(*node).or_insert(was);
        }
    }
}

/// The files of a version. `VERSION` tells what is wrong with it.
pub(crate) fn files(app: &App, version: Version) -> Vec<(&'static str, String)> {
    let extra =
        if version.extra { "  extra: {driver: \"anybox/buttervolume:latest\"}\n" } else { "" };
    let compose = format!(
        "services:\n  web:\n    restart: always\n    build: {{context: .}}\n    networks: [cluster_default]\n    environment: {{CADDYFILE: \"http://{}.example {{\\n proxy / http://$$CONTAINER:80\\n}}\"}}\n  db: {{image: \"registry:5000/{}:1\", restart: unless-stopped}}\nnetworks: {{cluster_default: {{external: true}}}}\nvolumes:\n  data: {{driver: \"anybox/buttervolume:latest\"}}\n{extra}",
        app.project, app.project
    );
    vec![
        ("docker-compose.yml", compose),
        ("VERSION", format!("{} {:?}", version.number, version.flaw)),
        ("update.sh", "#!/bin/sh\n".to_owned()),
    ]
}

/// What is wrong with the version in a checkout.
pub(crate) fn flaw_of(project: &Project) -> Flaw {
    let text = std::fs::read_to_string(project.dir.join("VERSION")).unwrap_or_default();
    match text.split(' ').nth(1) {
        Some("Refused") => Flaw::Refused,
        Some("Build") => Flaw::Build,
        Some("Update") => Flaw::Update,
        Some("Up") => Flaw::Up,
        Some("Unhealthy") => Flaw::Unhealthy,
        Some(_) | None => Flaw::None,
    }
}

/// The number of the version in a checkout.
pub(crate) fn number_of(project: &Project) -> String {
    let text = std::fs::read_to_string(project.dir.join("VERSION")).unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

/// The deployment whose checkout a project is in, as a short mark: the number in its id.
pub(crate) fn mark_of(project: &Project) -> String {
    let name = project.dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
    short(name.rsplit('-').next().unwrap_or_default())
}

/// The mark of a deployment.
pub(crate) fn mark(id: &DeployId) -> String {
    short(id.as_str().rsplit('-').next().unwrap_or_default())
}

fn short(hex: &str) -> String {
    format!("v{}", u64::from_str_radix(hex, 16).unwrap_or_default())
}

/// The number in the id of an event.
pub(crate) fn number(id: &str) -> u64 {
    u64::from_str_radix(id.rsplit('-').next().unwrap_or_default(), 16).unwrap_or_default()
}

/// Whether a content holds all tokens, in order.
pub(crate) fn holds(content: &str, tokens: &[String]) -> bool {
    let mut missing = tokens.iter().peekable();
    for token in content.split(';') {
        if missing.peek().is_some_and(|next| *next == token) {
            missing.next();
        }
    }
    missing.peek().is_none()
}

/// The first token that a content lacks.
pub(crate) fn first_missing<'a>(content: &str, tokens: &'a [String]) -> Option<&'a String> {
    let there: std::collections::BTreeSet<&str> = content.split(';').collect();
    tokens.iter().find(|token| !there.contains(token.as_str()))
}
