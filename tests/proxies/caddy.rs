//! A real Caddy on a port of this machine.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);

/// A Caddy that ends when this is dropped.
pub(crate) struct Caddy {
    child: Child,
    port: u16,
    _home: tempfile::TempDir,
}

/// A request: `GET /path`, or `POST /path` with the number of bytes that it sends.
#[derive(Clone, Copy)]
pub(crate) struct Ask<'a> {
    pub(crate) line: &'a str,
    pub(crate) host: &'a str,
    pub(crate) headers: &'a [&'a str],
}

impl Caddy {
    /// Starts one with a golden file's text, its sites' container being the one behind `upstream`.
    pub(crate) fn start(binary: &Path, text: &str, upstream: u16) -> Self {
        let port = free_port();
        let own = format!("{{\n\thttp_port {port}\n\thttps_port {}\n", free_port());
        let mut text = text.replacen("{\n", &own, 1);
        for known in [":8080", ":80", ":81"] {
            let container = format!("http://appmain12345_web_1{known} ");
            text = text.replace(&container, &format!("http://127.0.0.1:{upstream} "));
        }
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("Caddyfile");
        fs::write(&file, text).unwrap();
        let child = Command::new(binary)
            .args(["run", "--adapter", "caddyfile", "--config"])
            .arg(&file)
            .env_clear()
            .env("HOME", home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(home.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let mut caddy = Self { child, port, _home: home };
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = caddy.child.try_wait().unwrap();
            let log = || fs::read_to_string(caddy._home.path().join("log")).unwrap_or_default();
            assert!(ended.is_none() && started.elapsed() < PATIENCE, "{}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
        caddy
    }

    /// The status and the whole answer.
    pub(crate) fn ask(&self, ask: Ask<'_>) -> (u16, String) {
        let words: Vec<_> = ask.line.split(' ').collect();
        let length: usize = words.get(2).map_or(0, |length| length.parse().unwrap());
        let mut connection = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut head = format!("{} {} HTTP/1.1\r\nHost: {}\r\n", words[0], words[1], ask.host);
        for header in ask.headers {
            head.push_str(&format!("{header}\r\n"));
        }
        head.push_str(&format!("Connection: close\r\nContent-Length: {length}\r\n\r\n"));
        connection.write_all(head.as_bytes()).unwrap();
        // An answer may come before all is sent.
        let _ = connection.write_all(&vec![b'x'; length]);
        let mut answer = Vec::new();
        let _ = connection.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        (status.unwrap_or(0), answer)
    }
}

impl Drop for Caddy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
