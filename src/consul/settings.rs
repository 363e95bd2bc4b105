//! The variables of Consul's own tools.

use std::path::Path;

use consulrs::client::ConsulClientSettings;

const DEFAULT_ADDRESS: &str = "127.0.0.1:8500";
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----";

type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Reads every variable; all the problems are returned, each with its variable's name first.
pub(super) fn from_env(env: Env<'_>) -> Result<ConsulClientSettings, Vec<String>> {
    let mut reader = Reader { env, problems: Vec::new() };
    for unsupported in ["CONSUL_HTTP_AUTH", "CONSUL_TLS_SERVER_NAME"] {
        if reader.get(unsupported).is_some() {
            reader.problem(unsupported, "is not supported");
        }
    }
    let settings = ConsulClientSettings {
        address: reader.address(),
        ca_certs: reader.ca_certs(),
        client_cert: reader.pair("CONSUL_CLIENT_CERT", "CONSUL_CLIENT_KEY"),
        client_key: reader.pair("CONSUL_CLIENT_KEY", "CONSUL_CLIENT_CERT"),
        token: reader.token(),
        verify: reader.flag("CONSUL_HTTP_SSL_VERIFY", true),
        version: 1,
    };
    if reader.problems.is_empty() { Ok(settings) } else { Err(reader.problems) }
}

struct Reader<'a> {
    env: Env<'a>,
    problems: Vec<String>,
}

impl Reader<'_> {
    /// A variable's value; an empty one counts as unset, as it does for Consul.
    fn get(&self, name: &str) -> Option<String> {
        (self.env)(name).filter(|value| !value.is_empty())
    }

    fn problem(&mut self, name: &str, what: &str) {
        self.problems.push(format!("{name} {what}"));
    }

    /// The truth values of Go's `strconv.ParseBool`.
    fn flag(&mut self, name: &str, default: bool) -> bool {
        match self.get(name).as_deref() {
            None => default,
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => true,
            Some("0" | "f" | "F" | "false" | "FALSE" | "False") => false,
            Some(other) => {
                self.problem(name, &format!("is neither true nor false: {other:?}"));
                default
            }
        }
    }

    /// Scheme, host and port. TLS that was asked for by CONSUL_HTTP_SSL is never dropped for an `http://`.
    fn address(&mut self) -> String {
        const NAME: &str = "CONSUL_HTTP_ADDR";
        let ssl = self.flag("CONSUL_HTTP_SSL", false);
        let text = self.get(NAME).unwrap_or_else(|| DEFAULT_ADDRESS.to_owned());
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", &text));
        match scheme {
            "http" | "https" => {}
            "unix" => self.problem(NAME, "is a unix socket, which is not supported"),
            _ => self.problem(NAME, &format!("has an unknown scheme: {scheme:?}")),
        }
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if scheme != "unix" && !is_authority(authority) {
            self.problem(NAME, &format!("is not [SCHEME://]HOST[:PORT]: {text:?}"));
        }
        let scheme = if ssl { "https" } else { scheme };
        format!("{scheme}://{authority}")
    }

    /// The token; a token file wins over a token, as it does for Consul. It is read once.
    fn token(&mut self) -> Option<String> {
        let mut name = "CONSUL_HTTP_TOKEN";
        let mut token = self.get(name);
        if let Some(path) = self.get("CONSUL_HTTP_TOKEN_FILE") {
            match self.read("CONSUL_HTTP_TOKEN_FILE", Path::new(&path)) {
                Some(text) if !text.trim().is_empty() => {
                    name = "CONSUL_HTTP_TOKEN_FILE";
                    token = Some(text);
                }
                Some(_) | None => {}
            }
        }
        let token = token?.trim().to_owned();
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            // Not shown: it is a secret. The library would panic on it.
            self.problem(name, "has characters that no token has");
        }
        Some(token)
    }

    fn ca_certs(&mut self) -> Vec<String> {
        let mut paths = Vec::new();
        if let Some(path) = self.get("CONSUL_CACERT") {
            self.certificate("CONSUL_CACERT", Path::new(&path), &mut paths);
        }
        if let Some(folder) = self.get("CONSUL_CAPATH") {
            match std::fs::read_dir(&folder) {
                Ok(entries) => {
                    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
                    files.sort();
                    for file in files.iter().filter(|file| file.is_file()) {
                        self.certificate("CONSUL_CAPATH", file, &mut paths);
                    }
                }
                Err(error) => {
                    self.problem("CONSUL_CAPATH", &format!("{folder} can't be read: {error}"));
                }
            }
        }
        paths
    }

    fn certificate(&mut self, name: &str, path: &Path, paths: &mut Vec<String>) {
        let Some(text) = self.read(name, path) else {
            return;
        };
        match path.to_str() {
            Some(path) if text.contains(CERTIFICATE) => paths.push(path.to_owned()),
            Some(_) | None => {
                self.problem(name, &format!("{} holds no certificate", path.display()));
            }
        }
    }

    /// A file of the client's certificate or key; either without the other is a problem, named once.
    fn pair(&mut self, name: &str, other: &str) -> Option<String> {
        let path = self.get(name)?;
        if self.get(other).is_none() {
            self.problem(name, &format!("is set and {other} is not"));
        }
        self.read(name, Path::new(&path))?;
        Some(path)
    }

    fn read(&mut self, name: &str, path: &Path) -> Option<String> {
        std::fs::read_to_string(path)
            .map_err(|error| {
                self.problem(name, &format!("{} can't be read: {error}", path.display()));
            })
            .ok()
    }
}

fn is_authority(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        Some(_) | None => (text, None),
    };
    let plain = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c)),
    };
    !host.is_empty() && plain && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|n| n > 0))
}

#[cfg(test)]
mod tests;
