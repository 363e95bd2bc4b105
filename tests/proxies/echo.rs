//! An app: answers 200 with the request that it got, or, where it is asked for a websocket, with what is sent there.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

/// Starts it on a port of its own, which is returned. It ends with the tests.
pub(crate) fn start() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            // A client that goes away in the middle is no concern of the tests.
            std::thread::spawn(move || answer(connection).ok());
        }
    });
    port
}

fn answer(connection: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(connection.try_clone()?);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    if head.to_lowercase().contains("\r\nupgrade: websocket\r\n") {
        let mut connection = connection;
        write!(
            connection,
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
        )?;
        return std::io::copy(&mut reader, &mut connection).map(|_| ());
    }
    let length = head.to_lowercase().lines().find_map(|line| {
        line.strip_prefix("content-length: ").and_then(|text| text.trim().parse::<u64>().ok())
    });
    let read = std::io::copy(&mut reader.take(length.unwrap_or(0)), &mut std::io::sink())?;
    let body = format!("{head}{read} bytes\n");
    let mut connection = connection;
    write!(
        connection,
        "HTTP/1.1 200 OK\r\nServer: up\r\nContent-Type: text/html\r\nX-Frame-Options: up\r\n\
         Cache-Control: up\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}
