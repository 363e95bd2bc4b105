//! A steady load: each request begins at its time, on a connection of its own, however long those before it take.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use reqwest::header::RETRY_AFTER;
use reqwest::redirect::Policy;
use tokio::task::JoinSet;

/// Longer than a request may be held.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Asks for a host's first page at a steady rate until it is told to end.
pub(crate) struct Steady {
    started: Instant,
    stop: Arc<AtomicBool>,
    worker: JoinHandle<Vec<Asked>>,
}

/// What became of a request.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) at: Instant,
    pub(crate) took: Duration,
    /// The status, or what went wrong.
    pub(crate) status: Result<u16, String>,
    pub(crate) retry_after: bool,
}

impl Steady {
    /// Starts `rate` requests a second by `scheme` to the node with that address; any certificate will do.
    pub(crate) fn start(ip: &str, scheme: &str, host: &str, rate: u32) -> Self {
        let address = SocketAddr::new(ip.parse().unwrap(), 0);
        let client = reqwest::Client::builder()
            .use_rustls_tls()
            .danger_accept_invalid_certs(true)
            .http1_only()
            .no_proxy()
            .redirect(Policy::none())
            // None is kept: each request makes its own.
            .pool_max_idle_per_host(0)
            .resolve(host, address)
            .timeout(TIMEOUT)
            .build()
            .unwrap();
        let (url, stop) = (format!("{scheme}://{host}/"), Arc::new(AtomicBool::new(false)));
        let flag = stop.clone();
        let worker = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(drive(client, url, rate, &flag))
        });
        Self { started: Instant::now(), stop, worker }
    }

    /// Ends it when all are answered: for how many seconds it asked, and what became of each request, in the order in
    /// which they began.
    pub(crate) fn end(self) -> (usize, Vec<Asked>) {
        self.stop.store(true, Ordering::Relaxed);
        let seconds = self.started.elapsed().as_secs() as usize;
        let mut all = self.worker.join().unwrap();
        all.sort_by_key(|one| one.at);
        (seconds, all)
    }
}

async fn drive(client: reqwest::Client, url: String, rate: u32, stop: &AtomicBool) -> Vec<Asked> {
    let mut all = JoinSet::new();
    // What is late is caught up with.
    let mut due = tokio::time::interval(Duration::from_secs(1) / rate);
    while !stop.load(Ordering::Relaxed) {
        due.tick().await;
        all.spawn(ask(client.clone(), url.clone()));
    }
    all.join_all().await
}

async fn ask(client: reqwest::Client, url: String) -> Asked {
    let at = Instant::now();
    let (status, retry_after) = match whole(&client, &url).await {
        Ok((status, retry_after)) => (Ok(status), retry_after),
        // With the causes.
        Err(error) => (Err(format!("{error:?}")), false),
    };
    Asked { at, took: at.elapsed(), status, retry_after }
}

/// Status, and whether it says when to come again, of an answer that arrived whole.
async fn whole(client: &reqwest::Client, url: &str) -> Result<(u16, bool), reqwest::Error> {
    let reply = client.get(url).send().await?;
    let said = (reply.status().as_u16(), reply.headers().contains_key(RETRY_AFTER));
    reply.bytes().await?;
    Ok(said)
}
