//! An HTTP/1.1 client on a bare socket, which sees how a chunked body ends.

use std::net::SocketAddr;
use std::time::Duration;

use tidings_server::Event;
use tidings_sse::{Decoder, Item, Limits};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Nothing takes longer than this; waiting longer is pointless.
const PATIENCE: Duration = Duration::from_secs(20);

/// How a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With its last chunk.
    Clean,
    /// With the connection.
    Cut,
}

pub(crate) struct Response {
    socket: TcpStream,
    pub(crate) head: String,
    /// Bytes that were received and not yet read.
    raw: Vec<u8>,
    /// The bytes of the body so far.
    pub(crate) body: Vec<u8>,
    decoder: Decoder,
}

/// Requests a path, with additional header lines.
pub(crate) async fn get(address: SocketAddr, path: &str, headers: &str) -> Response {
    ask("GET", address, path, headers).await
}

/// Posts nothing.
#[cfg(all(feature = "axum", feature = "json"))]
pub(crate) async fn post(address: SocketAddr, path: &str) -> Response {
    ask("POST", address, path, "content-length: 0\r\n").await
}

async fn ask(method: &str, address: SocketAddr, path: &str, headers: &str) -> Response {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut response = Response {
        socket,
        head: String::new(),
        raw: Vec::new(),
        body: Vec::new(),
        decoder: Decoder::new(Limits::default()),
    };
    let end = loop {
        if let Some(end) = response.raw.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        assert!(response.read().await, "the head is whole");
    };
    response.head = String::from_utf8(response.raw.drain(..end).collect()).unwrap();
    response
}

impl Response {
    pub(crate) fn status(&self) -> &str {
        &self.head[9..12]
    }

    /// Reads more from the socket; false at its end, whatever its cause.
    async fn read(&mut self) -> bool {
        let mut buffer = [0; 64 << 10];
        let read = tokio::time::timeout(PATIENCE, self.socket.read(&mut buffer)).await;
        let read = read.expect("something comes in time").unwrap_or(0);
        self.raw.extend_from_slice(&buffer[..read]);
        read > 0
    }

    /// The next chunk's data. At the end, which end it was.
    pub(crate) async fn chunk(&mut self) -> Result<Vec<u8>, End> {
        loop {
            if let Some(line) = self.raw.windows(2).position(|two| two == b"\r\n") {
                let size = std::str::from_utf8(&self.raw[..line]).unwrap();
                let size = usize::from_str_radix(size, 16).expect("a chunk's size");
                if self.raw.len() >= line + 2 + size + 2 {
                    let data = self.raw[line + 2..line + 2 + size].to_vec();
                    self.raw.drain(..line + 2 + size + 2);
                    self.body.extend_from_slice(&data);
                    return if size == 0 { Err(End::Clean) } else { Ok(data) };
                }
            }
            if !self.read().await {
                return Err(End::Cut);
            }
        }
    }

    /// The next event.
    pub(crate) async fn event(&mut self) -> Result<Event, End> {
        loop {
            while let Some(item) = self.decoder.next() {
                if let Item::Event(event) = item {
                    return Ok(event.to_event());
                }
            }
            let chunk = self.chunk().await?;
            self.decoder.push(&chunk);
        }
    }

    /// The rest of the stream, and how it ended.
    pub(crate) async fn rest(&mut self) -> (Vec<Event>, End) {
        let mut events = Vec::new();
        loop {
            match self.event().await {
                Ok(event) => events.push(event),
                Err(end) => return (events, end),
            }
        }
    }

    /// The last event id that the client would send now.
    pub(crate) fn last_event_id(&self) -> &str {
        self.decoder.last_event_id()
    }
}
