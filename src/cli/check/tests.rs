use super::*;
use crate::host::compose::FakeCompose;

/// Checks a folder with one compose file; what it says, and how it ends.
async fn check(compose: &str, more: &[(&str, &str)]) -> (String, Result<(), CommandFailure>) {
    let dir = tempfile::tempdir().unwrap();
    let app = dir.path().join("shop");
    std::fs::create_dir(&app).unwrap();
    let place = app.canonicalize().unwrap().display().to_string();
    std::fs::write(app.join("docker-compose.yml"), compose.replace("SHOP", &place)).unwrap();
    for (name, text) in more {
        std::fs::write(app.join(name), text).unwrap();
    }
    let args = CheckArgs {
        path: app,
        volume_drivers: DRIVERS.split(',').map(str::to_owned).collect(),
        policy: more
            .iter()
            .any(|(name, _)| *name == "policy")
            .then(|| dir.path().join("shop/policy")),
        json: false,
    };
    let mut told = Vec::new();
    let ended =
        run(&args, &FakeCompose::new(Default::default()), &mut Printer::to(&mut told)).await;
    (String::from_utf8(told).unwrap(), ended)
}

const GOOD: &str = r#"
services:
  web:
    image: x
    networks: [cluster_default]
    environment:
      CADDYFILE: |
        http://shop.test {
            gzip
            timeouts 300s
            proxy / http://$CONTAINER:80
        }
  ssh:
    image: x
    networks: [cluster_default]
    environment:
      HAPROXY: '{"shop-ssh": {"frontend": {"mode": "tcp", "bind": ["*:2222"]},
        "backends": [{"name": "ssh", "port": 22, "peer_port": 2222}]}}'
networks:
  cluster_default: {external: true}
volumes:
  data: {driver: btrfs}
  cache: {}
"#;

#[tokio::test]
async fn what_a_deployment_takes_is_told_in_short() {
    let (told, ended) = check(GOOD, &[]).await;
    ended.unwrap();
    for line in [
        "note: docker-compose.yml, service web, CADDYFILE: line 3: timeouts: the timeouts are those of the node",
        "serves http://shop.test",
        "HAPROXY shop-ssh",
        "volume data (btrfs) moves with the app",
        "volume cache (local) does not move: on another node it begins empty",
    ] {
        assert!(told.lines().any(|known| known == line), "{line}\n{told}");
    }
}

#[tokio::test]
async fn every_error_has_its_place() {
    let bad = GOOD.replace("gzip", "fastcgi / x").replace("22, ", "\"ssh\", ");
    let (told, ended) = check(&bad, &[("service.json", "[]")]).await;
    let failure = ended.unwrap_err();
    assert_eq!(failure.kind, ErrorKind::Failed);
    assert!(failure.text.ends_with("a deployment would refuse it, for 3 reasons"), "{failure:?}");
    assert!(
        told.contains("error: docker-compose.yml, service web, CADDYFILE, line 2: fastcgi: "),
        "{told}"
    );
    assert!(
        told.contains(
            "error: docker-compose.yml, service ssh, HAPROXY: \"shop-ssh\": backend \"ssh\": "
        ),
        "{told}"
    );
    assert!(told.contains("service.json: "), "{told}");
}

#[tokio::test]
async fn a_maintenance_page_is_looked_at() {
    let (told, ended) = check(GOOD, &[("maintenance.html", "<p>Back at nine")]).await;
    ended.unwrap();
    assert!(told.contains("maintenance.html is the app's maintenance page (15 bytes)\n"), "{told}");
    for (page, expected) in [
        ("x".repeat(40_000), "maintenance.html is larger than 32 KiB"),
        ("a\0".to_owned(), "maintenance.html, line 1: U+0000 is no character of a text"),
    ] {
        let (told, ended) = check(GOOD, &[("maintenance.html", &page)]).await;
        assert!(ended.is_err() && told.contains(expected), "{told}");
    }
}

#[tokio::test]
async fn a_policy_widens_and_narrows() {
    let wide =
        GOOD.replace("http://$CONTAINER:80", "http://legacy.test:8000").replace("*:2222", "*:8500");
    let policy =
        r#"{"repo": "https://git.test/any", "upstreams": ["legacy.test:8000"], "ports": [8500]}"#;
    let (told, ended) = check(&wide, &[("policy", policy)]).await;
    assert!(ended.is_ok(), "{told}");
    let (told, ended) = check(&wide, &[]).await;
    assert!(ended.is_err() && told.contains("\"legacy.test\" is not a container"), "{told}");
    let narrow = policy.replace("\"ports\"", "\"domains\": [\"*.shop.test\"], \"ports\"");
    let (told, ended) = check(&wide, &[("policy", &narrow)]).await;
    assert!(ended.is_err() && told.contains("the host shop.test is none of those"), "{told}");
    let (_, ended) = check(GOOD, &[("policy", "{}")]).await;
    let failure = ended.unwrap_err();
    assert_eq!(failure.kind, ErrorKind::Usage);
    assert!(failure.text.contains("missing field `repo`"), "{failure:?}");
}

#[tokio::test]
async fn certificate_files_are_accepted_where_a_policy_gives_the_host_one() {
    let files = GOOD.replace("http://shop.test {", "shop.test {\n            tls /c.pem /k.pem");
    let (told, ended) = check(&files, &[]).await;
    assert!(ended.is_err() && told.contains("line 2: tls: files are not read"), "{told}");
    let of = |host: &str| {
        format!(r#"{{"repo": "https://git.test/any", "certificates": {{"shop": ["{host}"]}}}}"#)
    };
    let (told, ended) = check(&files, &[("policy", &of("shop.test"))]).await;
    assert!(ended.is_ok() && told.contains("line 2: tls: the certificate is the one"), "{told}");
    let (_, ended) = check(&files, &[("policy", &of("*.shop.test"))]).await;
    assert!(ended.is_err());
}

#[tokio::test]
async fn services_are_looked_at_together() {
    let twice = GOOD.replace("HAPROXY: '", "CADDYFILE: 'http://shop.test' \n      HAPROXY: '");
    let (told, ended) = check(&twice, &[]).await;
    assert!(ended.is_err() && told.contains("http://shop.test is declared twice"), "{told}");
    let reserved = GOOD.replace("*:2222", "*:8500");
    let (told, ended) = check(&reserved, &[]).await;
    assert!(ended.is_err() && told.contains("port 8500 is reserved"), "{told}");
}

#[tokio::test]
async fn services_may_be_written_for_different_caddys() {
    let both = |line: &str| {
        let api = format!("CADDYFILE: \"api.test {{\\n {line}\\n}}\"\n      HAPROXY: '");
        GOOD.replace("HAPROXY: '", &api)
    };
    let (told, ended) = check(&both("reverse_proxy $CONTAINER:80"), &[]).await;
    assert!(ended.is_ok() && told.contains("serves https://api.test\n"), "{told}");
    let (told, ended) = check(&both("reverse_proxy other:80"), &[]).await;
    let place = "docker-compose.yml, service ssh, CADDYFILE, line 2: reverse_proxy: ";
    assert!(ended.is_err() && told.contains(place), "{told}");
}

#[tokio::test]
async fn what_other_apps_and_the_proxies_could_not_bear_is_told() {
    for (find, instead, expected) in [
        ("  ssh:\n", "  Caddy:\n", "service Caddy: the name \"Caddy\" is one of the proxies'"),
        (
            "    networks: [cluster_default]\n    environment:\n      HAPROXY",
            "    environment:\n      HAPROXY",
            "service ssh: HAPROXY leads to it, but it is not on the network cluster_default",
        ),
        (
            "  ssh:\n",
            "  ssh:\n    ports: [{target: 1, published: \"443\"}]\n",
            "service ssh: the port 443/tcp is the proxies' own",
        ),
        (
            "  ssh:\n",
            "  ssh:\n    ports: [{target: 1, published: \"2222\"}]\n",
            "service ssh: the port 2222/tcp is bound by HAProxy",
        ),
    ] {
        assert!(GOOD.contains(find), "{find}");
        let (told, ended) = check(&GOOD.replace(find, instead), &[]).await;
        assert!(ended.is_err() && told.contains(expected), "{expected}: {told}");
    }
}

#[tokio::test]
async fn data_below_the_checkout_is_refused_with_the_way_to_do_it_right() {
    let with = |mount: &str| GOOD.replace("  ssh:\n", &format!("  ssh:\n    volumes: [{mount}]\n"));
    let bind = |path: &str| format!("{{type: bind, source: SHOP/{path}, target: /d}}");
    let (told, ended) = check(&with(&bind("data")), &[]).await;
    assert!(ended.is_err() && told.contains("service ssh keeps data in \"./data\""), "{told}");
    let (told, ended) = check(&with(&bind("policy.txt")), &[("policy.txt", "")]).await;
    assert!(ended.is_ok(), "{told}");
    let (told, ended) = check(&with("{type: volume, target: /cache}"), &[]).await;
    assert!(
        ended.is_ok()
            && told.contains(
                "note: docker-compose.yml: service ssh has a volume without a name at /cache"
            ),
        "{told}"
    );
}

#[tokio::test]
async fn a_definition_is_a_plain_file_of_bounded_size() {
    let (told, ended) = check(GOOD, &[("service.json", &"x".repeat(70_000))]).await;
    assert!(ended.is_err() && told.contains("service.json: is larger than 64 KiB"), "{told}");
}

#[tokio::test]
async fn a_file_that_no_deployment_reads_is_told() {
    let (told, ended) = check("services: [", &[]).await;
    assert!(ended.is_err() && told.starts_with("error: "), "{told}");
    let failure = compose_file(Path::new("/nowhere")).unwrap_err();
    assert_eq!(failure.kind, ErrorKind::NotFound);
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(compose_file(dir.path()).unwrap_err().kind, ErrorKind::NotFound);
    let other = dir.path().join("stack.yml");
    std::fs::write(&other, "services: {}").unwrap();
    assert_eq!(compose_file(&other).unwrap_err().kind, ErrorKind::Usage);
}

/// The constructs of public compose files, each with what is said of it.
#[tokio::test]
async fn the_corpus_is_found_to_be_what_the_golden_files_say() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/corpus");
    let mut files: Vec<_> =
        std::fs::read_dir(&corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|end| end == "yml"));
    assert!(files.len() >= 32, "{files:?}");
    let mut wrong = Vec::new();
    for file in files {
        let (told, ended) = check(&std::fs::read_to_string(&file).unwrap(), &[]).await;
        // The folder is another one each time.
        let last = if ended.is_ok() { "accepted\n" } else { "refused\n" };
        let lines = told.lines().filter(|line| !line.ends_with("a deployment would take it"));
        let said =
            lines.map(|line| format!("{line}\n")).chain([last.to_owned()]).collect::<String>();
        let golden = file.with_extension("out");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, &said).unwrap();
        }
        if std::fs::read_to_string(&golden).ok() != Some(said.clone()) {
            wrong.push(format!("{}:\n{said}", golden.display()));
        }
    }
    assert!(wrong.is_empty(), "UPDATE_GOLDEN=1 writes them anew:\n{}", wrong.join("\n"));
}

/// A link by one of the names that Compose looks for, and files that only `.env` names.
#[test]
fn the_compose_file_is_the_one_that_a_deployment_reads() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("base.yml"), "services: {}").unwrap();
    assert_eq!(compose_file(&at("base.yml")).unwrap_err().kind, ErrorKind::Usage);
    std::fs::write(at(".env"), "A=b\nCOMPOSE_FILE=base.yml:more.yml\n").unwrap();
    let real = dir.path().canonicalize().unwrap();
    assert_eq!(compose_file(&at("base.yml")).unwrap(), real.join("base.yml"));
    assert_eq!(compose_file(dir.path()).unwrap(), real.join("base.yml"));
    assert_eq!(compose_file(&at("other.yml")).unwrap_err().kind, ErrorKind::NotFound);
    std::fs::remove_file(at(".env")).unwrap();
    std::os::unix::fs::symlink("base.yml", at("docker-compose.yml")).unwrap();
    assert_eq!(compose_file(&at("docker-compose.yml")).unwrap(), real.join("docker-compose.yml"));
    assert_eq!(compose_file(dir.path()).unwrap(), real.join("docker-compose.yml"));
}

/// A deployment's checkout has a `.env` in any case, and nothing else that git does not have.
#[tokio::test]
async fn the_files_are_those_that_a_deployment_would_have() {
    let with = |more: &str| GOOD.replace("  ssh:\n", &format!("  ssh:\n    {more}\n"));
    let (told, ended) = check(&with("env_file: [.env]"), &[]).await;
    assert!(ended.is_ok(), "{told}");
    let (told, ended) = check(&with("env_file: [app.env]"), &[]).await;
    assert!(ended.is_err() && told.contains("app.env not found"), "{told}");
    let secret = with("secrets: [{source: key}]") + "secrets: {key: {file: SHOP/key.txt}}\n";
    let (told, ended) = check(&secret, &[("key.txt", "x")]).await;
    assert!(ended.is_ok() && !told.contains("git"), "there is no repository: {told}");
    let (told, ended) = check(&secret, &[]).await;
    let missing = "error: docker-compose.yml: key.txt (the secret key) is not here";
    assert!(ended.is_err() && told.contains(missing), "{told}");
    let (told, ended) = check(&secret, &[("update.sh", "")]).await;
    assert!(ended.is_ok() && told.contains("key.txt (the secret key) is not here: update.sh"));
}

#[tokio::test]
async fn what_git_does_not_have_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let compose = GOOD.replace("  ssh:\n", "  ssh:\n    env_file: [app.env, .env, there.env]\n");
    for (name, text) in [
        ("docker-compose.yml", compose.as_str()),
        (".env", "A=b\n"),
        (".gitignore", ".env\n"),
        ("app.env", "A=b\n"),
        ("there.env", ""),
    ] {
        std::fs::write(at(name), text).unwrap();
    }
    let repository = git2::Repository::init(dir.path()).unwrap();
    let add = |names: &[&str]| {
        let mut index = repository.index().unwrap();
        names.iter().for_each(|name| index.add_path(Path::new(name)).unwrap());
        index.write().unwrap();
    };
    let said = async || {
        let args = CheckArgs {
            path: dir.path().to_owned(),
            volume_drivers: Vec::new(),
            policy: None,
            json: false,
        };
        let mut told = Vec::new();
        let compose = FakeCompose::new(Default::default());
        run(&args, &compose, &mut Printer::to(&mut told)).await.unwrap();
        let told = String::from_utf8(told).unwrap();
        let notes = told.lines().filter(|line| line.contains("not in git"));
        notes.map(|line| line.replace("note: docker-compose.yml: ", "")).collect::<Vec<_>>()
    };
    add(&["there.env"]);
    assert_eq!(
        said().await,
        [
            "app.env (an env_file of service ssh) is here and not in git: a deployment would not have it (git add app.env)",
            "docker-compose.yml (the compose file) is here and not in git: a deployment would not have it (git add docker-compose.yml)",
            ".env is here and not in git: a deployment would have none of its variables",
        ]
    );
    add(&["app.env", "docker-compose.yml"]);
    assert_eq!(said().await.len(), 1, "what is ignored is none of the repository's");
    std::fs::remove_file(at(".env")).unwrap();
    assert_eq!(said().await.len(), 0);
}
