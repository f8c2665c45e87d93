//! An HTTP/1 client on a bare socket, so that a test sees every byte of what the hub answers.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use tidings_sse::decode::{Decoder, Item, Limits};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Nothing takes so long here, on a busy machine either. A longer wait is in vain.
const PATIENCE: Duration = Duration::from_secs(60);

/// A request as sent over the wire.
#[derive(Clone)]
pub(crate) struct Request {
    line: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl fmt::Debug for Request {
    /// As text, and only its beginning.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.line)?;
        for (name, value) in &self.headers {
            write!(f, " | {name}: {:.100}", String::from_utf8_lossy(value))?;
        }
        write!(f, " | {:.300}", String::from_utf8_lossy(&self.body))
    }
}

impl Request {
    pub(crate) fn new(method: &str, path: &str) -> Self {
        Self { line: format!("{method} {path} HTTP/1.1"), headers: Vec::new(), body: Vec::new() }
    }

    pub(crate) fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    /// A publish in this content type.
    pub(crate) fn publish(content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::new("POST", HUB).header("content-type", content_type).body(body)
    }

    pub(crate) fn form(body: &str) -> Self {
        Self::publish("application/x-www-form-urlencoded", body)
    }

    pub(crate) fn json(body: &str) -> Self {
        Self::publish("application/json", body)
    }

    pub(crate) fn ndjson(body: &str) -> Self {
        Self::publish("application/x-ndjson", body)
    }

    pub(crate) fn over_http_1_0(mut self) -> Self {
        self.line = self.line.replace("HTTP/1.1", "HTTP/1.0");
        self
    }

    pub(crate) fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// The same request to another path.
    pub(crate) fn to(mut self, path: &str) -> Self {
        let method = self.line.split(' ').next().expect("a method");
        self.line = format!("{method} {path} HTTP/1.1");
        self
    }

    /// The value of its own header, as text.
    pub(crate) fn value(&self, name: &str) -> Option<String> {
        let (_, value) = self.headers.iter().find(|(other, _)| other == name)?;
        Some(String::from_utf8_lossy(value).into_owned())
    }

    /// The request's bytes. A `host` of its own stands in for the hub's address.
    pub(crate) fn bytes(&self, host: SocketAddr) -> Vec<u8> {
        let mut bytes = format!("{}\r\n", self.line).into_bytes();
        if !self.headers.iter().any(|(name, _)| name == "host") {
            bytes.extend_from_slice(format!("host: {host}\r\n").as_bytes());
        }
        for (name, value) in &self.headers {
            bytes.extend_from_slice(format!("{name}: ").as_bytes());
            bytes.extend_from_slice(value);
            bytes.extend_from_slice(b"\r\n");
        }
        if self.line.starts_with("POST") || self.line.starts_with("QUERY") {
            bytes.extend_from_slice(format!("content-length: {}\r\n", self.body.len()).as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// Where the hub's protocol lives.
pub(crate) const HUB: &str = "/.well-known/mercure";

/// `text` as it stands in a query or a form.
pub(crate) fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// The head of a response.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) version: String,
    pub(crate) status: u16,
    headers: Vec<(String, Vec<u8>)>,
    /// How many bytes it has.
    pub(crate) length: usize,
}

impl Head {
    fn read(bytes: &[u8]) -> Self {
        let mut lines = bytes
            .split(|byte| *byte == b'\n')
            .map(|line| line.strip_suffix(b"\r").expect("each line of a head ends with CRLF"));
        let status_line = lines.next().expect("a head has a first line");
        let status_line = std::str::from_utf8(status_line).expect("a status line is ASCII");
        let mut words = status_line.split(' ');
        let version = words.next().expect("a version").to_owned();
        let status = words.next().expect("a status").parse().expect("a status is a number");
        let headers = lines
            .take_while(|line| !line.is_empty())
            .map(|line| {
                let colon = line.iter().position(|byte| *byte == b':').expect("a header");
                let name = std::str::from_utf8(&line[..colon]).expect("a name is ASCII");
                (name.to_ascii_lowercase(), line[colon + 1..].trim_ascii().to_vec())
            })
            .collect();
        Self { version, status, headers, length: bytes.len() }
    }

    /// The value of a header that stands there once; `None` if it does not stand there.
    pub(crate) fn header_bytes(&self, name: &str) -> Option<&[u8]> {
        let mut values = self.headers.iter().filter(|(other, _)| other == name);
        let value = values.next().map(|(_, value)| value.as_slice());
        assert!(values.next().is_none(), "{name} stands there twice: {self:?}");
        value
    }

    /// See [`Head::header_bytes`].
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.header_bytes(name).map(|value| std::str::from_utf8(value).expect("plain text"))
    }

    /// The words of a header that is a list, perhaps in several lines, in lower case.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        self.headers
            .iter()
            .filter(|(other, _)| other == name)
            .flat_map(|(_, value)| value.split(|byte| *byte == b','))
            .map(|word| String::from_utf8_lossy(word).trim().to_ascii_lowercase())
            .collect()
    }
}

/// A whole response.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        self.head.status
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is text")
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }

    /// The id of an accepted form.
    pub(crate) fn id(&self) -> String {
        assert_eq!(self.status(), 200, "{}", self.text());
        self.text().to_owned()
    }
}

/// What HTTP/1 is spoken over.
pub(crate) trait Wire: AsyncRead + AsyncWrite + fmt::Debug + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + fmt::Debug + Send + Unpin> Wire for T {}

/// One connection to the hub.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: Box<dyn Wire>,
    address: SocketAddr,
    /// Read, and not yet looked at.
    read: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).await.expect("the hub listens");
        Self::over(socket, address)
    }

    pub(crate) fn over(socket: impl Wire + 'static, address: SocketAddr) -> Self {
        Self { socket: Box::new(socket), address, read: Vec::new() }
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).await.expect("the hub reads");
        self.socket.flush().await.expect("the hub reads");
    }

    pub(crate) async fn send(&mut self, request: &Request) {
        let bytes = request.bytes(self.address);
        self.write(&bytes).await;
    }

    /// Writes as much as the hub reads.
    pub(crate) async fn try_write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.socket.write_all(bytes).await
    }

    /// The head of an answer; `None` if the connection ends without one.
    pub(crate) async fn try_head(&mut self) -> Option<Head> {
        while !self.read.windows(4).any(|end| end == b"\r\n\r\n") {
            if !self.more().await {
                return None;
            }
        }
        Some(self.head().await)
    }

    pub(crate) async fn ask(&mut self, request: &Request) -> Answer {
        self.send(request).await;
        self.answer(if request.line.starts_with("HEAD") { Body::None } else { Body::Whole }).await
    }

    /// Reads more. False at the end.
    async fn more(&mut self) -> bool {
        let mut piece = [0; 16 << 10];
        let read = tokio::time::timeout(PATIENCE, self.socket.read(&mut piece)).await;
        let read = read.unwrap_or_else(|_| {
            panic!("nothing came; last was {:?}", String::from_utf8_lossy(&self.read))
        });
        // A connection that was reset has ended too.
        let read = read.unwrap_or(0);
        self.read.extend_from_slice(&piece[..read]);
        read > 0
    }

    /// Reads until these bytes have come, and takes none.
    pub(crate) async fn until(&mut self, bytes: &[u8]) {
        let reading = async {
            while !self.read.windows(bytes.len()).any(|window| window == bytes) {
                assert!(self.more().await, "the connection ended before {bytes:?}");
            }
        };
        // Heartbeats would keep it reading for ever.
        tokio::time::timeout(PATIENCE, reading).await.expect("the bytes come");
    }

    /// All that is left as text, and whether the connection was reset then.
    pub(crate) async fn rest(&mut self) -> (String, bool) {
        let read = self.socket.read_to_end(&mut self.read);
        let read = tokio::time::timeout(PATIENCE, read).await.expect("the connection ends");
        (String::from_utf8(std::mem::take(&mut self.read)).expect("text"), read.is_err())
    }

    async fn take(&mut self, count: usize) -> Vec<u8> {
        while self.read.len() < count {
            assert!(self.more().await, "the connection ended inside a response");
        }
        self.read.drain(..count).collect()
    }

    async fn take_through(&mut self, end: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = self.read.windows(end.len()).position(|window| window == end) {
                return self.take(at + end.len()).await;
            }
            assert!(self.more().await, "the connection ended inside a response");
        }
    }

    pub(crate) async fn head(&mut self) -> Head {
        Head::read(&self.take_through(b"\r\n\r\n").await)
    }

    pub(crate) async fn answer(&mut self, body: Body) -> Answer {
        let head = self.head().await;
        let mut bytes = Vec::new();
        let chunked = head.header("transfer-encoding") == Some("chunked");
        let length = head.header("content-length").map(|length| length.parse().expect("a number"));
        match (body, length) {
            (Body::None, _) | (_, Some(0)) => {}
            (Body::Whole, _) if matches!(head.status, 204 | 304) => {}
            (Body::Whole, Some(length)) => bytes = self.take(length).await,
            (Body::Whole, None) if chunked => {
                while let Piece::Chunk(chunk) = self.chunk().await {
                    bytes.extend_from_slice(&chunk);
                }
            }
            (Body::Whole, None) => {
                while self.more().await {}
                bytes = std::mem::take(&mut self.read);
            }
        }
        Answer { head, body: bytes }
    }

    /// The next chunk (RFC 9112 7.1), whole.
    async fn chunk(&mut self) -> Piece {
        let Some(size_end) = self.find(b"\r\n").await else { return Piece::Cut };
        let size = std::str::from_utf8(&self.read[..size_end]).expect("a chunk's size is ASCII");
        assert!(!size.starts_with('0') || size == "0", "{size:?}");
        let size = usize::from_str_radix(size, 16).expect("a chunk's size is a number");
        let content = size_end + 2;
        while self.read.len() < content + size + 2 {
            if !self.more().await {
                return Piece::Cut;
            }
        }
        let rest = self.read.split_off(content + size + 2);
        let mut chunk = std::mem::replace(&mut self.read, rest);
        assert!(chunk.ends_with(b"\r\n"), "a chunk ends with a line break");
        chunk.truncate(content + size);
        chunk.drain(..content);
        if size > 0 { Piece::Chunk(chunk) } else { Piece::Last }
    }

    /// Where `bytes` stand in what comes; `None` if the connection ends before.
    async fn find(&mut self, bytes: &[u8]) -> Option<usize> {
        loop {
            let found = self.read.windows(bytes.len()).position(|window| window == bytes);
            if found.is_some() {
                return found;
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// Reads a response's head, then the stream that follows it.
    pub(crate) async fn stream(mut self) -> Stream {
        let head = self.head().await;
        let chunked = head.header("transfer-encoding") == Some("chunked");
        Stream {
            head,
            connection: self,
            chunked,
            ended: None,
            pieces: 0,
            frames: 0,
            decoder: Decoder::new(Limits::default()),
            seen: VecDeque::new(),
            topics: Vec::new(),
            raw: Vec::new(),
        }
    }
}

/// What comes next of a body in chunks.
enum Piece {
    Chunk(Vec<u8>),
    /// The one without bytes: the body was whole.
    Last,
    /// The connection ended without it.
    Cut,
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// With the last chunk, from which a client can tell that it was all.
    Whole,
    /// With the connection, where the last chunk was to come.
    Cut,
    /// With the connection, which is all that ends a body without chunks.
    Closed,
}

/// Whether a body follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    Whole,
    /// None, as to HEAD.
    None,
}

/// What came on a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Event(Event),
    Comment,
    Retry(Duration),
    End,
}

/// An event as a subscriber has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) event_type: String,
    pub(crate) data: String,
    /// Its own id.
    pub(crate) id: Option<String>,
    pub(crate) retry: Option<Duration>,
    /// What the event's `topic` lines say.
    pub(crate) topics: Vec<String>,
}

impl Event {
    pub(crate) fn id(&self) -> &str {
        self.id.as_deref().expect("the event has an id")
    }

    /// A notice's data, of this kind.
    pub(crate) fn notice(&self, kind: &str) -> serde_json::Value {
        assert_eq!(self.event_type, "tidings", "{self:?} is no notice");
        let data: serde_json::Value = serde_json::from_str(&self.data).expect("JSON");
        assert_eq!(data["kind"], kind, "{self:?} is another notice");
        assert_eq!(data["v"], 1);
        data
    }
}

/// An open event stream.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) head: Head,
    connection: Connection,
    chunked: bool,
    pub(crate) ended: Option<Ended>,
    /// The chunks it came in, where it came in chunks.
    pub(crate) pieces: usize,
    /// Bytes of their sizes and line breaks.
    pub(crate) frames: usize,
    decoder: Decoder,
    seen: VecDeque<Seen>,
    topics: Vec<String>,
    /// All bytes of the stream so far.
    pub(crate) raw: Vec<u8>,
}

impl Stream {
    /// The next thing on the stream, whatever it is.
    pub(crate) async fn next(&mut self) -> Seen {
        loop {
            if let Some(seen) = self.seen.pop_front() {
                return seen;
            }
            if self.ended.is_some() {
                return Seen::End;
            }
            self.more().await;
        }
    }

    /// Reads more, or that there is no more.
    async fn more(&mut self) {
        if self.chunked {
            match self.connection.chunk().await {
                Piece::Chunk(bytes) => {
                    self.pieces += 1;
                    self.frames += format!("{:x}\r\n\r\n", bytes.len()).len();
                    self.decode(&bytes);
                }
                Piece::Last => self.ended = Some(Ended::Whole),
                Piece::Cut => self.ended = Some(Ended::Cut),
            }
        } else if self.connection.read.is_empty() && !self.connection.more().await {
            self.ended = Some(Ended::Closed);
        } else {
            let bytes = std::mem::take(&mut self.connection.read);
            self.decode(&bytes);
        }
    }

    /// The id of the first block that has one and no data, once it has come.
    pub(crate) async fn place(&mut self) -> String {
        loop {
            let text = String::from_utf8_lossy(&self.raw);
            for block in text.split_inclusive("\n\n").filter(|block| block.ends_with("\n\n")) {
                let mut lines = block.lines();
                let id = lines.find_map(|line| line.strip_prefix("id: "));
                if let Some(id) = id.filter(|_| !block.contains("data: ")) {
                    return id.to_owned();
                }
            }
            assert_eq!(self.ended, None, "no place came: {text}");
            self.more().await;
        }
    }

    fn decode(&mut self, bytes: &[u8]) {
        self.raw.extend_from_slice(bytes);
        self.decoder.push(bytes);
        while let Some(item) = self.decoder.next() {
            self.seen.push_back(match item {
                Item::Event(event) => Seen::Event(Event {
                    event_type: event.event_type().to_owned(),
                    data: event.data().to_owned(),
                    id: event.id().map(str::to_owned),
                    retry: event.retry(),
                    topics: std::mem::take(&mut self.topics),
                }),
                Item::Comment(_) => Seen::Comment,
                Item::Retry(time) => Seen::Retry(time),
                Item::Field { name: "topic", value } => {
                    self.topics.push(value.to_owned());
                    continue;
                }
                Item::NoEvent | Item::LastEventId(_) => continue,
                other => panic!("{other:?} has no place on a stream of the hub"),
            });
        }
    }

    /// The next event; comments and reconnection times are skipped.
    pub(crate) async fn event(&mut self) -> Event {
        loop {
            match self.next().await {
                Seen::Event(event) => return event,
                Seen::Comment | Seen::Retry(_) => {}
                Seen::End => panic!("the stream ended where an event was to come"),
            }
        }
    }

    /// The data of the next events.
    pub(crate) async fn data(&mut self, count: usize) -> Vec<String> {
        let mut data = Vec::new();
        for _ in 0..count {
            data.push(self.event().await.data);
        }
        data
    }

    /// The data of all events until one of this type.
    pub(crate) async fn until_type(&mut self, event_type: &str) -> Vec<String> {
        let mut data = Vec::new();
        loop {
            let event = self.event().await;
            if event.event_type == event_type {
                return data;
            }
            data.push(event.data);
        }
    }

    /// All events until the end.
    pub(crate) async fn rest(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            match self.next().await {
                Seen::Event(event) => events.push(event),
                Seen::Comment | Seen::Retry(_) => {}
                Seen::End => return events,
            }
        }
    }

    /// What both cursor headers say.
    pub(crate) fn cursor(&self) -> Option<String> {
        let deployed = self.head.header_bytes("last-event-id");
        assert_eq!(self.head.header_bytes("mercure-last-event-id"), deployed);
        deployed.map(|id| String::from_utf8(id.to_vec()).expect("ids are text"))
    }
}
