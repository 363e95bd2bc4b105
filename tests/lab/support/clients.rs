//! Clients that ask again and again until they are told to end.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

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
pub(crate) struct KeptTls {
    curl: Child,
    said: Arc<Mutex<Vec<Said>>>,
    reader: JoinHandle<()>,
}

/// What became of a request: its status, how many connections were made for it, and curl's words.
#[derive(Debug, Clone)]
#[allow(dead_code, reason = "the words are shown by Debug")]
pub(crate) struct Said {
    pub(crate) status: String,
    pub(crate) connects: usize,
    pub(crate) error: String,
    pub(crate) at: Instant,
}

impl KeptTls {
    /// Starts; `kind` is curl's option for the version of HTTP.
    pub(crate) fn start(ip: &str, host: &str, kind: &str) -> Self {
        // What curl says has to come out while it goes on.
        let mut curl = Command::new("stdbuf")
            .args(["-oL", "curl", "-sSk", kind, "--rate", "20/s", "-m", "15", "-o", "/dev/null"])
            .args(["-w", "%{http_code} %{num_connects} %{errormsg}\n"])
            .args(["--resolve", &format!("{host}:443:{ip}")])
            .arg(format!("https://{host}/?[1-10000]"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let said = Arc::new(Mutex::new(Vec::new()));
        let (output, all) = (BufReader::new(curl.stdout.take().unwrap()), said.clone());
        let reader = std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                all.lock().unwrap().push(Said::read(&line));
            }
        });
        Self { curl, said, reader }
    }

    /// What became of the requests so far.
    pub(crate) fn so_far(&self) -> Vec<Said> {
        self.said.lock().unwrap().clone()
    }

    /// Ends it: what became of each request that was answered or failed.
    pub(crate) fn end(mut self) -> Vec<Said> {
        let _ = self.curl.kill();
        self.curl.wait().unwrap();
        self.reader.join().unwrap();
        self.said.lock().unwrap().clone()
    }
}

impl Said {
    fn read(line: &str) -> Self {
        let mut words = line.splitn(3, ' ');
        let mut next = || words.next().unwrap_or_default().to_owned();
        Self {
            status: next(),
            connects: next().parse().unwrap_or_default(),
            error: next(),
            at: Instant::now(),
        }
    }
}
