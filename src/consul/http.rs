//! The HTTP client beneath consulrs's, made here because the one that consulrs makes refuses every client certificate
//! (it reads them for one TLS library and runs on another) and sends even loopback calls through `HTTP_PROXY`.

use std::path::Path;
use std::time::Duration;

use consulrs::client::{ConsulClient, ConsulClientSettings};
use reqwest::redirect::Policy;
use reqwest::{Certificate, ClientBuilder, Identity};

/// An agent is a hop away; one that can't be connected to in this time is down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Makes the client, or says which file is wrong. Connects to nothing yet.
pub(super) fn connect(settings: ConsulClientSettings) -> Result<ConsulClient, String> {
    let mut builder = ClientBuilder::new()
        .no_proxy()
        .redirect(Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .danger_accept_invalid_certs(!settings.verify);
    for path in &settings.ca_certs {
        let name = "CONSUL_CACERT or CONSUL_CAPATH";
        let certificate = Certificate::from_pem(&read(name, path)?)
            .map_err(|error| problem(name, path, &error))?;
        builder = builder.add_root_certificate(certificate);
    }
    if let (Some(cert), Some(key)) = (&settings.client_cert, &settings.client_key) {
        builder = builder.use_rustls_tls().identity(identity(cert, key)?);
    }
    let client = builder
        .build()
        .map_err(|error| problem("CONSUL_CACERT", &settings.ca_certs.join(", "), &error))?;
    Ok(ConsulClient { http: rustify::Client::new(&settings.address, client), settings })
}

/// A certificate and its key. Consul's own tool writes keys in a form that only rustls reads as PEM.
fn identity(cert: &str, key: &str) -> Result<Identity, String> {
    let mut pem = read("CONSUL_CLIENT_CERT", cert)?;
    pem.push(b'\n');
    pem.extend(read("CONSUL_CLIENT_KEY", key)?);
    Identity::from_pem(&pem).map_err(|error| problem("CONSUL_CLIENT_CERT", cert, &error))
}

fn read(name: &str, path: &str) -> Result<Vec<u8>, String> {
    std::fs::read(Path::new(path)).map_err(|error| problem(name, path, &error))
}

fn problem(name: &str, path: &str, error: &dyn std::error::Error) -> String {
    let mut text = format!("{name}: {path}: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> ConsulClientSettings {
        ConsulClientSettings {
            address: "https://127.0.0.1:8501".into(),
            ca_certs: vec![],
            client_cert: None,
            client_key: None,
            token: None,
            verify: true,
            version: 1,
        }
    }

    #[test]
    fn a_client_needs_no_connection() {
        assert!(connect(settings()).is_ok());
    }

    #[test]
    fn a_file_that_is_no_key_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap().to_owned();
        let wrong = ConsulClientSettings {
            client_cert: Some(path.clone()),
            client_key: Some(path.clone()),
            ..settings()
        };
        let problem = connect(wrong).err().unwrap();
        assert!(problem.starts_with(&format!("CONSUL_CLIENT_CERT: {path}: ")));
    }
}
