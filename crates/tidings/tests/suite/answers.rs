//! A server that gives one answer after another, each on a separate connection.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Duration;

/// The head of an answer that is an event stream.
pub(crate) const STREAM: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
/// An answer that ends a stream permanently.
pub(crate) const NO_CONTENT: &str = "HTTP/1.1 204 No Content\r\n\r\n";

/// A request as it was received.
pub(crate) struct Request {
    /// The head, in lower case but for its values.
    pub(crate) head: Vec<String>,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.iter().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

pub(crate) struct Answers {
    address: SocketAddr,
    requests: Receiver<Request>,
}

impl Answers {
    /// The thread ends with the last answer, or with the test's process.
    pub(crate) fn of(answers: &[String]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (sender, requests) = sync_channel(answers.len());
        let answers = answers.to_vec();
        thread::spawn(move || {
            for answer in answers {
                let (mut socket, _) = listener.accept().expect("a connection");
                let mut reader = BufReader::new(socket.try_clone().expect("descriptors"));
                let lines = reader.by_ref().lines().map_while(Result::ok);
                let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
                let mut request = Request { head, body: String::new() };
                let length = request.header("content-length").unwrap_or("0").parse().expect("it");
                reader.take(length).read_to_string(&mut request.body).expect("a body");
                let _ = sender.send(request);
                let _ = socket.write_all(answer.as_bytes());
            }
        });
        Self { address, requests }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// The next request, which must have been made.
    pub(crate) fn request(&self) -> Request {
        self.requests.recv_timeout(Duration::from_secs(60)).expect("a request")
    }

    /// How many more requests have been made.
    pub(crate) fn count(&self) -> usize {
        self.requests.try_iter().count()
    }
}
