use super::*;

fn read(pairs: &[(&str, &str)]) -> Result<ConsulClientSettings, Vec<String>> {
    from_env(&|name: &str| {
        pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    })
}

fn address(pairs: &[(&str, &str)]) -> String {
    read(pairs).unwrap().address
}

#[test]
fn an_address_may_lack_its_scheme() {
    assert_eq!(address(&[]), "http://127.0.0.1:8500");
    assert_eq!(address(&[("CONSUL_HTTP_ADDR", "")]), "http://127.0.0.1:8500");
    assert_eq!(address(&[("CONSUL_HTTP_ADDR", "10.0.0.1:80")]), "http://10.0.0.1:80");
    assert_eq!(address(&[("CONSUL_HTTP_ADDR", "https://c.example/")]), "https://c.example");
    assert_eq!(address(&[("CONSUL_HTTP_ADDR", "[::1]:8500")]), "http://[::1]:8500");
}

#[test]
fn tls_is_not_dropped() {
    for given in ["c:8501", "http://c:8501", "https://c:8501"] {
        let pairs = [("CONSUL_HTTP_SSL", "true"), ("CONSUL_HTTP_ADDR", given)];
        assert_eq!(address(&pairs), "https://c:8501");
    }
}

#[test]
fn every_problem_is_named_at_once() {
    let problems = read(&[
        ("CONSUL_HTTP_ADDR", "unix:///run/consul.sock"),
        ("CONSUL_HTTP_SSL", "yes"),
        ("CONSUL_HTTP_SSL_VERIFY", "maybe"),
        ("CONSUL_HTTP_TOKEN_FILE", "/nonexistent/token"),
        ("CONSUL_CACERT", "/nonexistent/ca.pem"),
        ("CONSUL_CAPATH", "/nonexistent/certs"),
        ("CONSUL_CLIENT_KEY", "/nonexistent/key.pem"),
        ("CONSUL_HTTP_AUTH", "a:b"),
    ])
    .unwrap_err();
    for name in [
        "CONSUL_HTTP_ADDR is a unix socket",
        "CONSUL_HTTP_SSL is neither",
        "CONSUL_HTTP_SSL_VERIFY is neither",
        "CONSUL_HTTP_TOKEN_FILE /nonexistent/token can't be read",
        "CONSUL_CACERT /nonexistent/ca.pem can't be read",
        "CONSUL_CAPATH /nonexistent/certs can't be read",
        "CONSUL_CLIENT_KEY is set and CONSUL_CLIENT_CERT is not",
        "CONSUL_HTTP_AUTH is not supported",
    ] {
        assert!(
            problems.iter().any(|problem| problem.starts_with(name)),
            "{name} is not in {problems:?}"
        );
    }
}

#[test]
fn addresses_that_the_library_would_misread_are_refused() {
    for given in
        ["ftp://c", "http://", "c:port", "c:0", "c:99999", "c/consul", "u:p@c:1", "a b", "[::g]:1"]
    {
        let problems = read(&[("CONSUL_HTTP_ADDR", given)]).unwrap_err();
        assert!(problems[0].starts_with("CONSUL_HTTP_ADDR "), "{problems:?}");
    }
}

#[test]
fn a_token_file_wins_and_a_bad_token_is_not_shown() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "from-file\n").unwrap();
    let path = file.path().to_str().unwrap();
    let pairs = [("CONSUL_HTTP_TOKEN", "direct"), ("CONSUL_HTTP_TOKEN_FILE", path)];
    assert_eq!(read(&pairs).unwrap().token.as_deref(), Some("from-file"));

    let problems = read(&[("CONSUL_HTTP_TOKEN", "se\ncret")]).unwrap_err();
    assert!(!problems.concat().contains("cret"));
}

#[test]
fn a_file_without_a_certificate_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.pem"), CERTIFICATE).unwrap();
    let path = folder.path().to_str().unwrap();
    assert_eq!(read(&[("CONSUL_CAPATH", path)]).unwrap().ca_certs.len(), 1);
    std::fs::write(folder.path().join("b.pem"), "text").unwrap();
    let problems = read(&[("CONSUL_CAPATH", path)]).unwrap_err();
    assert!(problems[0].contains("b.pem holds no certificate"));
}
