//! Someone who writes a blog: posts, comments and uploads, and which of them were acknowledged.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::http::{Reply, get, raw};

const PACE: Duration = Duration::from_millis(250);
/// How long an answer is waited for.
const DEADLINE: Duration = Duration::from_secs(5);
/// `author:only-for-fixtures`.
const SIGNED: &str = "Basic YXV0aG9yOm9ubHktZm9yLWZpeHR1cmVz";
/// Every so many posts one has an upload.
const UPLOADED: u32 = 4;
/// Items that the API lists at a time.
const PAGE: usize = 100;

/// A blog behind a node.
#[derive(Debug, Clone)]
pub(crate) struct Blog {
    pub(crate) ip: String,
    pub(crate) host: String,
}

/// What the blog promised to keep, by number.
#[derive(Debug, Default, Clone)]
pub(crate) struct Kept {
    pub(crate) last: u32,
    pub(crate) posts: BTreeSet<u32>,
    pub(crate) comments: BTreeSet<u32>,
    pub(crate) uploads: BTreeSet<u32>,
}

impl Blog {
    /// Writes the next post, a comment on it, and now and then an upload before it.
    pub(crate) fn write(&self, kept: &mut Kept) -> Result<(), String> {
        kept.last += 1;
        let n = kept.last;
        if n.is_multiple_of(UPLOADED) {
            let disposition =
                format!("Content-Disposition: attachment; filename=\"upload-{n}.txt\"");
            self.create("media", &format!("text/plain\r\n{disposition}"), &text_of(n))?;
            kept.uploads.insert(n);
        }
        let content = format!("content of {n}: {}", &text_of(n)[..2000]);
        let post = serde_json::json!({"title": format!("post {n}"), "content": content, "status": "publish"});
        let post = self.create("posts", "application/json", &post.to_string())?;
        kept.posts.insert(n);
        let comment = serde_json::json!({"post": post["id"], "content": format!("comment {n}")});
        self.create("comments", "application/json", &comment.to_string())?;
        kept.comments.insert(n);
        Ok(())
    }

    /// Everything that was acknowledged and is not there, and uploads that are not what was sent.
    pub(crate) fn lost(&self, kept: &Kept) -> Vec<String> {
        let mut lost = Vec::new();
        let mut tell = |what: &str,
                        wanted: &BTreeSet<u32>,
                        there: Result<BTreeSet<u32>, String>| match there {
            Ok(there) => {
                lost.extend(wanted.difference(&there).map(|n| format!("{what} {n} is lost")))
            }
            Err(error) => lost.push(format!("{what}s: {error}")),
        };
        tell("post", &kept.posts, self.list("posts").map(|all| numbers(&all, "title", "post ")));
        let comments = self.list("comments").map(|all| numbers(&all, "content", "<p>comment "));
        tell("comment", &kept.comments, comments);
        let uploads = self.list("media").map(|all| {
            let whole = all.iter().filter(|upload| self.is_whole(upload)).cloned();
            numbers(&whole.collect::<Vec<_>>(), "title", "upload-")
        });
        tell("upload", &kept.uploads, uploads);
        lost
    }

    /// Whether an upload's file has the content that was sent.
    fn is_whole(&self, upload: &Value) -> bool {
        let number = numbers(std::slice::from_ref(upload), "title", "upload-").pop_first();
        let path = upload["source_url"].as_str().and_then(|url| url.split_once(&self.host));
        let (Some(number), Some((_, path))) = (number, path) else { return false };
        get(&self.ip, &self.host, path)
            .is_ok_and(|reply| reply.status == 200 && reply.body == text_of(number))
    }

    fn create(&self, what: &str, kind: &str, body: &str) -> Result<Value, String> {
        let reply = self.api("POST", what, &format!("Content-Type: {kind}\r\n"), body)?;
        match reply.status {
            201 => serde_json::from_str(&reply.body).map_err(|error| error.to_string()),
            status => {
                let said: String = reply.body.chars().take(200).collect();
                Err(format!("{what}: status {status}: {said}"))
            }
        }
    }

    fn list(&self, what: &str) -> Result<Vec<Value>, String> {
        let mut all = Vec::new();
        for page in 1.. {
            let reply = self.api("GET", &format!("{what}&per_page={PAGE}&page={page}"), "", "")?;
            if reply.status != 200 {
                return Err(format!("page {page}: status {}", reply.status));
            }
            let more: Vec<Value> = serde_json::from_str(&reply.body).map_err(|e| e.to_string())?;
            let is_last = more.len() < PAGE;
            all.extend(more);
            if is_last {
                break;
            }
        }
        Ok(all)
    }

    fn api(&self, method: &str, what: &str, headers: &str, body: &str) -> Result<Reply, String> {
        let (host, length) = (&self.host, body.len());
        let request = format!(
            "{method} /index.php?rest_route=/wp/v2/{what} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
             Authorization: {SIGNED}\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
        );
        raw(&self.ip, &request, DEADLINE)
    }
}

/// 40 kB of text that belongs to a number.
fn text_of(number: u32) -> String {
    let mut state = u64::from(number) + 1;
    let words = (0..2500).map(|_| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        format!("{state:016x}")
    });
    words.collect()
}

/// The numbers in the texts that begin like this.
fn numbers(items: &[Value], field: &str, begins: &str) -> BTreeSet<u32> {
    let texts = items.iter().filter_map(|item| item[field]["rendered"].as_str());
    let numbers = texts.filter_map(|text| {
        let rest = text.strip_prefix(begins)?;
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    });
    numbers.collect()
}

/// A thread that writes until it is told to end.
pub(crate) struct Author {
    stop: Arc<AtomicBool>,
    worker: JoinHandle<(Kept, Vec<String>)>,
}

impl Author {
    pub(crate) fn start(blog: Blog, kept: Kept) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = stop.clone();
        let worker = std::thread::spawn(move || write(&blog, kept, &flag));
        Self { stop, worker }
    }

    /// What was acknowledged, and what was said where it was not: changes only.
    pub(crate) fn end(self) -> (Kept, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        self.worker.join().unwrap()
    }
}

fn write(blog: &Blog, mut kept: Kept, stop: &AtomicBool) -> (Kept, Vec<String>) {
    let (started, mut story, mut said) = (Instant::now(), Vec::new(), String::new());
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        let words = blog.write(&mut kept).err().unwrap_or_else(|| "served".to_owned());
        if words != said {
            story.push(format!("{:8.3} {words}", started.elapsed().as_secs_f64()));
            said = words;
        }
        std::thread::sleep(PACE.saturating_sub(began.elapsed()));
    }
    (kept, story)
}
