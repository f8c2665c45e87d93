//! The service runs, with a hub that was built without optional features.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How long a read may take before the test fails.
const READ_TIME: Duration = Duration::from_secs(60);
const PATH: &str = "/.well-known/mercure?topic=urn:news";

/// The running service, which ends with the test.
struct Service {
    process: Child,
    address: String,
}

impl Service {
    fn start() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_embedded"));
        let mut process =
            command.arg("127.0.0.1:0").stdout(Stdio::piped()).spawn().expect("it starts");
        let mut line = String::new();
        let mut lines = BufReader::new(process.stdout.take().expect("its output is piped"));
        lines.read_line(&mut line).expect("its output is text");
        let address = line.trim().strip_prefix("http://").expect("it prints its URL").to_owned();
        Self { process, address }
    }

    fn send(&self, request: &str) -> BufReader<TcpStream> {
        let mut connection = TcpStream::connect(&self.address).expect("it listens");
        connection.set_read_timeout(Some(READ_TIME)).expect("a time-out can be set");
        connection.write_all(request.as_bytes()).expect("it reads");
        BufReader::new(connection)
    }

    /// The whole answer.
    fn ask(&self, request: &str) -> String {
        let mut answer = String::new();
        self.send(request).read_to_string(&mut answer).expect("an answer in UTF-8");
        answer
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn get(headers: &str) -> String {
    format!("GET {PATH} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n")
}

fn publish(session: &str) -> String {
    let body = "topic=urn:news&data=Hello";
    format!(
        "POST /.well-known/mercure HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         cookie: session={session}\r\ncontent-type: application/x-www-form-urlencoded\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn the_services_login_decides_what_each_request_may_do() {
    let service = Service::start();
    let refused = service.ask(&get(""));
    assert!(refused.starts_with("HTTP/1.1 403"), "{refused}");
    assert!(refused.ends_with("this request is not allowed to subscribe\n"), "{refused}");
    // The service decides, not a token.
    let refused = service.ask(&get("authorization: Bearer a.b.c\r\n"));
    assert!(refused.starts_with("HTTP/1.1 403"), "{refused}");

    let stream = service.send(&get("cookie: session=reader\r\n"));
    let mut lines = stream.lines().map(|line| line.expect("a line in UTF-8"));
    assert_eq!(lines.next().as_deref(), Some("HTTP/1.1 200 OK"));
    let refused = service.ask(&publish("reader"));
    assert!(refused.starts_with("HTTP/1.1 403"), "{refused}");
    let published = service.ask(&publish("editor"));
    assert!(published.starts_with("HTTP/1.1 200"), "{published}");
    assert!(lines.any(|line| line == "data: Hello"));
}
