//! `tandem check`, with the real Compose.

use crate::support::Lab;

#[test]
fn an_app_team_learns_before_pushing_what_a_deployment_would_say() {
    let lab = Lab::get();
    let apps = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/apps");
    for app in ["hello", "guestbook", "tcp"] {
        let told = lab.node("node3", &["tandem", "check", &format!("{apps}/{app}")]);
        assert!(told.contains("a deployment would take it"), "{told}");
    }
    let file = "/root/checked/docker-compose.yml";
    let compose = "services:\n  web:\n    image: x\n    environment:\n      CADDYFILE: |\n        \
                   http://h.test {\n          root /etc\n        }\n";
    lab.node("node3", &["mkdir", "-p", "/root/checked"]);
    assert!(lab.node_with_stdin("node3", &["tee", file], compose.as_bytes()).status.success());
    let output = lab.try_node("node3", &["tandem", "check", file]);
    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("docker-compose.yml, service web, CADDYFILE, line 2: root: "), "{told}");
}
