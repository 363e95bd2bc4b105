use proptest::prelude::*;

use super::*;
use crate::model::{AppId, Branch, NodeName, Repo, Wanted};

fn request(name: &str, payload: &str) -> Request {
    match decode(name, payload.as_bytes()) {
        Ok(Decoded::Request(request)) => request,
        other => panic!("{payload}: {other:?}"),
    }
}

fn refusal(name: &str, payload: &str) -> String {
    match decode(name, payload.as_bytes()) {
        Err(error) => error.to_string(),
        Ok(decoded) => panic!("{payload} was accepted: {decoded:?}"),
    }
}

#[test]
fn a_deploy_with_a_pair() {
    let text =
        r#"{"master":"node1","slave":"node2","branch":"main","repo":"ssh://git@h/app.git","x":1}"#;
    let Request::Deploy { app, master, replica, update, .. } = request("deploy", text) else {
        panic!()
    };
    assert_eq!(app.repo.as_str(), "ssh://git@h/app");
    assert_eq!(master.unwrap().as_str(), "node1");
    assert_eq!(replica.node().unwrap().as_str(), "node2");
    assert!(!update);
}

#[test]
fn no_slave_is_another_thing_than_nothing_said_of_it_also_in_the_record() {
    let node2 = NodeName::parse("node2").unwrap();
    for (slave, wanted) in [
        (r#""slave":null,"#, Wanted::Nobody),
        (r#""slave":"","#, Wanted::Nobody),
        ("", Wanted::Unsaid),
        (r#""slave":"node2","#, Wanted::Node(node2)),
    ] {
        let text = format!(r#"{{{slave}"master":"node1","branch":"main","repo":"git://h/app"}}"#);
        let request = request("deploy", &text);
        let Request::Deploy { replica, .. } = &request else { panic!() };
        assert_eq!(*replica, wanted, "{slave}");
        let stored = serde_json::to_string(&request).unwrap();
        assert_eq!(serde_json::from_str::<Request>(&stored).unwrap(), request, "{stored}");
    }
}

#[test]
fn a_master_that_is_null_empty_or_absent_is_left_open() {
    for master in [r#""master":null,"#, r#""master":"","#, ""] {
        let text = format!(r#"{{{master}"slave":"node1","branch":"main","repo":"git://h/app"}}"#);
        let Request::Deploy { master, .. } = request("deploy", &text) else { panic!() };
        assert_eq!(master, None);
    }
}

#[test]
fn white_space_around_names_is_trimmed() {
    let text =
        r#"{"repo":" git://h/app.git\n","branch":"\tmain ","master":" node1\r\n","slave":" "}"#;
    let Request::Deploy { app, master, replica, .. } = request("deploy", text) else { panic!() };
    assert_eq!((app.repo.as_str(), app.branch.as_str()), ("git://h/app", "main"));
    assert_eq!((master.unwrap().as_str(), replica), ("node1", Wanted::Nobody));
    assert!(refusal("deploy", r#"{"repo":"git://h/a","branch":" "}"#).contains("`branch`"));
}

#[test]
fn update_may_be_a_text() {
    for (update, of_deploy, of_migrate) in [
        (r#","update":true"#, true, true),
        (r#","update":"true""#, true, true),
        (r#","update":" True ""#, true, true),
        (r#","update":"false""#, false, false),
        (r#","update":"""#, false, false),
        (r#","update":null"#, false, true),
        ("", false, true),
    ] {
        let text = format!(
            r#"{{"repo":"git://h/app","branch":"main"{update},"target":{{"branch":"x"}}}}"#
        );
        let (deploy, migrate) = (request("deploy", &text), request("migrate", &text));
        let Request::Deploy { update: deploy, .. } = deploy else { panic!() };
        let Request::Migrate { update: migrate, .. } = migrate else { panic!() };
        assert_eq!((deploy, migrate), (of_deploy, of_migrate), "{update}");
    }
}

#[test]
fn a_migration_takes_what_is_missing_from_its_source() {
    let text = r#"{"repo":"git://h/app","branch":"main","target":{"branch":"test"}}"#;
    let Request::Migrate { app, target, update } = request("migrate", text) else { panic!() };
    assert_eq!(target.repo, app.repo);
    assert_eq!(target.branch.as_str(), "test");
    assert!(update);
    let same = r#"{"repo":"git://h/app","branch":"main","target":{}}"#;
    assert!(refusal("migrate", same).contains("`target`"));
}

#[test]
fn the_error_names_the_field() {
    for (payload, expected) in [
        ("", "not a JSON object"),
        ("[]", "not a JSON object"),
        ("null", "not a JSON object"),
        (r#"{"branch":"main"}"#, "field `repo` is missing"),
        (r#"{"repo":"git://h/a"}"#, "field `branch` is missing"),
        (r#"{"repo":7,"branch":"main"}"#, "field `repo` must be a text"),
        (r#"{"repo":"git://h/a","branch":"main","master":["a"]}"#, "field `master` must be a text"),
        (
            r#"{"repo":"git://h/a","branch":"main","master":"a b"}"#,
            "field `master` must be a host name",
        ),
        (
            r#"{"repo":"git://h/a","branch":"main","master":"a","slave":"a"}"#,
            "field `slave` is the master too",
        ),
        (
            r#"{"repo":"git://h/a","branch":"main","update":"yes"}"#,
            "field `update` must be true or false",
        ),
        (r#"{"repo":"git://h/$(id)","branch":"main"}"#, "field `repo` contains '$'"),
        (r#"{"repo":"git://h/a","branch":"-x"}"#, "field `branch` is not a valid ref"),
        (r#"{"request":"../x"}"#, "field `request`"),
    ] {
        let error = refusal("deploy", payload);
        assert!(error.contains(expected), "{payload}: {error}");
    }
}

#[test]
fn other_names_are_handlers_unless_they_could_leave_the_folder() {
    assert_eq!(
        decode("back-up_2", b"x").unwrap(),
        Decoded::Handler(HandlerName("back-up_2".into()))
    );
    for name in ["", "../x", "a/b", ".", "a b", "a\n"] {
        assert!(decode(name, b"").is_err(), "{name:?}");
    }
}

proptest! {
    #[test]
    fn no_payload_panics(name in "(deploy|destroy|migrate|x)", payload in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = decode(&name, &payload);
    }

    #[test]
    fn what_is_accepted_is_harmless(repo in ".{0,60}", branch in ".{0,30}") {
        let payload = serde_json::json!({"repo": repo, "branch": branch, "master": "n1"}).to_string();
        if let Ok(Decoded::Request(request)) = decode("deploy", payload.as_bytes()) {
            let app = request.app();
            for text in [app.repo.as_str(), app.branch.as_str(), app.name().as_str()] {
                prop_assert!(!text.starts_with('-') && !text.contains(".."));
                prop_assert!(!text.contains([' ', '\n', '\'', '"', ';', '$', '`', '\\', '&', '|', '<', '>', '(', '*', '?']));
            }
        }
    }
}

#[test]
fn beginning_from_copies_has_to_be_asked_for() {
    let text = |more: &str| format!(r#"{{"repo": "https://h/a", "branch": "b"{more}}}"#);
    for (more, expected) in [
        ("", false),
        (r#", "from_replica": null"#, false),
        (r#", "from_replica": false"#, false),
        (r#", "from_replica": true"#, true),
    ] {
        assert_eq!(request("deploy", &text(more)).is_from_replica(), expected, "{more}");
    }
    let wrong = decode("deploy", text(r#", "from_replica": 1"#).as_bytes()).unwrap_err();
    assert!(wrong.to_string().contains("from_replica"), "{wrong}");
    // Records of before can be read, and one that does not use it is written as before.
    let plain = request("deploy", &text(""));
    let written = serde_json::to_string(&plain).unwrap();
    assert!(!written.contains("from_replica"), "{written}");
    assert_eq!(serde_json::from_str::<Request>(&written).unwrap(), plain);
}

#[test]
fn what_is_encoded_is_decoded_as_it_was() {
    let id = |branch: &str| AppId {
        repo: Repo::parse("https://h.test/a").unwrap(),
        branch: Branch::parse(branch).unwrap(),
    };
    let node = |name: &str| NodeName::parse(name).unwrap();
    let deploy = |master: Option<&str>, replica, update, from_replica| Request::Deploy {
        app: id("main"),
        master: master.map(node),
        replica,
        update,
        from_replica,
    };
    let migrate = |update| Request::Migrate { app: id("main"), target: id("test"), update };
    for request in [
        deploy(None, Wanted::Unsaid, false, false),
        deploy(Some("node1"), Wanted::Nobody, true, false),
        deploy(Some("node1"), Wanted::Node(node("node2")), false, true),
        Request::Destroy { app: id("main") },
        migrate(true),
        migrate(false),
    ] {
        let decoded = decode(request.verb(), &encode(&request)).unwrap();
        assert_eq!(decoded, Decoded::Request(request));
    }
}
