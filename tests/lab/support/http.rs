//! Requests from outside the cluster, by a small client of our own: it says exactly what went wrong on the wire.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_secs(10);

/// A response.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: String,
    pub(crate) body: String,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask<'a> {
    pub(crate) method: &'a str,
    pub(crate) host: &'a str,
    pub(crate) path: &'a str,
    /// JSON, or nothing.
    pub(crate) body: &'a str,
}

/// One request on a connection of its own.
pub(crate) fn get(ip: &str, host: &str, path: &str) -> Result<Reply, String> {
    ask(ip, 80, Ask { method: "GET", host, path, body: "" }, TIMEOUT)
}

/// As [`get`], with any method, to any port, and with a deadline for the connection and each read.
pub(crate) fn ask(ip: &str, port: u16, ask: Ask<'_>, deadline: Duration) -> Result<Reply, String> {
    let mut connection = connect(ip, port, deadline)?;
    exchange(&mut connection, ask, "close")
}

/// A whole request as it is put on the wire; it has to say `Connection: close`.
pub(crate) fn raw(ip: &str, request: &str, deadline: Duration) -> Result<Reply, String> {
    answer(&mut connect(ip, 80, deadline)?, request)
}

/// One request by HTTPS that trusts the authority in `ca` alone.
pub(crate) fn get_tls(ip: &str, host: &str, path: &str, ca: &str) -> Result<Reply, String> {
    curl_tls(ip, host, path, &["--cacert", ca])
}

/// One request by HTTPS; any certificate will do.
pub(crate) fn get_tls_of_anyone(ip: &str, host: &str, path: &str) -> Result<Reply, String> {
    curl_tls(ip, host, path, &["-k"])
}

fn curl_tls(ip: &str, host: &str, path: &str, trust: &[&str]) -> Result<Reply, String> {
    let output = Command::new("curl")
        .args(["-sS", "-i", "--http1.1", "-m", "10"])
        .args(trust)
        .args(["--resolve", &format!("{host}:443:{ip}"), &format!("https://{host}{path}")])
        .output()
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (headers, body) = text.split_once("\r\n\r\n").ok_or("no end of headers")?;
    let status = headers.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or("no status")?;
    Ok(Reply { status, headers: headers.to_owned(), body: body.to_owned() })
}

/// The first line that a tcp service says.
pub(crate) fn tcp_line(ip: &str, port: u16) -> Result<String, String> {
    let mut connection = connect(ip, port, TIMEOUT)?;
    let mut line = String::new();
    connection.read_line(&mut line).map_err(|error| error.to_string())?;
    if line.is_empty() { Err("closed without a word".to_owned()) } else { Ok(line) }
}

fn connect(ip: &str, port: u16, deadline: Duration) -> Result<BufReader<TcpStream>, String> {
    let address = format!("{ip}:{port}").parse().map_err(|error| format!("{error}"))?;
    let stream = TcpStream::connect_timeout(&address, deadline)
        .map_err(|error| format!("connect: {error}"))?;
    stream.set_read_timeout(Some(deadline)).map_err(|error| error.to_string())?;
    Ok(BufReader::new(stream))
}

fn exchange(
    connection: &mut BufReader<TcpStream>,
    ask: Ask<'_>,
    mode: &str,
) -> Result<Reply, String> {
    let Ask { method, host, path, body: content } = ask;
    let length = match content.len() {
        0 => String::new(),
        length => format!("Content-Type: application/json\r\nContent-Length: {length}\r\n"),
    };
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: {mode}\r\n{length}\r\n{content}"
    );
    answer(connection, &request)
}

fn answer(connection: &mut BufReader<TcpStream>, request: &str) -> Result<Reply, String> {
    connection
        .get_mut()
        .write_all(request.as_bytes())
        .map_err(|error| format!("write: {error}"))?;
    let mut headers = String::new();
    loop {
        let before = headers.len();
        let read = connection.read_line(&mut headers).map_err(|error| format!("read: {error}"))?;
        if read == 0 {
            return Err(if headers.is_empty() {
                IDLE.to_owned()
            } else {
                "cut in the headers".to_owned()
            });
        }
        if headers[before..].trim_end().is_empty() {
            break;
        }
    }
    let status = headers.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or("no status")?;
    let body = body(connection, &headers.to_lowercase())?;
    Ok(Reply { status, headers, body })
}

/// The server closed an idle connection before it read the request: not a failure, the client connects anew.
const IDLE: &str = "closed while idle";

fn body(connection: &mut BufReader<TcpStream>, headers: &str) -> Result<String, String> {
    let mut bytes = Vec::new();
    let length = headers.lines().find_map(|line| line.strip_prefix("content-length:"));
    if let Some(length) = length {
        bytes.resize(length.trim().parse().map_err(|_| "bad length")?, 0);
        connection.read_exact(&mut bytes).map_err(|error| format!("body: {error}"))?;
    } else if headers.contains("transfer-encoding: chunked") {
        loop {
            let mut size = String::new();
            connection.read_line(&mut size).map_err(|error| format!("chunk: {error}"))?;
            let size = usize::from_str_radix(size.trim(), 16).map_err(|_| "bad chunk")?;
            let mut chunk = vec![0; size + 2];
            connection.read_exact(&mut chunk).map_err(|error| format!("chunk: {error}"))?;
            bytes.extend(&chunk[..size]);
            if size == 0 {
                break;
            }
        }
    } else {
        connection.read_to_end(&mut bytes).map_err(|error| format!("body: {error}"))?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Keep-alive requests at a steady rate on one connection, until told to end.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    worker: JoinHandle<(usize, Vec<String>)>,
}

impl Load {
    /// Starts `rate` requests a second.
    pub(crate) fn start(ip: &str, host: &str, path: &str, rate: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (ip, host, path, flag) =
            (ip.to_owned(), host.to_owned(), path.to_owned(), stop.clone());
        let worker = std::thread::spawn(move || {
            work(&ip, &host, &path, Duration::from_secs(1) / rate, &flag)
        });
        Self { stop, worker }
    }

    /// Ends it: how many requests succeeded, and each failure with its time.
    pub(crate) fn end(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        self.worker.join().unwrap()
    }
}

fn work(
    ip: &str,
    host: &str,
    path: &str,
    pace: Duration,
    stop: &AtomicBool,
) -> (usize, Vec<String>) {
    let (mut good, mut bad) = (0, Vec::new());
    let mut connection = None;
    let started = Instant::now();
    let mut due = started;
    while !stop.load(Ordering::Relaxed) {
        match one(&mut connection, ip, host, path) {
            Ok(Reply { status: 200, .. }) => good += 1,
            Ok(reply) => bad.push(format!("{:?}: status {}", started.elapsed(), reply.status)),
            Err(error) => bad.push(format!("{:?}: {error}", started.elapsed())),
        }
        due += pace;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    (good, bad)
}

fn one(
    kept: &mut Option<BufReader<TcpStream>>,
    ip: &str,
    host: &str,
    path: &str,
) -> Result<Reply, String> {
    let ask = Ask { method: "GET", host, path, body: "" };
    if let Some(mut connection) = kept.take() {
        match exchange(&mut connection, ask, "keep-alive") {
            Err(error) if error == IDLE || error.starts_with("write:") => {}
            Ok(reply) => return keep(kept, connection, reply),
            Err(error) => return Err(error),
        }
    }
    let mut connection = connect(ip, 80, TIMEOUT)?;
    let reply = exchange(&mut connection, ask, "keep-alive")?;
    keep(kept, connection, reply)
}

fn keep(
    kept: &mut Option<BufReader<TcpStream>>,
    connection: BufReader<TcpStream>,
    reply: Reply,
) -> Result<Reply, String> {
    if !reply.headers.to_lowercase().contains("connection: close") {
        *kept = Some(connection);
    }
    Ok(reply)
}
