//! Requests and streams over plain sockets: every byte that is sent is a test's own.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};
use tidings_sse::{Decoder, Item, Limits};

/// How long anything may take before the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A connection, and the bytes that were read from it and not yet used.
pub(crate) struct Connection {
    socket: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> Self {
        Self::of(TcpStream::connect(address).expect("the hub accepts"))
    }

    /// A connection whose kernel buffers few unread bytes.
    pub(crate) fn with_receive_buffer(address: SocketAddr, bytes: usize) -> Self {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)
            .expect("there are descriptors left");
        // Before the connection is established: the first packet announces the window's scale.
        socket.set_recv_buffer_size(bytes).expect("a size that the system allows");
        socket.connect(&address.into()).expect("the hub accepts");
        Self::of(socket.into())
    }

    fn of(socket: TcpStream) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).expect("a time that is not zero");
        socket.set_write_timeout(Some(PATIENCE)).expect("a time that is not zero");
        socket.set_nodelay(true).expect("an open socket");
        Self { socket, buffer: Vec::new() }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).expect("the hub reads");
    }

    /// Sends as much as the hub accepts; it may have disconnected already.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) {
        let _ = self.socket.write_all(bytes);
    }

    pub(crate) fn ask_for_stream(&mut self, query: &str, headers: &str) {
        self.send(
            format!(
                "GET /.well-known/mercure?{query} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n"
            )
            .as_bytes(),
        );
    }

    /// Publishes a form with these header lines, each with its line end, and returns the answer.
    pub(crate) fn post_form(&mut self, headers: &str, body: &str) -> Response {
        self.send(
            format!(
                "POST /.well-known/mercure HTTP/1.1\r\nhost: localhost\r\n{headers}\
                 content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            )
            .as_bytes(),
        );
        self.response()
    }

    /// Closes in such a way that the peer gets a reset.
    pub(crate) fn reset(self) {
        SockRef::from(&self.socket).set_linger(Some(Duration::ZERO)).expect("an open socket");
    }

    /// Closes the sending side.
    pub(crate) fn end_sending(&self) {
        self.socket.shutdown(Shutdown::Write).expect("an open socket");
    }

    /// Reads exactly `bytes.len()` bytes.
    pub(crate) fn read_exact(&mut self, bytes: &mut [u8]) {
        let buffered = self.buffer.len().min(bytes.len());
        let (first, rest) = bytes.split_at_mut(buffered);
        first.copy_from_slice(&self.buffer[..buffered]);
        self.buffer.drain(..buffered);
        self.socket.read_exact(rest).expect("the stream goes on");
    }

    /// Whether the connection is open and has no bytes to read.
    pub(crate) fn is_silent(&self) -> bool {
        self.socket.set_nonblocking(true).expect("an open socket");
        let read = self.socket.peek(&mut [0]);
        self.socket.set_nonblocking(false).expect("an open socket");
        self.buffer.is_empty() && read.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    /// Reads some bytes into the buffer. False at the end, whatever its cause.
    fn fill(&mut self) -> bool {
        let mut bytes = [0; 16 << 10];
        loop {
            match self.socket.read(&mut bytes) {
                Ok(0) => return false,
                Ok(count) => {
                    self.buffer.extend_from_slice(&bytes[..count]);
                    return true;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let read = String::from_utf8_lossy(&self.buffer);
                    panic!("nothing came for {PATIENCE:?}, after {read:?}")
                }
                Err(_) => return false,
            }
        }
    }

    /// Reads until the buffer has bytes, and returns them. Empty at the end.
    pub(crate) fn chunk(&mut self) -> Vec<u8> {
        if self.buffer.is_empty() {
            self.fill();
        }
        std::mem::take(&mut self.buffer)
    }

    /// Reads to the end.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let until = Instant::now() + PATIENCE;
        while self.fill() {
            assert!(Instant::now() < until, "the connection goes on and on");
        }
        std::mem::take(&mut self.buffer)
    }

    /// Reads a response's head. `None` if the connection ends before it does.
    pub(crate) fn head(&mut self) -> Option<Response> {
        let end = loop {
            if let Some(end) = self.buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end;
            }
            if !self.fill() {
                return None;
            }
        };
        let head: Vec<_> = self.buffer.drain(..end + 4).collect();
        let head = String::from_utf8(head).expect("a head is text");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let header = |line: &str| {
            let (name, value) = line.split_once(": ")?;
            Some((name.to_ascii_lowercase(), value.to_owned()))
        };
        let headers = head.lines().skip(1).filter_map(header).collect();
        Some(Response { status: status.expect("a status"), headers, body: Vec::new() })
    }

    /// Reads a response with its body.
    pub(crate) fn response(&mut self) -> Response {
        self.try_response().expect("the hub answers before it hangs up")
    }

    /// Reads a response with its body. `None` if the connection ends without one.
    pub(crate) fn try_response(&mut self) -> Option<Response> {
        let mut response = self.head()?;
        let chunked = response.header("transfer-encoding") == Some("chunked");
        response.body = match response.header("content-length") {
            Some(length) => {
                let length = length.parse().expect("a length");
                while self.buffer.len() < length {
                    assert!(self.fill(), "the body was cut off");
                }
                self.buffer.drain(..length).collect()
            }
            None if chunked => unframed(&self.rest()),
            None => self.rest(),
        };
        Some(response)
    }

    /// Reads a chunk of a chunked body. Empty at the end, whatever its cause.
    fn unframed_piece(&mut self) -> Vec<u8> {
        loop {
            if let Some((content, size)) = first_chunk(&self.buffer) {
                let content = content.to_vec();
                self.buffer.drain(..size);
                return content;
            }
            if !self.fill() {
                return Vec::new();
            }
        }
    }
}

/// The content of the first chunk (RFC 9112 7.1), and how many bytes it takes, once it is complete.
fn first_chunk(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let content = bytes.windows(2).position(|end| end == b"\r\n")? + 2;
    let size = std::str::from_utf8(&bytes[..content - 2]).expect("a size is ASCII");
    let size = usize::from_str_radix(size, 16).expect("a size is a number");
    let whole = bytes.get(content..content + size + 2)?;
    assert!(whole.ends_with(b"\r\n"), "a chunk ends with a line break");
    Some((&whole[..size], content + size + 2))
}

/// The content of all complete chunks.
pub(crate) fn unframed(mut bytes: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    while let Some((chunk, size)) = first_chunk(bytes) {
        content.extend_from_slice(chunk);
        bytes = &bytes[size..];
    }
    content
}

/// An answer of the hub.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(one, _)| one == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// An event stream, decoded.
pub(crate) struct Stream {
    connection: Connection,
    head: Response,
    decoder: Decoder,
    events: VecDeque<Event>,
    /// The reconnection time that is in force.
    pub(crate) retry: Option<Duration>,
}

/// An event as it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) event_type: String,
    pub(crate) id: String,
    pub(crate) data: String,
}

impl Event {
    /// A notice's content.
    pub(crate) fn notice(&self) -> serde_json::Value {
        assert_eq!(self.event_type, "tidings", "{self:?}");
        serde_json::from_str(&self.data).expect("JSON")
    }
}

impl Stream {
    /// The stream that a connection requested.
    pub(crate) fn of(mut connection: Connection) -> Self {
        let head = connection.head().expect("the hub answers");
        assert_eq!(head.status, 200, "{head:?}");
        assert_eq!(head.header("content-type"), Some("text/event-stream"));
        let decoder = Decoder::new(Limits::default());
        Self { connection, head, decoder, events: VecDeque::new(), retry: None }
    }

    /// The next event.
    pub(crate) fn event(&mut self) -> Event {
        self.next().expect("the stream goes on")
    }
}

impl Stream {
    pub(crate) fn into_connection(self) -> Connection {
        self.connection
    }

    /// The cursor headers of the response.
    pub(crate) fn cursor(&self) -> Option<&str> {
        self.head.header("last-event-id")
    }

    /// The data of the next `count` events.
    pub(crate) fn data(&mut self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.event().data).collect()
    }
}

/// The events to the end of the stream.
impl Iterator for Stream {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        while self.events.is_empty() {
            let chunked = self.head.header("transfer-encoding") == Some("chunked");
            let piece =
                if chunked { self.connection.unframed_piece() } else { self.connection.chunk() };
            if piece.is_empty() {
                return None;
            }
            self.decoder.push(&piece);
            while let Some(item) = self.decoder.next() {
                match item {
                    Item::Event(event) => self.events.push_back(Event {
                        event_type: event.event_type().to_owned(),
                        id: event.last_event_id().to_owned(),
                        data: event.data().to_owned(),
                    }),
                    Item::Retry(time) => self.retry = Some(time),
                    Item::Comment(_) | Item::NoEvent | Item::LastEventId(_) => {}
                    other => panic!("the hub sent {other:?}"),
                }
            }
        }
        self.events.pop_front()
    }
}

/// A text as a value in a query.
pub(crate) fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}
