//! Loses its server in the middle of a stream, and resumes after the last event.
//!
//! ```sh
//! cargo run -p tidings-client --example resume
//! ```

use std::time::Duration;

use tidings_client::{EventSource, Incoming};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            // It breaks each time, also in the middle of an event.
            let _ = serve_a_little(socket).await;
        }
    });
    let mut stream = EventSource::get(format!("http://{address}/"))
        .reconnection_time(Duration::from_millis(50))
        .open();
    let mut next = 1;
    while next <= 10 {
        match stream.next().await {
            Some(Incoming::Event(event)) => {
                println!("{}", event.data());
                assert_eq!(event.data(), next.to_string(), "nothing is missing or comes twice");
                next += 1;
            }
            Some(Incoming::Lost(lost)) => println!("  {lost}; reconnecting in {:?}", lost.retry_in),
            Some(Incoming::Open(_)) => println!("  open, after {:?}", stream.last_event_id()),
            Some(_) => {}
            None => break,
        }
    }
    server.abort();
    Ok(())
}

/// Three numbers after the last event id, and half of a fourth.
async fn serve_a_little(mut socket: TcpStream) -> std::io::Result<()> {
    let mut head = vec![0; 4096];
    let length = socket.read(&mut head).await?;
    let head = String::from_utf8_lossy(&head[..length]).to_lowercase();
    let last = head.lines().find_map(|line| line.strip_prefix("last-event-id: ")?.parse().ok());
    let first = last.unwrap_or(0) + 1;
    let mut answer = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n".to_owned();
    for number in first..first + 3 {
        answer += &format!("id: {number}\ndata: {number}\n\n");
    }
    answer += &format!("id: {}\ndata: ", first + 3);
    socket.write_all(answer.as_bytes()).await
}
