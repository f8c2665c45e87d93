//! Reads a stream in a plain loop, without async.
//!
//! ```sh
//! cargo run -p tidings-client --example blocking
//! cargo run -p tidings-client --example blocking -- http://localhost:8081/sse
//! ```
//!
//! Without a URL it reads from a built-in server.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use tidings_client::blocking::OpenBlocking as _;
use tidings_client::{EventSource, Incoming};

fn main() -> std::io::Result<()> {
    let url = match std::env::args().nth(1) {
        Some(url) => url,
        None => serve()?,
    };
    for incoming in EventSource::get(url).open_blocking()? {
        match incoming {
            Incoming::Event(event) => println!("{}", event.data()),
            Incoming::Lost(lost) => eprintln!("{lost}; reconnecting in {:?}", lost.retry_in),
            Incoming::Closed(reason) => eprintln!("{reason}"),
            _ => {}
        }
    }
    Ok(())
}

/// A server that has three events, and then nothing more (204).
fn serve() -> std::io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}/", listener.local_addr()?);
    std::thread::spawn(move || {
        let stream = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/event-stream\r\n\r\n\
                      retry: 200\ndata: one\n\ndata: two\n\ndata: three\n\n";
        let nothing = "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
        for (socket, answer) in listener.incoming().flatten().zip([stream, nothing]) {
            let mut socket = socket;
            let _ = socket.read(&mut [0; 4096]);
            let _ = socket.write_all(answer.as_bytes());
        }
    });
    Ok(url)
}
