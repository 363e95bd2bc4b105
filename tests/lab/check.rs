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

/// A deployment's checkout has a `.env` in any case.
#[test]
fn a_compose_file_that_needs_a_env_is_taken_without_one() {
    let lab = Lab::get();
    let file = "/root/env/docker-compose.yml";
    let compose = |env: &str| {
        format!(
            "services:\n  web:\n    image: x\n    restart: always\n    env_file: [{env}]\n    secrets: [key]\n\
             secrets:\n  key: {{file: ./key.txt}}\n"
        )
    };
    let check = |text: &str| {
        assert!(lab.node_with_stdin("node3", &["tee", file], text.as_bytes()).status.success());
        let output = lab.try_node("node3", &["tandem", "check", file]);
        (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.code())
    };
    lab.node("node3", &["mkdir", "-p", "/root/env"]);
    let (told, code) = check(&compose(".env"));
    assert!(code == Some(1) && told.contains("key.txt (the secret key) is not here"), "{told}");
    lab.node("node3", &["touch", "/root/env/key.txt", "/root/env/app.env"]);
    let (told, code) = check(&compose(".env, app.env"));
    assert_eq!(code, Some(0), "{told}");
    let left = lab.node("node3", &["ls", "-A", "/root/env"]);
    assert_eq!(
        left.split_whitespace().collect::<Vec<_>>(),
        ["app.env", "docker-compose.yml", "key.txt"]
    );
    let (told, code) = check(&compose("other.env"));
    assert!(code == Some(1) && told.contains("other.env not found"), "{told}");
}
