//! Which of the entries that Consul ceased to show are gone. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::consul::watcher::Followed;
use crate::model::{AppName, keys};
use crate::proxy::Problem;
use crate::proxy::view::Item;

/// So many apps that go at once are named; of the others their number is told.
const NAMED: usize = 20;

/// Why entries are missing, as far as Consul says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Why {
    /// The agent's token may not read them.
    MayNotSee,
    /// They are not there.
    NotThere,
    /// Consul did not say.
    #[default]
    Unknown,
}

/// What was last known of each app.
#[derive(Debug, Default)]
pub(super) struct Guard {
    /// The last readable entry of each app.
    good: BTreeMap<AppName, Arc<Item>>,
    /// Those that Consul does not show any more, and that count all the same.
    doubted: BTreeSet<AppName>,
}

impl Guard {
    /// Begins with what an earlier process knew.
    pub(super) fn knowing(known: impl IntoIterator<Item = Arc<Item>>) -> Self {
        let good = known.into_iter().filter_map(|item| Some((readable(&item)?, item)));
        Self { good: good.collect(), doubted: BTreeSet::new() }
    }

    /// Whether there are apps of which it is not known that they are gone.
    pub(super) fn doubts(&self) -> bool {
        !self.doubted.is_empty()
    }

    /// The apps that a list lacks, where that may be no wish: all of those that there were, or more than half of them and at
    /// least two at once; and those that were doubted before.
    pub(super) fn doubt(&mut self, shown: &[Arc<Item>]) -> BTreeSet<AppName> {
        let there: BTreeSet<AppName> =
            shown.iter().filter_map(|item| item.app().map(|(name, _)| name)).collect();
        self.doubted.retain(|app| !there.contains(app));
        let before = self.good.len() - self.doubted.len();
        let lost = self.good.keys().filter(|app| !there.contains(app));
        let lost: Vec<_> = lost.filter(|app| !self.doubted.contains(app)).cloned().collect();
        let is_all = !lost.is_empty() && lost.len() == before;
        if is_all || (lost.len() >= 2 && lost.len() * 2 > before) {
            self.doubted.extend(lost);
        }
        self.doubted.clone()
    }

    /// The entries that count: those that are shown, in place of each that can't be read the last one that could, and those
    /// of apps that are missing and not known to be `gone`. And what has to be told.
    pub(super) fn take(
        &mut self,
        shown: &[Arc<Item>],
        gone: &BTreeSet<AppName>,
        why: Why,
    ) -> (Followed<Item>, Vec<Problem>) {
        self.doubted.retain(|app| !gone.contains(app));
        let mut problems = Vec::new();
        let mut good = BTreeMap::new();
        let mut all = BTreeMap::new();
        for item in shown {
            let mut counts = item;
            if let Some((name, record)) = item.app() {
                let known = self.good.get(&name);
                if let (None, Some(known)) = (record, known) {
                    counts = known;
                    problems.push(Problem::new(
                        item.key.as_ref(),
                        format!("{}; what it said before stays in use", item.wrong().unwrap_or("")),
                    ));
                }
                if record.is_some() || known.is_some() {
                    good.insert(name, counts.clone());
                }
            }
            all.insert(item.key.clone(), counts.clone());
        }
        for app in &self.doubted {
            if let Some(item) = self.good.get(app) {
                good.insert(app.clone(), item.clone());
                all.insert(item.key.clone(), item.clone());
            }
        }
        self.good = good;
        problems.extend(self.told(why));
        (all.into_values().collect(), problems)
    }

    /// What is said of the apps that are missing.
    fn told(&self, why: Why) -> Option<Problem> {
        let names: Vec<_> = self.doubted.iter().take(NAMED).map(AppName::as_str).collect();
        let others = self.doubted.len() - names.len();
        if names.is_empty() {
            return None;
        }
        let names = names.join(" ");
        let others = if others > 0 { format!(" and {others} more") } else { String::new() };
        let what = match why {
            Why::MayNotSee => format!(
                "this agent's token may not read the entries of {names}{others}, which it could before; what was \
                 known of them stays in use"
            ),
            Why::NotThere | Why::Unknown => format!(
                "the entries of {names}{others} are missing, and no record says that they were destroyed; what was \
                 known of them stays in use until they are back, or `tandem forget {names}` gives them up"
            ),
        };
        Some(Problem::new(keys::APPS, what))
    }
}

fn readable(item: &Item) -> Option<AppName> {
    item.app().and_then(|(name, record)| record.map(|_| name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(name: &str, master: &str) -> Arc<Item> {
        let value = format!(
            r#"{{"repo_url":"https://h/a","branch":"b","deploy_id":"1","master":"{master}"}}"#
        );
        Arc::new(Item::of(&format!("app/{name}"), value.as_bytes()))
    }

    fn items(names: &[&str]) -> Vec<Arc<Item>> {
        names.iter().map(|name| item(name, "n1")).collect()
    }

    fn name(name: &str) -> AppName {
        AppName::parse(name).unwrap()
    }

    /// The apps that count after a list, the deployments' records being silent but for `gone`.
    fn after(guard: &mut Guard, shown: &[&str], gone: &[&str]) -> Vec<String> {
        let shown = items(shown);
        let doubted = guard.doubt(&shown);
        let gone: BTreeSet<_> = gone.iter().map(|app| name(app)).collect();
        let gone = doubted.intersection(&gone).cloned().collect();
        let (entries, problems) = guard.take(&shown, &gone, Why::Unknown);
        assert_eq!(problems.is_empty(), !guard.doubts(), "{problems:?}");
        entries.iter().map(|item| item.key.strip_prefix("app/").unwrap().to_owned()).collect()
    }

    #[test]
    fn a_single_app_goes_and_all_at_once_do_not() {
        let all = ["a", "b", "c", "d"];
        let mut guard = Guard::default();
        assert_eq!(after(&mut guard, &all, &[]), all);
        assert_eq!(after(&mut guard, &["a", "b", "c"], &[]), ["a", "b", "c"], "one by hand");
        assert_eq!(after(&mut guard, &[], &[]), ["a", "b", "c"], "nothing is shown");
        assert_eq!(after(&mut guard, &["e"], &[]), ["a", "b", "c", "e"], "others go on");
        assert_eq!(after(&mut guard, &["e"], &["b"]), ["a", "c", "e"], "given up");
        assert_eq!(after(&mut guard, &["a", "e"], &[]), ["a", "c", "e"]);
        assert_eq!(after(&mut guard, &["a", "c", "e"], &[]), ["a", "c", "e"]);
        assert!(!guard.doubts());
        assert_eq!(after(&mut guard, &["e"], &[]), ["a", "c", "e"], "more than half");
        assert_eq!(after(&mut guard, &["e"], &["a", "c"]), ["e"]);
        assert_eq!(after(&mut guard, &[], &["e"]), [] as [&str; 0], "destroyed");
    }

    #[test]
    fn the_last_app_is_believed_to_be_gone_by_its_record_alone() {
        let mut guard = Guard::knowing(items(&["a"]));
        assert_eq!(after(&mut guard, &[], &[]), ["a"], "of an earlier process");
        assert_eq!(after(&mut guard, &[], &["a"]), [] as [&str; 0]);
    }

    #[test]
    fn half_of_them_may_go_by_hand() {
        let mut guard = Guard::knowing(items(&["a", "b", "c", "d"]));
        assert_eq!(after(&mut guard, &["a", "b"], &[]), ["a", "b"]);
        assert_eq!(after(&mut guard, &["a"], &[]), ["a"]);
    }

    #[test]
    fn an_entry_that_can_not_be_read_says_what_it_said_before() {
        let mut guard = Guard::default();
        let good = [item("a", "n1"), item("b", "n1")];
        guard.take(&good, &BTreeSet::new(), Why::Unknown);
        let wrong = Arc::new(Item::of("app/a", b"{"));
        let never = Arc::new(Item::of("app/c", b"{"));
        let shown = [wrong, item("b", "n2"), never.clone()];
        assert!(guard.doubt(&shown).is_empty());
        let (entries, problems) = guard.take(&shown, &BTreeSet::new(), Why::Unknown);
        assert_eq!(*entries, [good[0].clone(), shown[1].clone(), never]);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].source, "app/a");
        // And again.
        let (entries, _) = guard.take(&shown, &BTreeSet::new(), Why::Unknown);
        assert_eq!(entries[0], good[0]);
        let mended = [item("a", "n3"), item("b", "n2")];
        let (entries, problems) = guard.take(&mended, &BTreeSet::new(), Why::Unknown);
        assert!(*entries == mended && problems.is_empty());
    }

    #[test]
    fn it_is_said_whether_they_may_not_be_seen_or_are_not_there() {
        let mut guard = Guard::knowing(items(&["a", "b"]));
        guard.doubt(&[]);
        let mut told = |why| guard.take(&[], &BTreeSet::new(), why).1[0].what.clone();
        assert!(told(Why::MayNotSee).contains("may not read the entries of a b"));
        assert!(told(Why::NotThere).contains("`tandem forget a b`"));
    }
}
