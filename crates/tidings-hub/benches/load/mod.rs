//! What measurements of journals have in common: a hub as it is run, who publishes to it, and who
//! reads from it.

#![allow(dead_code, unreachable_pub, reason = "each benchmark uses a part of it")]

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Topics that the updates are about, in turns.
pub const TOPICS: u64 = 1000;
pub const DATA_BYTES: usize = 256;

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// How often all together do what each of `make` does, in a second.
pub fn in_parallel<F: FnMut() + Send>(
    seconds: u64,
    count: usize,
    make: impl Fn(usize) -> F + Sync,
) -> f64 {
    let done = AtomicU64::new(0);
    let barrier = Barrier::new(count);
    let begun = thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|index| {
                let (done, barrier, make) = (&done, &barrier, &make);
                let work = move || {
                    let mut act = make(index);
                    barrier.wait();
                    let begun = Instant::now();
                    while begun.elapsed() < Duration::from_secs(seconds) {
                        act();
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                    begun
                };
                thread::Builder::new()
                    .stack_size(128 << 10)
                    .spawn_scoped(scope, work)
                    .expect("a thread")
            })
            .collect();
        threads.into_iter().map(|one| one.join().expect("it ends")).min().expect("one at least")
    });
    done.into_inner() as f64 / begun.elapsed().as_secs_f64()
}

pub fn topic(number: u64) -> String {
    format!("https://bench.test/topics/{number}")
}

/// Reads a stream until so many events have come.
pub fn replay(address: SocketAddr, from: &str, wanted: u64) {
    let mut socket = TcpStream::connect(address).expect("the hub accepts");
    write!(
        socket,
        "GET /.well-known/mercure?topic=* HTTP/1.1\r\nhost: localhost\r\nlast-event-id: {from}\r\n\r\n"
    )
    .expect("the hub reads");
    let mut bytes = vec![0; 1 << 20];
    let mut seen = 0;
    let mut tail = [0_u8; 5];
    // An event's data line begins after a line end. Two reads may cut it anywhere.
    while seen < wanted {
        let count = socket.read(&mut bytes).expect("the hub sends");
        assert!(count > 0, "the stream ended after {seen} events");
        let mut joined = tail.to_vec();
        joined.extend_from_slice(&bytes[..count]);
        seen += joined.windows(6).filter(|window| *window == b"\ndata:").count() as u64;
        tail.copy_from_slice(&joined[joined.len() - 5..]);
    }
}

// The hub, as it is run.

pub struct Hub {
    child: Child,
    pub address: SocketAddr,
}

impl Hub {
    /// A hub open to all, with these flags and lines of configuration, which stand in `config`.
    pub fn start<Flag: AsRef<OsStr>>(config: &Path, lines: &str, flags: &[Flag]) -> Self {
        let binary = std::env::var("TIDINGS").expect("TIDINGS names the release binary");
        let access = "[access]\nanonymous_publish = true\nanonymous_subscribe = true\n";
        std::fs::write(config, format!("{access}{lines}")).expect("it can be written");
        let mut child = Command::new(binary)
            .args(["serve", "--listen", "127.0.0.1:0", "--config"])
            .arg(config)
            .args(flags)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the hub starts");
        let mut lines = BufReader::new(child.stderr.take().expect("it was piped")).lines();
        let mut said = String::new();
        let address = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let _ = writeln!(said, "{line}");
            line.split("http://").nth(1)?.split('/').next()?.parse().ok()
        });
        thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Self { child, address: address.unwrap_or_else(|| panic!("no address:\n{said}")) }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has in memory of its own, in bytes.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kilobytes.unwrap_or(0) << 10
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection that is kept.
pub struct Publisher {
    socket: TcpStream,
    request: String,
    answer: Vec<u8>,
}

impl Publisher {
    pub fn connect(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).expect("the hub accepts");
        socket.set_nodelay(true).expect("an open socket");
        Self { socket, request: String::new(), answer: vec![0; 256 << 10] }
    }

    /// One update, about the topic of this number.
    pub fn publish(&mut self, number: u64) {
        let body = format!("topic={}&data={}", topic(number), "x".repeat(DATA_BYTES));
        self.exchange("application/x-www-form-urlencoded", &body);
    }

    /// A line of JSON for each update.
    pub fn publish_batch(&mut self, lines: &str) {
        self.exchange("application/x-ndjson", lines);
    }

    fn exchange(&mut self, content_type: &str, body: &str) {
        self.request.clear();
        let _ = write!(
            self.request,
            "POST /.well-known/mercure HTTP/1.1\r\nhost: localhost\r\n\
             content-type: {content_type}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.socket.write_all(self.request.as_bytes()).expect("the hub reads");
        let mut length = 0;
        loop {
            let count = self.socket.read(&mut self.answer[length..]).expect("the hub answers");
            assert!(count > 0, "the hub hung up");
            length += count;
            let answer = String::from_utf8_lossy(&self.answer[..length]);
            let Some((head, body)) = answer.split_once("\r\n\r\n") else { continue };
            assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
            let declared = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if declared.and_then(|text| text.parse().ok()) == Some(body.len()) {
                return;
            }
        }
    }
}
