//! HTTP/1.1 over a unix socket, for the two local APIs: buttervolume's and Caddy's.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// More than any reply of these APIs; a runaway server must not fill the memory.
const MAX_REPLY: usize = 64 * 1024 * 1024;

/// Why a request got no reply. A reply with an error status is a [`Reply`].
#[derive(Debug, thiserror::Error)]
pub enum UnixHttpError {
    /// Nothing listens: the request was certainly not handled.
    #[error("cannot connect to {}", socket.display())]
    Connect {
        /// The socket.
        socket: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The method, path or a header can't stand in a request.
    #[error("{path:?} makes no valid request")]
    Invalid {
        /// The path asked for.
        path: String,
        /// The cause.
        source: hyper::http::Error,
    },
    /// The connection broke or carried something else than HTTP; whether the request was handled is unknown.
    #[error("the exchange with {} about {path} broke", socket.display())]
    Broken {
        /// The socket.
        socket: PathBuf,
        /// The path asked for.
        path: String,
        /// The cause.
        source: hyper::Error,
    },
    /// The body broke off or is larger than this client takes.
    #[error("the reply of {} to {path} has no usable body", socket.display())]
    Body {
        /// The socket.
        socket: PathBuf,
        /// The path asked for.
        path: String,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No whole reply in time; whether the request was handled is unknown.
    #[error("{} gave no reply to {path} within {after:?}", socket.display())]
    TimedOut {
        /// The socket.
        socket: PathBuf,
        /// The path asked for.
        path: String,
        /// The deadline.
        after: Duration,
    },
}

impl UnixHttpError {
    /// Whether nothing was listening, so that trying again can't do anything twice.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Connect { source, .. }
            if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused))
    }

    /// Whether the body was larger than this client takes.
    pub fn is_too_large(&self) -> bool {
        matches!(self, Self::Body { source, .. } if source.is::<LengthLimitError>())
    }
}

/// What the server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The whole body.
    pub body: Vec<u8>,
}

impl Reply {
    /// The body as text, for messages.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).trim().to_owned()
    }
}

/// Sends one request on a connection of its own and reads the whole reply, all within `deadline`.
///
/// `Host` is `localhost`; `headers` come on top. Dropping the future closes the connection.
pub async fn request(
    socket: &Path,
    method: hyper::Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
    deadline: Duration,
) -> Result<Reply, UnixHttpError> {
    let mut request =
        hyper::Request::builder().method(method).uri(path).header(hyper::header::HOST, "localhost");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request
        .body(Full::new(Bytes::from(body)))
        .map_err(|source| UnixHttpError::Invalid { path: path.to_owned(), source })?;
    match timeout(deadline, exchange(socket, path, request)).await {
        Ok(reply) => reply,
        Err(_) => Err(UnixHttpError::TimedOut {
            socket: socket.to_owned(),
            path: path.to_owned(),
            after: deadline,
        }),
    }
}

async fn exchange(
    socket: &Path,
    path: &str,
    request: hyper::Request<Full<Bytes>>,
) -> Result<Reply, UnixHttpError> {
    let broken =
        |source| UnixHttpError::Broken { socket: socket.to_owned(), path: path.to_owned(), source };
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|source| UnixHttpError::Connect { socket: socket.to_owned(), source })?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    // A set, because it ends the connection's task when this future is dropped.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let reply = sender.send_request(request).await.map_err(broken)?;
    let status = reply.status().as_u16();
    let body = Limited::new(reply.into_body(), MAX_REPLY)
        .collect()
        .await
        .map_err(|source| UnixHttpError::Body {
            socket: socket.to_owned(),
            path: path.to_owned(),
            source,
        })?
        .to_bytes()
        .to_vec();
    Ok(Reply { status, body })
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Method;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixListener;

    /// Answers one connection with `reply` once the request's head and `body_end` have come; returns what was read.
    async fn serve(listener: UnixListener, reply: &'static str, body_end: &'static str) -> String {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut seen = Vec::new();
        while !String::from_utf8_lossy(&seen).ends_with(body_end) {
            let mut chunk = [0; 1024];
            let n = stream.read(&mut chunk).await.unwrap();
            assert_ne!(n, 0, "the client closed early");
            seen.extend_from_slice(&chunk[..n]);
        }
        stream.write_all(reply.as_bytes()).await.unwrap();
        String::from_utf8(seen).unwrap()
    }

    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn a_request_carries_path_headers_and_body() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("s");
        let server = tokio::spawn(serve(
            UnixListener::bind(&socket).unwrap(),
            "HTTP/1.1 503 No\r\nContent-Length: 4\r\n\r\noops",
            "{\"a\":1}",
        ));
        let headers = [("content-type", "application/json")];
        let body = b"{\"a\":1}".to_vec();
        let reply =
            request(&socket, Method::POST, "/load?x=1", &headers, body, LONG).await.unwrap();
        assert_eq!((reply.status, reply.text().as_str()), (503, "oops"));
        let seen = server.await.unwrap().to_lowercase();
        assert!(seen.starts_with("post /load?x=1 http/1.1\r\n"), "{seen}");
        assert!(seen.contains("host: localhost\r\n"), "{seen}");
        assert!(seen.contains("content-type: application/json\r\n"), "{seen}");
    }

    #[tokio::test]
    async fn a_body_that_ends_with_the_connection_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("s");
        let listener = UnixListener::bind(&socket).unwrap();
        tokio::spawn(serve(listener, "HTTP/1.0 200 OK\r\n\r\nhello", "\r\n\r\n"));
        let reply = request(&socket, Method::GET, "/", &[], Vec::new(), LONG).await.unwrap();
        assert_eq!((reply.status, reply.text().as_str()), (200, "hello"));
    }

    #[tokio::test]
    async fn an_absent_socket_is_told_from_a_broken_exchange() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("s");
        let absent = request(&socket, Method::GET, "/", &[], Vec::new(), LONG).await;
        assert!(absent.unwrap_err().is_absent());
        let listener = UnixListener::bind(&socket).unwrap();
        tokio::spawn(serve(listener, "", "\r\n\r\n"));
        let broken = request(&socket, Method::GET, "/", &[], Vec::new(), LONG).await;
        assert!(matches!(broken, Err(UnixHttpError::Broken { .. })));
        // Nobody accepts any more, the file is still there.
        let refused = request(&socket, Method::GET, "/", &[], Vec::new(), LONG).await;
        assert!(refused.unwrap_err().is_absent());
    }

    #[tokio::test]
    async fn a_silent_server_ends_at_the_deadline() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("s");
        let _listener = UnixListener::bind(&socket).unwrap();
        let short = Duration::from_millis(30);
        let silent = request(&socket, Method::GET, "/x", &[], Vec::new(), short).await;
        let message = silent.unwrap_err().to_string();
        assert!(message.ends_with("gave no reply to /x within 30ms"), "{message}");
    }

    #[tokio::test]
    async fn a_path_that_would_split_the_request_is_refused() {
        let error =
            request(Path::new("/nowhere"), Method::GET, "/a\r\nx: y", &[], vec![], LONG).await;
        assert!(matches!(error, Err(UnixHttpError::Invalid { .. })));
    }
}
