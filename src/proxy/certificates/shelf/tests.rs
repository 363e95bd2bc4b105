use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};

use caddyfile::Dialect;

use super::super::Texts;
use super::super::testing::{bundle, day, made};
use super::*;

const NOW: &str = "2026-02-01";

struct Node {
    dir: tempfile::TempDir,
    shelf: Shelf,
}

fn node() -> Node {
    let dir = tempfile::tempdir().unwrap();
    let settings = ProxySettings {
        data_dir: dir.path().join("data"),
        certificate_dir: dir.path().join("admin"),
        ..ProxySettings::default()
    };
    fs::create_dir_all(settings.data_dir.join("caddy")).unwrap();
    fs::create_dir(&settings.certificate_dir).unwrap();
    Node { shelf: Shelf::new(&settings), dir }
}

fn sites(given: &[(&str, &str)]) -> AppSites {
    let host = |(host, _): &(&str, &str)| ((Scheme::Https, (*host).to_owned()), TlsSource::DEFAULT);
    let name =
        |(host, name): &(&str, &str)| ((*host).to_owned(), CertificateName::parse(name).unwrap());
    AppSites {
        text: String::new(),
        hosts: given.iter().map(host).collect(),
        given: given.iter().map(name).collect(),
        dialect: Dialect::V2,
        containers: Vec::new(),
        upstreams: BTreeSet::new(),
    }
}

impl Node {
    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join("admin").join(name)
    }

    /// As `install -m 600` does it.
    fn admin_puts(&self, name: &str, texts: &Texts) {
        for (ending, text) in [("crt", &texts.certificate), ("key", &texts.key)] {
            replace(&self.file(&format!("{name}.{ending}")), text.as_bytes(), 0o600).unwrap();
        }
    }

    async fn settle(&self, given: &[(&str, &str)], now: &str) -> (AppSites, String) {
        let mut sites = sites(given);
        let problems = self.shelf.settle(&mut sites, day(now)).await;
        (sites, problems.join("\n"))
    }

    /// The certificate that Caddy is told of for `app.test`, and what is said of it.
    async fn shown(&self, now: &str) -> (Option<String>, String) {
        let (sites, problem) = self.settle(&[("app.test", "shop")], now).await;
        let read = |given: &Given| fs::read_to_string(&given.certificate).unwrap();
        (sites.given_files().next().map(read), problem)
    }

    fn copies(&self) -> usize {
        fs::read_dir(self.dir.path().join("data").join(COPIES)).unwrap().count()
    }
}

fn choice<'a>(sites: &'a AppSites, host: &str) -> &'a TlsSource {
    &sites.hosts[&(Scheme::Https, host.to_owned())]
}

#[tokio::test]
async fn what_an_admin_puts_there_is_copied_for_caddy_alone_to_read() {
    let node = node();
    let texts = made("app.test", "2026-01-01", "2026-04-01");
    node.admin_puts("shop", &texts);
    let (sites, problem) = node.settle(&[("app.test", "shop")], NOW).await;
    assert_eq!(problem, "");
    let TlsSource::Given(Some(given)) = choice(&sites, "app.test") else { panic!("{sites:?}") };
    for (path, text) in [(&given.certificate, &texts.certificate), (&given.key, &texts.key)] {
        assert_eq!(&fs::read_to_string(path).unwrap(), text);
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
        let folder = path.parent().unwrap();
        assert_eq!(fs::metadata(folder).unwrap().permissions().mode() & 0o777, 0o700);
    }
    let (again, _) = node.settle(&[("app.test", "shop")], NOW).await;
    assert_eq!(again, sites, "nothing changed, so nothing is loaded");
    let key = texts.key.lines().nth(1).unwrap();
    assert!(!format!("{sites:?}{:?}", node.shelf).contains(key));
}

#[tokio::test]
async fn a_renewed_one_takes_the_place_and_a_wrong_one_does_not() {
    let node = node();
    let first = made("app.test", "2026-01-01", "2026-04-01");
    node.admin_puts("shop", &first);
    assert_eq!(node.shown(NOW).await, (Some(first.certificate.clone()), String::new()));
    let renewed = made("app.test", "2026-01-15", "2026-06-01");
    node.admin_puts("shop", &renewed);
    assert_eq!(node.shown(NOW).await, (Some(renewed.certificate.clone()), String::new()));
    assert_eq!(node.copies(), 4, "the former one may still be loaded");
    let used = node.settle(&[("app.test", "shop")], NOW).await.0;
    let used = used.given_files().flat_map(|one| [one.certificate.clone(), one.key.clone()]);
    node.shelf.keep_only(used.collect()).await.unwrap();
    assert_eq!(node.copies(), 2);
    let other = made("app.test", "2026-01-15", "2026-06-01");
    for (wrong, part) in [
        (Texts { key: other.key.clone(), ..renewed.clone() }, "another certificate"),
        (Texts { key: "?".to_owned(), ..renewed.clone() }, "not PEM"),
        (made("b.test", "2026-01-01", "2026-04-01"), "not for this host"),
        (made("app.test", "2025-01-01", "2026-01-31"), "has ended on 2026-01-31"),
        (made("app.test", "2026-02-02", "2026-04-01"), "begins on 2026-02-02"),
        (Texts { certificate: "x".repeat(70_000), ..renewed.clone() }, "larger than 64 KiB"),
    ] {
        node.admin_puts("shop", &wrong);
        let (shown, problem) = node.shown(NOW).await;
        assert_eq!(shown.as_ref(), Some(&renewed.certificate), "{part}");
        assert!(problem.starts_with("the certificate shop of app.test: "), "{problem}");
        assert!(problem.contains(part) && problem.contains("from before stays"), "{problem}");
    }
    // Also of an agent that was started anew, and with no files at all.
    for name in ["shop.crt", "shop.key"] {
        fs::remove_file(node.file(name)).unwrap();
    }
    let settings = ProxySettings {
        data_dir: node.dir.path().join("data"),
        certificate_dir: node.dir.path().join("admin"),
        ..ProxySettings::default()
    };
    let node = Node { shelf: Shelf::new(&settings), ..node };
    let (shown, problem) = node.shown(NOW).await;
    assert_eq!(shown, Some(renewed.certificate));
    assert!(problem.contains("shop.crt does not exist"), "{problem}");
}

#[tokio::test]
async fn one_that_ends_soon_is_told_of_and_one_that_has_ended_stays() {
    let node = node();
    let texts = made("app.test", "2026-01-01", "2026-04-01");
    node.admin_puts("shop", &texts);
    for (now, part) in
        [("2026-03-17", ""), ("2026-03-18", "it ends on 2026-04-01"), ("2026-04-02", "has ended")]
    {
        let (shown, problem) = node.shown(now).await;
        assert_eq!(shown.as_ref(), Some(&texts.certificate), "{now}");
        assert!(problem.contains(part) && problem.is_empty() == part.is_empty(), "{now} {problem}");
    }
}

#[tokio::test]
async fn links_and_keys_that_others_may_read_are_not_taken() {
    let node = node();
    let texts = made("app.test", "2026-01-01", "2026-04-01");
    let outside = node.dir.path().join("outside");
    fs::write(&outside, &texts.key).unwrap();
    fs::set_permissions(&outside, Permissions::from_mode(0o600)).unwrap();
    node.admin_puts("shop", &texts);
    let key = node.file("shop.key");
    fs::set_permissions(&key, Permissions::from_mode(0o640)).unwrap();
    let (shown, problem) = node.shown(NOW).await;
    assert!(shown.is_none() && problem.contains("chmod 600"), "{problem}");
    // The mode alone is a change.
    fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    assert!(node.shown(NOW).await.0.is_some());
    node.shelf.keep_only(BTreeSet::new()).await.unwrap();
    fs::remove_file(&key).unwrap();
    symlink(&outside, &key).unwrap();
    let (shown, problem) = node.shown(NOW).await;
    assert!(shown.is_none() && problem.contains("plain file"), "{problem}");
}

#[tokio::test]
async fn without_any_a_host_keeps_what_caddy_was_issued_and_else_has_none() {
    let node = node();
    let given = [("app.test", "shop"), ("b.test", "shop")];
    let issued = bundle("app.test", "2026-01-01", "2026-04-01");
    Storage::new(&node.dir.path().join("data")).put(&issued).await.unwrap();
    let (sites, problem) = node.settle(&given, NOW).await;
    assert_eq!(choice(&sites, "app.test"), &TlsSource::DEFAULT);
    assert_eq!(choice(&sites, "b.test"), &TlsSource::Given(None));
    let told: Vec<_> = problem.lines().collect();
    assert!(told[0].contains("shop.crt does not exist; it keeps the one that Caddy"), "{problem}");
    assert!(told[1].contains("shop.crt does not exist; it has none"), "{problem}");
    let lacks = node.shelf.lacks(&super::tests::sites(&given), day(NOW)).await;
    assert_eq!(lacks.len(), 2, "a deployment is told of both: {lacks:?}");
    node.admin_puts("shop", &made("app.test", "2026-01-01", "2026-04-01"));
    let (sites, problem) = node.settle(&given, NOW).await;
    assert!(matches!(choice(&sites, "app.test"), TlsSource::Given(Some(_))));
    assert_eq!(choice(&sites, "b.test"), &TlsSource::Given(None));
    assert!(
        problem.contains("of b.test: the certificate is not for this host; it has none"),
        "{problem}"
    );
    let lacks = node.shelf.lacks(&super::tests::sites(&given), day(NOW)).await;
    assert_eq!(lacks, ["the certificate shop of b.test: the certificate is not for this host"]);
}

#[tokio::test]
async fn a_name_that_begins_like_another_has_copies_of_its_own() {
    let node = node();
    node.admin_puts("shop-a", &made("app.test", "2026-01-01", "2026-04-01"));
    node.settle(&[("app.test", "shop-a")], NOW).await;
    let (shown, problem) = node.shown(NOW).await;
    assert!(shown.is_none() && problem.contains("shop.crt does not exist"), "{problem}");
}
