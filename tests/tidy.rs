//! What every review would have to look for again, in the text of the code: what pure rooms know, how long files are,
//! and whether each of them is compiled at all.
#![allow(clippy::unwrap_used, reason = "a folder that can't be read fails the test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const MAX_LINES: usize = 400;

/// A room of `src/`, and the rooms that it may know.
struct Room(&'static str, &'static [&'static str]);

/// Rooms without effects: the same input gives the same output.
const PURE: &[Room] = &[
    Room("model", &["model"]),
    Room("event", &["event", "model"]),
    Room("plan", &["plan", "model"]),
    Room("check", &["check", "model", "proxy"]),
    Room("replication", &["replication", "model", "host"]),
    Room("proxy/render", &["proxy", "model"]),
    Room("proxy/haproxy", &["proxy", "model"]),
    Room("host/docker/health", &["model"]),
    // Its own crate: what it calls so is itself.
    Room("caddyfile", &[]),
];

/// What has an effect, reads a clock, or draws by chance.
const EFFECTS: &[&str] = &[
    "tokio::",
    "std::fs",
    "std::env::",
    "std::process",
    "std::thread",
    "std::os::",
    "TcpStream",
    "UnixStream",
    "SystemTime",
    "Utc::now",
    "Instant::now",
    "async fn",
    ".await",
    "rand::",
    "reqwest::",
    "bollard::",
    "consulrs::",
    "hyper::",
    "git2::",
    "nix::",
    "tempfile::",
];

/// A moment that is handed in is a value like others.
const MOMENT: &str = "tokio::time::Instant;";

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files of Rust below folders at the top, as they are called from there.
fn sources(folders: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open: Vec<_> = folders.iter().map(|folder| top().join(folder)).collect();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => open.push(path),
                false => found.push(path.strip_prefix(top()).unwrap().to_owned()),
            }
        }
    }
    found.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    found.sort();
    found
}

fn text(path: &Path) -> String {
    fs::read_to_string(top().join(path)).unwrap()
}

/// A file that a target begins with: nothing names it.
fn is_root(path: &Path) -> bool {
    let folder = path.parent().unwrap();
    let is_target = ["tests", "examples", "fuzz/fuzz_targets"].map(Path::new).contains(&folder);
    is_target || path.ends_with("main.rs") || path.ends_with("lib.rs")
}

/// The files that may name a file as their module.
fn parents(path: &Path) -> Vec<PathBuf> {
    let folder = path.parent().unwrap();
    let mut parents =
        vec![folder.with_extension("rs"), folder.join("main.rs"), folder.join("lib.rs")];
    parents.retain(|parent| top().join(parent).is_file());
    parents
}

/// How a file is named by another one.
#[derive(PartialEq, Eq)]
enum Named {
    Not,
    Always,
    ForTests,
}

fn named(parent: &Path, module: &str) -> Named {
    let text = text(parent);
    let mut is_for_tests = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[") {
            is_for_tests |= line.starts_with("#[cfg(test)]") || line.starts_with("#[cfg(any(test");
            continue;
        }
        let rest = line.split_once("mod ").map(|(_, rest)| rest);
        if rest == Some(&format!("{module};")) && !line.starts_with("//") {
            return if is_for_tests { Named::ForTests } else { Named::Always };
        }
        is_for_tests = false;
    }
    Named::Not
}

/// Whether a file is compiled for tests only.
fn is_for_tests(path: &Path) -> bool {
    let module = path.file_stem().unwrap().to_str().unwrap();
    !is_root(path)
        && parents(path)
            .iter()
            .any(|parent| named(parent, module) == Named::ForTests || is_for_tests(parent))
}

/// The lines of a file that are code and no test, with their numbers.
fn code(text: &str) -> Vec<(usize, &str)> {
    let mut code = Vec::new();
    let mut lines = text.lines().enumerate().peekable();
    while let Some((at, line)) = lines.next() {
        let tests = ["mod tests {", "pub(crate) mod tests {"];
        if line == "#[cfg(test)]" && lines.peek().is_some_and(|(_, next)| tests.contains(next)) {
            break;
        }
        if !line.trim_start().starts_with("//") {
            code.push((at + 1, line));
        }
    }
    code
}

/// The rooms that a line takes from.
fn rooms(line: &str) -> BTreeSet<&str> {
    let after = line.match_indices("crate::").map(|(at, word)| &line[at + word.len()..]);
    after
        .map(|rest| rest.split(|c: char| !c.is_ascii_lowercase() && c != '_').next().unwrap())
        .filter(|room| !room.is_empty())
        .collect()
}

#[test]
fn a_pure_room_has_no_effect_and_knows_no_room_that_it_need_not_know() {
    let all = sources(&["src"]);
    let mut wrong = Vec::new();
    for Room(room, knows) in PURE {
        let room = Path::new("src").join(room);
        let own = all
            .iter()
            .filter(|path| path.starts_with(&room) || **path == room.with_extension("rs"));
        let own: Vec<_> = own.filter(|path| !is_for_tests(path)).collect();
        assert!(!own.is_empty(), "there is no {}", room.display());
        for path in own {
            for (at, line) in code(&text(path)) {
                let taken = line.replace(MOMENT, "");
                let effect = EFFECTS.iter().find(|effect| taken.contains(*effect));
                let strange = rooms(line).into_iter().find(|room| !knows.contains(room));
                let strange = strange.filter(|_| !knows.is_empty());
                if let Some(what) = effect.copied().or(strange) {
                    wrong.push(format!("{}:{at}: {what}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_file_is_longer_than_one_reads_at_a_time() {
    let all = sources(&["src", "tests", "examples", "fuzz/fuzz_targets"]);
    assert!(all.len() > 400, "{} files", all.len());
    let long = all.iter().map(|path| (path, text(path).lines().count()));
    let long: Vec<_> = long.filter(|(_, lines)| *lines > MAX_LINES).collect();
    assert!(long.is_empty(), "longer than {MAX_LINES} lines: {long:?}");
}

#[test]
fn every_file_is_named_by_one_that_is_compiled() {
    let all = sources(&["src", "tests", "examples"]);
    let forgotten: Vec<_> = all
        .iter()
        .filter(|path| !is_root(path))
        .filter(|path| {
            let module = path.file_stem().unwrap().to_str().unwrap();
            parents(path).iter().all(|parent| named(parent, module) == Named::Not)
        })
        .collect();
    assert!(forgotten.is_empty(), "nothing names {forgotten:?}");
}

/// Else the others would find nothing, whatever there is.
#[test]
fn what_is_looked_for_is_found_where_it_is() {
    let path = Path::new("src/proxy/haproxy/fuzz.rs");
    assert!(is_for_tests(path) && !is_for_tests(Path::new("src/proxy/haproxy/bind.rs")));
    assert_eq!(parents(path), [Path::new("src/proxy/haproxy.rs")]);
    assert!(named(Path::new("src/proxy.rs"), "haproxy") == Named::Always);
    assert!(named(Path::new("src/proxy/haproxy.rs"), "fuz") == Named::Not);
    let text =
        "use crate::exec::store;\n// crate::agent\n#[cfg(test)]\nmod tests {\nuse crate::cli;\n}\n";
    assert_eq!(code(text), [(1, "use crate::exec::store;")]);
    assert_eq!(rooms("a(crate::exec::b, crate::host::c)"), BTreeSet::from(["exec", "host"]));
}
