//! Which hosts have a maintenance page of their own. It follows from the apps' records alone, never from the maintenance
//! keys: Caddy has each page before it is needed, and the maps say when it is shown.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use caddyfile::Scheme;

use crate::model::{AppRecord, MaintenancePage};

/// Pages by the scheme and the host that they are shown for; none stands for the default page, where a wildcard of another
/// app would give the host its page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pages {
    shown: BTreeMap<(Scheme, Arc<str>), Option<MaintenancePage>>,
    /// Hosts that have none, as long as it is not known whether that has to be said.
    without: Vec<(Scheme, Arc<str>)>,
}

impl Pages {
    /// Shows a page for a host; `*.` in front stands for all below it.
    pub(in crate::proxy) fn show(&mut self, scheme: Scheme, host: &str, page: MaintenancePage) {
        self.shown.insert((scheme, host.into()), Some(page));
    }

    /// Says that a host is routed and has no page of its own.
    pub(super) fn show_default(&mut self, scheme: Scheme, host: &Arc<str>) {
        self.without.push((scheme, host.clone()));
    }

    /// Drops the hosts that get the default page anyway.
    pub(super) fn without_idle(self) -> Self {
        let Self { mut shown, without } = self;
        let wide: BTreeSet<(Scheme, &str)> = shown
            .iter()
            .filter(|(_, page)| page.is_some())
            .filter_map(|((scheme, host), _)| Some((*scheme, host.strip_prefix('*')?)))
            .collect();
        let is_below = |(scheme, host): &(Scheme, Arc<str>)| {
            let suffixes = host.match_indices('.').map(|(at, _)| &host[at..]);
            !wide.is_empty() && suffixes.into_iter().any(|suffix| wide.contains(&(*scheme, suffix)))
        };
        let below: Vec<_> = without.into_iter().filter(is_below).collect();
        shown.extend(below.into_iter().map(|key| (key, None)));
        Self { shown, without: Vec::new() }
    }

    /// The hosts of a scheme with their pages.
    pub(in crate::proxy) fn of(
        &self,
        scheme: Scheme,
    ) -> impl Iterator<Item = (&str, Option<&MaintenancePage>)> {
        let own = self.shown.iter().filter(move |((of, _), _)| *of == scheme);
        own.map(|((_, host), page)| (host.as_ref(), page.as_ref()))
    }
}

/// The page in a record. Who wrote one there by hand that is none gets the default page, and is told.
pub(super) fn own(record: &AppRecord) -> (Option<MaintenancePage>, Option<String>) {
    let Some(text) = &record.maintenance_page else {
        return (None, None);
    };
    match MaintenancePage::parse(text.as_bytes()) {
        Ok(page) => (Some(page), None),
        Err(error) => (None, Some(format!("the default page is shown: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_below_a_wildcard_keeps_the_default_page() {
        let page = || MaintenancePage::parse(b"<p>").unwrap();
        let mut pages = Pages::default();
        pages.show(Scheme::Https, "*.a.test", page());
        pages.show(Scheme::Http, "b.test", page());
        for (scheme, host) in [
            (Scheme::Https, "x.a.test"),
            (Scheme::Https, "*.x.a.test"),
            (Scheme::Https, "a.test"),
            (Scheme::Http, "x.a.test"),
            (Scheme::Https, "b.test"),
        ] {
            pages.show_default(scheme, &host.into());
        }
        let pages = pages.without_idle();
        let left = |scheme| pages.of(scheme).map(|(host, page)| (host, page.is_some()));
        assert_eq!(left(Scheme::Http).collect::<Vec<_>>(), [("b.test", true)]);
        let https = [("*.a.test", true), ("*.x.a.test", false), ("x.a.test", false)];
        assert_eq!(left(Scheme::Https).collect::<Vec<_>>(), https);
    }

    #[test]
    fn a_record_without_a_usable_page_has_none() {
        let record = |page: serde_json::Value| -> AppRecord {
            let bare = serde_json::json!({"repo_url": "https://h/a", "branch": "b", "deploy_id": "1",
                "master": "n1", "maintenance_page": page});
            serde_json::from_value(bare).unwrap()
        };
        assert_eq!(own(&record(serde_json::Value::Null)), (None, None));
        assert_eq!(own(&record("<p>".into())).0.unwrap().as_str(), "<p>");
        let (page, what) = own(&record("x\0".into()));
        assert!(page.is_none() && what.unwrap().contains("maintenance.html, line 1: U+0000"));
    }
}
