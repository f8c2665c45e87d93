//! What the client logs with `tracing`, for programs that only await events.

use std::io::{Result, Write};
use std::sync::{Arc, Mutex};

use crate::server::{Server, eager, soon};

/// Lines of the log.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_loss_a_reconnect_and_the_end_are_logged_with_the_origin() {
    let lines = Lines::default();
    let writer = lines.clone();
    let log = tracing_subscriber::fmt().without_time().with_ansi(false);
    let log = log.with_writer(move || writer.clone()).finish();
    // While there is only one subscriber, the thread that reaches a line of the log first decides
    // whether it is ever logged. That thread may belong to another test, without a subscriber.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let _log = tracing::subscriber::set_default(log);

    let server = Server::start().await;
    let mut stream = eager(server.url("/a?token=secret")).open();
    let serve = async {
        drop(server.open().await);
        server.open().await.send("data: a\n\n").await;
        server.next().await.answer("403 Forbidden", &[], "no").await;
    };
    let read = async {
        let event = stream.next_event().await.unwrap().unwrap();
        assert_eq!(event.data(), "a");
        assert!(stream.next_event().await.is_err());
    };
    soon("the stream is closed", async { tokio::join!(serve, read) }).await;

    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let ours: Vec<_> = text.lines().filter(|line| line.contains(" tidings_client: ")).collect();
    let beginnings = [" INFO", " WARN", " INFO", " WARN", " WARN"];
    let messages = [
        "the stream is open",
        "reconnecting in",
        "the stream is open",
        "reconnecting in",
        "the stream is closed",
    ];
    assert_eq!(ours.len(), messages.len(), "{text}");
    let origin = format!("origin=\"{}\"", server.url(""));
    for (line, (beginning, message)) in ours.iter().zip(beginnings.iter().zip(messages)) {
        assert!(line.starts_with(beginning) && line.contains(message), "{line}");
        assert!(line.contains(&origin) && !line.contains("secret"), "{line}");
    }
    assert!(ours[1].contains("attempt=2") || ours[1].contains("attempt=1"), "{}", ours[1]);
}
