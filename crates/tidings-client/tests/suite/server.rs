//! A server whose every byte a test decides.

use std::cell::Cell;
use std::collections::VecDeque;
use std::time::Duration;

use tidings_client::{EventSource, Incoming, Subscription};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// How long a test waits for something that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

thread_local! {
    /// A test with a paused clock has unlimited time.
    static HAS_TIME: Cell<bool> = const { Cell::new(false) };
}

pub(crate) fn take_all_time() {
    HAS_TIME.set(true);
}

/// A result that must arrive in time.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let patience = if HAS_TIME.get() { Duration::from_secs(1 << 30) } else { PATIENCE };
    match tokio::time::timeout(patience, future).await {
        Ok(done) => done,
        Err(_) => panic!("waited in vain: {what}"),
    }
}

pub(crate) struct Server {
    listener: TcpListener,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.listener.local_addr().unwrap())
    }

    /// The next request, whole.
    pub(crate) async fn next(&self) -> Exchange {
        soon("a request", async {
            let (socket, _) = self.listener.accept().await.unwrap();
            Exchange::read(socket).await
        })
        .await
    }

    /// The next request. Its answer is a stream that ends when the exchange is dropped.
    pub(crate) async fn open(&self) -> Exchange {
        let mut exchange = self.next().await;
        exchange.head("200 OK", &["content-type: text/event-stream"]).await;
        exchange
    }

    /// Whether there is no request, after every task that could send one has run.
    pub(crate) async fn is_left_alone(&self, time: Duration) -> bool {
        tokio::time::timeout(time, self.listener.accept()).await.is_err()
    }
}

/// One request, and the socket for its answer.
pub(crate) struct Exchange {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
    pub(crate) socket: TcpStream,
}

impl Exchange {
    async fn read(mut socket: TcpStream) -> Self {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.read_u8().await.unwrap());
        }
        let lines: VecDeque<_> = head.split(|byte| *byte == b'\n').collect();
        let first = String::from_utf8(lines[0].to_vec()).unwrap();
        let mut words = first.split(' ');
        let (method, path) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
        let headers: Vec<_> = lines
            .iter()
            .skip(1)
            .filter_map(|line| {
                let colon = line.iter().position(|byte| *byte == b':')?;
                let name = String::from_utf8(line[..colon].to_ascii_lowercase()).unwrap();
                Some((name, line[colon + 1..].trim_ascii().to_vec()))
            })
            .collect();
        let mut exchange = Self { method, path, headers, body: Vec::new(), socket };
        let length = exchange.header("content-length").and_then(|text| text.parse().ok());
        exchange.body = vec![0; length.unwrap_or(0)];
        exchange.socket.read_exact(&mut exchange.body).await.unwrap();
        exchange
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let (_, value) = self.headers.iter().find(|(other, _)| other == name)?;
        Some(String::from_utf8_lossy(value).into_owned())
    }

    pub(crate) async fn head(&mut self, status: &str, headers: &[&str]) {
        let mut head = format!("HTTP/1.1 {status}\r\nconnection: close\r\n");
        for header in headers {
            head += &format!("{header}\r\n");
        }
        self.send(head + "\r\n").await;
    }

    /// The client may have disconnected already.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.socket.write_all(bytes.as_ref()).await;
        let _ = self.socket.flush().await;
    }

    /// Answers with a body, and ends.
    pub(crate) async fn answer(mut self, status: &str, headers: &[&str], body: &str) {
        self.head(status, headers).await;
        self.send(body).await;
        let _ = self.socket.shutdown().await;
    }

    /// Breaks the connection, so that it can't pass for the end of a body.
    pub(crate) fn reset(self) {
        self.socket.set_zero_linger().unwrap();
    }

    /// Waits until the client has hung up.
    pub(crate) async fn hung_up(&mut self) {
        soon("the client hangs up", async {
            let mut rest = [0; 64];
            while !matches!(self.socket.read(&mut rest).await, Ok(0) | Err(_)) {}
        })
        .await;
    }
}

/// A stream that reconnects as soon as possible, so that tests need not wait.
pub(crate) fn eager(url: impl AsRef<str>) -> EventSource {
    EventSource::get(url).reconnection_time(Duration::from_millis(1))
}

pub(crate) async fn next(stream: &mut Subscription) -> Incoming {
    soon("something comes", stream.next()).await.expect("more")
}

/// The next event, whatever precedes it.
#[track_caller]
pub(crate) fn event(
    stream: &mut Subscription,
) -> impl Future<Output = tidings_client::ReceivedEvent> {
    let caller = std::panic::Location::caller();
    async move {
        loop {
            match next(stream).await {
                Incoming::Event(event) => return event,
                Incoming::Closed(reason) => panic!("closed: {reason}, at {caller}"),
                _ => {}
            }
        }
    }
}

/// The end of the stream, whatever precedes it.
pub(crate) async fn closed(stream: &mut Subscription) -> tidings_client::CloseReason {
    loop {
        if let Incoming::Closed(reason) = next(stream).await {
            assert!(soon("the end", stream.next()).await.is_none());
            return reason;
        }
    }
}

/// The next loss, whatever precedes it.
pub(crate) async fn lost(stream: &mut Subscription) -> tidings_client::Lost {
    loop {
        match next(stream).await {
            Incoming::Lost(lost) => return lost,
            Incoming::Closed(reason) => panic!("closed: {reason}"),
            _ => {}
        }
    }
}
