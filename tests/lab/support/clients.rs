//! Clients that ask again and again until they are told to end.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

const PAUSE: Duration = Duration::from_millis(20);

/// Asks, each time anew, until it is stopped.
pub(crate) struct Repeat {
    stop: Arc<AtomicBool>,
    worker: JoinHandle<(usize, Vec<String>)>,
}

impl Repeat {
    /// Starts to ask the node with that address.
    pub(crate) fn start(
        ip: &str,
        ask: impl Fn(&str) -> Result<(), String> + Send + 'static,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (flag, ip) = (stop.clone(), ip.to_owned());
        let worker = std::thread::spawn(move || {
            let (mut good, mut bad) = (0, Vec::new());
            while !flag.load(Ordering::Relaxed) {
                match ask(&ip) {
                    Ok(()) => good += 1,
                    Err(error) => bad.push(error),
                }
                std::thread::sleep(PAUSE);
            }
            (good, bad)
        });
        Self { stop, worker }
    }

    /// Ends it: how often it succeeded, and each failure.
    pub(crate) fn end(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        self.worker.join().unwrap()
    }
}

/// One request by HTTPS on a connection of its own; any certificate will do: each node has an authority of its own.
pub(crate) fn tls_status(ip: &str, host: &str) -> Result<(), String> {
    let output = Command::new("curl")
        .args(["-sSk", "-m", "15", "-o", "/dev/null", "-w", "%{http_code}"])
        .args(["--resolve", &format!("{host}:443:{ip}"), &format!("https://{host}/")])
        .output()
        .map_err(|error| error.to_string())?;
    match String::from_utf8_lossy(&output.stdout).as_ref() {
        "200" => Ok(()),
        code => Err(format!("{code} {}", String::from_utf8_lossy(&output.stderr))),
    }
}

/// Twenty requests a second by HTTPS on one connection, which is made anew only when the other side has closed it.
pub(crate) struct KeptTls(Child);

impl KeptTls {
    /// Starts; `kind` is curl's option for the version of HTTP.
    pub(crate) fn start(ip: &str, host: &str, kind: &str) -> Self {
        // What curl says has to come out before it is ended.
        let child = Command::new("stdbuf")
            .args(["-oL", "curl", "-sSk", kind, "--rate", "20/s", "-m", "15", "-o", "/dev/null"])
            .args(["-w", "%{http_code} %{num_connects} %{errormsg}\n"])
            .args(["--resolve", &format!("{host}:443:{ip}")])
            .arg(format!("https://{host}/?[1-10000]"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    /// Ends it: how many requests succeeded, by how many connections, and what the others came to.
    pub(crate) fn end(mut self) -> (usize, usize, Vec<String>) {
        let _ = self.0.kill();
        let output = self.0.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        let connects = |line: &&str| line.split(' ').nth(1).and_then(|n| n.parse::<usize>().ok());
        let connections = lines.iter().filter_map(connects).sum();
        let (good, bad): (Vec<&str>, Vec<&str>) =
            lines.into_iter().partition(|line| line.starts_with("200 "));
        (good.len(), connections, bad.into_iter().map(str::to_owned).collect())
    }
}
