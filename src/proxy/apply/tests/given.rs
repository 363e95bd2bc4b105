//! Certificates that a policy gives, from the admin's files to what Caddy is told.

use std::fs;

use serde_json::{Value, json};

use super::{Applied, Fixture, NOTHING, fixture, site};
use crate::host::files::replace;
use crate::model::Repo;
use crate::proxy::Policy;
use crate::proxy::certificates::Texts;
use crate::proxy::certificates::testing::made;

impl Fixture {
    fn admin_puts(&self, texts: &Texts) {
        let dir = &self.settings.certificate_dir;
        fs::create_dir_all(dir).unwrap();
        for (ending, text) in [("crt", &texts.certificate), ("key", &texts.key)] {
            replace(&dir.join(format!("shop.{ending}")), text.as_bytes(), 0o600).unwrap();
        }
    }

    fn policy(&mut self, repo: &str, certificates: &Value) {
        let repo = format!("https://git.test/{repo}");
        let text = json!({"repo": repo, "certificates": certificates}).to_string();
        let policy = Policy::parse(text.as_bytes()).unwrap().1;
        self.view.policies.insert(Repo::parse(&repo).unwrap(), policy);
    }

    fn loaded(&self) -> Value {
        self.control.state().loads.last().unwrap().clone()
    }

    fn copies(&self) -> usize {
        fs::read_dir(self.settings.data_dir.join("caddy/given")).unwrap().count()
    }
}

fn skipped(config: &Value) -> &Value {
    &config["apps"]["http"]["servers"]["https"]["automatic_https"]["skip_certificates"]
}

fn what(applied: &Applied) -> Vec<&str> {
    applied.problems.iter().map(|problem| problem.what.as_str()).collect()
}

#[tokio::test]
async fn a_given_certificate_reaches_caddy_by_its_place_and_its_key_does_not() {
    let mut f = fixture();
    let files = "https://a.test {\n tls /etc/a.pem /etc/a.key\n proxy / http://a_web:80\n}";
    let a = f.add("a", "node1", files, json!({}));
    f.add(
        "b",
        "node1",
        "https://b.test {\n tls self_signed\n proxy / http://b_web:80\n}",
        json!({}),
    );
    // Another repository's policy gives this app nothing.
    f.policy("other", &json!({"shop": ["a.test"]}));
    let applied = f.apply().await;
    assert!(what(&applied)[0].contains("tls: files are not read; an admin can"), "{applied:?}");
    f.policy("a", &json!({"shop": ["a.test"]}));
    let record = f.view.apps[&a].clone();
    let refused = f.proxies.checker().would_accept(&f.view, &record).await.unwrap_err();
    assert!(refused[0].what.contains("shop.crt does not exist"), "{refused:?}");
    let applied = f.apply().await;
    assert!(what(&applied)[0].ends_with("shop.crt does not exist; it has none"), "{applied:?}");
    assert_eq!(skipped(&f.loaded()), &json!(["a.test"]), "nobody else is asked for one");

    let first = made("a.test", "2020-01-01", "2090-01-01");
    f.admin_puts(&first);
    f.proxies.checker().would_accept(&f.view, &record).await.unwrap();
    let applied = f.apply().await;
    assert!(applied.problems.is_empty() && applied.caddy_loaded, "{applied:?}");
    let config = f.loaded();
    let loaded = config["apps"]["tls"]["certificates"]["load_files"][0].clone();
    let read = |field: &str| fs::read_to_string(loaded[field].as_str().unwrap()).unwrap();
    assert_eq!((read("certificate"), read("key")), (first.certificate, first.key.clone()));
    let policies = &config["apps"]["http"]["servers"]["https"]["tls_connection_policies"];
    assert_eq!(policies[0]["match"]["sni"], json!(["a.test"]));
    assert_eq!(policies[0]["certificate_selection"]["any_tag"], loaded["tags"]);
    let subjects = &config["apps"]["tls"]["automation"]["policies"][0]["subjects"];
    assert_eq!(subjects, &json!(["b.test"]));
    let asked = f.control.state().asked.join("\n");
    for text in [config.to_string(), asked, format!("{applied:?}")] {
        assert!(!text.contains(first.key.lines().nth(1).unwrap()), "{text}");
    }
    assert_eq!(f.apply().await, NOTHING);

    f.admin_puts(&made("a.test", "2021-01-01", "2090-01-01"));
    let applied = f.apply().await;
    assert!(applied.caddy_loaded && applied.problems.is_empty(), "{applied:?}");
    let renewed = f.loaded();
    assert_ne!(renewed["apps"]["tls"]["certificates"]["load_files"][0], loaded);
    assert_eq!(f.copies(), 2, "the former ones are gone");
    f.record(&a).caddyfile = site("a");
    f.apply().await;
    assert_eq!(skipped(&f.loaded()), &Value::Null);
    assert_eq!(f.copies(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_caddy_refuses_is_that_apps_problem_and_the_former_one_stays() {
    let mut f = fixture();
    f.add("a", "node1", "https://a.test {\n proxy / http://a_web:80\n}", json!({}));
    f.policy("a", &json!({"shop": ["a.test"]}));
    f.admin_puts(&made("a.test", "2020-01-01", "2090-01-01"));
    f.apply().await;
    let good = f.loaded();
    let renewed = made("a.test", "2021-01-01", "2090-01-01");
    let pair = crate::proxy::certificates::Pair::new(&renewed.certificate, &renewed.key).unwrap();
    f.control.state().load_refuses.push(pair.tag().to_owned());
    f.admin_puts(&renewed);
    let applied = f.apply().await;
    assert!(what(&applied)[0].contains("Caddy refuses the whole with it"), "{applied:?}");
    assert_eq!(f.loaded(), good);
    let key = &good["apps"]["tls"]["certificates"]["load_files"][0]["key"];
    assert!(fs::exists(key.as_str().unwrap()).unwrap());
    f.control.state().load_refuses.clear();
    let known = f.apply().await;
    assert!(!known.caddy_loaded && known.problems == applied.problems, "{known:?}");
    tokio::time::advance(known.later.unwrap()).await;
    assert!(f.apply().await.caddy_loaded);
}
