//! The examples, run with the commands of their first lines.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tidings_server::Event;

use crate::client::{End, get, post};

/// A running example, ended when dropped.
struct Example {
    process: Child,
    address: SocketAddr,
}

impl Example {
    fn start(name: &str) -> Self {
        let suite = std::env::current_exe().unwrap();
        let target = suite.parent().and_then(|deps| deps.parent()).unwrap();
        let program: PathBuf = target.join("examples").join(name);
        assert!(program.is_file(), "`cargo test -p tidings-server` builds {}", program.display());
        let mut process =
            Command::new(program).arg("127.0.0.1:0").stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().split('/').nth(2).expect("it prints its URL").parse().unwrap();
        Self { process, address }
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn the_clock_ticks() {
    let example = Example::start("clock");
    let mut stream = get(example.address, "/clock", "").await;
    assert!(stream.chunk().await.unwrap().starts_with(b":\n"));
    let time = async |stream: &mut crate::client::Response| {
        let event = stream.event().await.unwrap();
        let json: serde_json::Value = serde_json::from_str(event.data()).unwrap();
        let utc = json["utc"].as_str().unwrap().to_owned();
        let parts: Vec<u8> = utc.split(':').map(|part| part.parse().unwrap()).collect();
        assert_eq!(parts.len(), 3);
        utc
    };
    let first = time(&mut stream).await;
    assert_ne!(time(&mut stream).await, first);
}

#[tokio::test]
async fn a_jobs_progress_ends_for_good() {
    let example = Example::start("progress");
    assert_eq!(post(example.address, "/job").await.status(), "200");
    let mut stream = get(example.address, "/job", "").await;
    let (events, end) = stream.rest().await;
    assert_eq!(end, End::Clean);
    assert_eq!(events.last().map(Event::data), Some(r#"{"percent":100}"#));
    assert_eq!(stream.last_event_id(), "tidings:end");
    let again = get(example.address, "/job", "last-event-id: tidings:end\r\n").await;
    assert_eq!(again.status(), "204");
}
