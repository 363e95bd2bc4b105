//! The map files: host → where its requests go. They change by HAProxy's Runtime API, without a reload.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Exact hosts, HTTP.
pub const HTTP: &str = "http.map";
/// Exact hosts, TLS by SNI.
pub const HTTPS: &str = "https.map";
/// Suffixes (`.example.com`), HTTP; the longest first, because the first that fits is taken.
pub const HTTP_WILD: &str = "http-wild.map";
/// Suffixes, TLS by SNI.
pub const HTTPS_WILD: &str = "https-wild.map";
/// Apps whose own frontends and backends keep what arrives: they are handed over.
pub const HELD: &str = "held.map";
/// All of them.
pub const FILES: [&str; 5] = [HTTP, HTTPS, HTTP_WILD, HTTPS_WILD, HELD];

/// Hosts and their targets while a configuration is rendered.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct HostMap {
    exact: BTreeMap<Arc<str>, Target>,
    wild: BTreeMap<Arc<str>, Target>,
}

/// Where a host leads, and who asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    to: Arc<str>,
    source: Arc<str>,
}

impl HostMap {
    /// Routes a host (`*.` in front: all below it), as `source` asks.
    pub(in crate::proxy) fn route(&mut self, host: &Arc<str>, to: &Arc<str>, source: &Arc<str>) {
        let target = Target { to: to.clone(), source: source.clone() };
        match host.strip_prefix('*') {
            Some(suffix) => self.wild.insert(suffix.into(), target),
            None => self.exact.insert(host.clone(), target),
        };
    }

    /// Every host with where it leads and its source.
    pub(in crate::proxy) fn routes(&self) -> impl Iterator<Item = (String, &str, &str)> {
        let exact = self.exact.iter().map(|(host, target)| (host.to_string(), target));
        let wild = self.wild.iter().map(|(suffix, target)| (format!("*{suffix}"), target));
        exact.chain(wild).map(|(host, target)| (host, target.to.as_ref(), target.source.as_ref()))
    }

    /// The two files.
    pub(in crate::proxy) fn files(&self) -> (String, String) {
        let mut wild: Vec<_> = self.wild.iter().collect();
        wild.sort_by_key(|(suffix, _)| (usize::MAX - suffix.len(), Arc::clone(suffix)));
        (lines(self.exact.iter()), lines(wild.into_iter()))
    }
}

fn lines<'a>(entries: impl Iterator<Item = (&'a Arc<str>, &'a Target)>) -> String {
    entries.flat_map(|(key, target)| [key.as_ref(), " ", target.to.as_ref(), "\n"]).collect()
}

/// The entries of a map file, in order.
pub fn entries(text: &str) -> Vec<(&str, &str)> {
    text.lines().filter_map(|line| line.split_once(' ')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_suffix_comes_first() {
        let mut map = HostMap::default();
        for (host, to, source) in
            [("*.test", "a", "app/1"), ("*.b.test", "b", "app/2"), ("x.test", "d", "swarm/3")]
        {
            map.route(&host.into(), &to.into(), &source.into());
        }
        let (exact, wild) = map.files();
        assert_eq!((exact.as_str(), wild.as_str()), ("x.test d\n", ".b.test b\n.test a\n"));
        let first = map.routes().next().unwrap();
        assert_eq!(first, ("x.test".to_owned(), "d", "swarm/3"));
        assert!(map.routes().any(|route| route == ("*.test".to_owned(), "a", "app/1")));
    }
}
