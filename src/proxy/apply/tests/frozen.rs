//! Nothing about one app, nor a file that can't be written, keeps hosts from being led where they belong.

use super::*;

fn marks(f: &Fixture) -> Vec<String> {
    let files = std::fs::read_dir(f.settings.held_dir()).unwrap();
    let mut names: Vec<_> =
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_name_with_a_slash_is_held_like_any_other() {
    let mut f = fixture();
    f.add("a", "node2", &site("a"), json!({}));
    f.apply().await;
    // An operator's two words, a branch with a slash, and a name that no file can have.
    let long = format!("a{}", "/b".repeat(200));
    for name in ["a/b", "shop_feature/x-1.12345", long.as_str()] {
        f.view.maintenance.insert(AppName::parse(name).unwrap());
    }
    f.add("b", "node2", &site("b"), json!({}));
    let applied = f.apply().await;
    assert!(applied.problems.is_empty(), "{applied:?}");
    assert_eq!(f.control.state().maps["http.map"], "a.test node2\nb.test node2\n");
    assert_eq!(marks(&f).len(), 3);
    assert!(marks(&f).contains(&"shop_feature%2Fx-1.12345".to_owned()), "{:?}", marks(&f));
    // What an earlier release left goes, too.
    std::fs::write(f.settings.held_dir().join("shop~x_main.12345"), "").unwrap();
    std::fs::create_dir(f.settings.held_dir().join("shop_feature")).unwrap();
    f.view.maintenance.clear();
    f.apply().await;
    assert!(marks(&f).is_empty(), "{:?}", marks(&f));
}

#[tokio::test]
async fn a_mark_that_cannot_be_made_is_the_problem_of_its_app() {
    let mut f = fixture();
    let a = f.add("a", "node1", &site("a"), json!({}));
    let b = f.add("b", "node1", &site("b"), json!({}));
    f.apply().await;
    let dir = f.settings.held_dir();
    std::fs::remove_dir(&dir).unwrap();
    // Where the folder can't be had, no mark can.
    std::fs::write(&dir, "").unwrap();
    f.view.maintenance.insert(a.clone());
    f.record(&b).master = node("node2");
    let mut applied = Applied::default();
    let failed = f.proxies.put_in_place(&f.view, &mut applied).await;
    assert!(failed.is_err(), "the folder is missed");
    assert!(applied.is_routed);
    let of = |app: &AppName| applied.problems.iter().any(|it| it.source == format!("app/{app}"));
    assert!(of(&a), "{applied:?}");
    assert_eq!(f.control.state().maps["http.map"], "a.test maint\nb.test node2\n");
    f.is_on_disk();
}

#[tokio::test]
async fn the_running_haproxy_is_told_what_its_files_can_not_be() {
    let mut f = fixture();
    let a = f.add("a", "node1", &site("a"), tcp("a", 2222));
    f.apply().await;
    // A folder in place of a file: nobody can write it, not even root.
    let file = f.settings.haproxy_dir().join("http.map");
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    f.record(&a).master = node("node2");
    f.add("b", "node2", &site("b"), json!({}));
    let mut applied = Applied::default();
    let failed = f.proxies.put_in_place(&f.view, &mut applied).await.unwrap_err();
    assert!(matches!(failed, ProxyError::File(_)), "{failed:?}");
    assert!(applied.is_routed && !applied.haproxy_reloaded, "{applied:?}");
    assert_eq!(f.control.state().maps["http.map"], "a.test node2\nb.test node2\n");
    let server = |node: &str| ("backend-a".to_owned(), node.to_owned());
    assert!(f.control.state().servers[&server("node2")]);
    std::fs::remove_dir(&file).unwrap();
    assert!(f.apply().await.is_routed);
    assert_eq!(f.file("http.map"), "a.test node2\nb.test node2\n");
}

#[tokio::test]
async fn what_is_refused_as_a_whole_keeps_nobody_from_being_led() {
    let mut f = fixture();
    let a = f.add("a", "node1", &site("a"), json!({}));
    f.apply().await;
    // Even without any app's part.
    f.control.state().haproxy_refuses = vec!["frontend http-in".to_owned()];
    f.view.nodes.insert(node("node3"), "10.0.0.3".to_owned());
    f.record(&a).master = node("node2");
    let mut applied = Applied::default();
    let failed = f.proxies.put_in_place(&f.view, &mut applied).await.unwrap_err();
    assert!(matches!(failed, ProxyError::Check { .. }), "{failed:?}");
    assert!(applied.is_routed);
    assert_eq!(f.control.state().maps["http.map"], "a.test node2\n");
}
