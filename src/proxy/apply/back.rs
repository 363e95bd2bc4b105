//! What HAProxy's maps say of hosts that Caddy does not serve yet: their requests wait. Led to this node they would be
//! answered with 404, and led to the former master they would come back from there.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::proxy::haproxy::maps::{self, entries};

/// The maps that lead hosts.
pub(super) const HOSTS: [&str; 4] = [maps::HTTP, maps::HTTPS, maps::HTTP_WILD, maps::HTTPS_WILD];

/// A map in which the hosts of `late` (wildcards without their star) that are to be led to `me`, and are not yet, are held.
pub(super) fn hold_back(
    wanted: &str,
    installed: &str,
    me: &str,
    late: &BTreeSet<String>,
) -> String {
    let there: HashMap<&str, &str> = entries(installed).into_iter().collect();
    let to = |key: &str, to: &str| {
        let is_late = to == me && late.contains(key) && there.get(key) != Some(&me);
        if is_late { "hold".to_owned() } else { to.to_owned() }
    };
    entries(wanted).into_iter().map(|(key, value)| format!("{key} {}\n", to(key, value))).collect()
}

/// Holds the hosts back in all maps.
pub(super) fn hold_all_back(
    wanted: &BTreeMap<&'static str, String>,
    installed: &BTreeMap<&'static str, String>,
    me: &str,
    late: &BTreeSet<String>,
) -> BTreeMap<&'static str, String> {
    let of = |maps: &BTreeMap<&'static str, String>, name: &str| {
        maps.get(name).cloned().unwrap_or_default()
    };
    let mut held = wanted.clone();
    for name in HOSTS {
        held.insert(name, hold_back(&of(wanted, name), &of(installed, name), me, late));
    }
    held
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hosts_that_would_come_here_are_held() {
        let late = ["a.test", "b.test", "c.test", ".w.test"].map(str::to_owned).into();
        let wanted = "a.test n1\nb.test n1\nc.test n2\nd.test n1\n";
        let installed = "b.test n1\nc.test n1\nd.test n3\n";
        assert_eq!(
            hold_back(wanted, installed, "n1", &late),
            "a.test hold\nb.test n1\nc.test n2\nd.test n1\n"
        );
        assert_eq!(
            hold_back(".x.w.test n1\n.w.test n1\n", "", "n1", &late),
            ".x.w.test n1\n.w.test hold\n"
        );
        let maps: BTreeMap<&'static str, String> =
            [(maps::HTTP, wanted.to_owned()), (maps::HELD, "a.test n1\n".to_owned())].into();
        let held = hold_all_back(&maps, &BTreeMap::new(), "n1", &late);
        assert_eq!(held[maps::HELD], maps[maps::HELD]);
        assert!(held[maps::HTTP].starts_with("a.test hold\nb.test hold\n"));
    }
}
