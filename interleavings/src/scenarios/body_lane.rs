//! The hand-over of a stream's bytes, between a shard's thread and the thread that drives the body.

use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use loom::future::block_on;
use loom::thread;
use tidings_core::stream::framing::chunk;

use super::production::shard::{BodySocket, StreamBody, hand_over};
use crate::Scenario;

pub(crate) const ALL: &[Scenario] = &[
    ("every_piece_arrives_in_order", 3, every_piece_arrives_in_order),
    ("a_dropped_body_wakes_the_shard", 3, a_dropped_body_wakes_the_shard),
    ("an_aborted_stream_ends_its_body", 3, an_aborted_stream_ends_its_body),
    ("a_watcher_learns_of_the_end", 3, a_watcher_learns_of_the_end),
];

const PIECES: [&str; 2] = ["data: a\n\n", "data: b\n\n"];

/// Writes a piece, and waits while the hand-over is full. False if the body was dropped.
async fn write(socket: &mut BodySocket, piece: &str) -> bool {
    let mut framed = Vec::new();
    chunk(&mut framed, |out| out.extend_from_slice(piece.as_bytes()));
    loop {
        match socket.write_bytes(&framed) {
            Ok(written) => {
                assert_eq!(written, framed.len(), "a piece is handed over as a whole");
                return true;
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                poll_fn(|context| socket.writable(context)).await;
            }
            Err(_) => return false,
        }
    }
}

async fn read(body: &mut StreamBody) -> Option<Bytes> {
    poll_fn(|context| body.poll_bytes(context)).await
}

fn every_piece_arrives_in_order() {
    let (mut socket, mut body) = hand_over(None);
    let shard = thread::spawn(move || {
        block_on(async {
            for piece in PIECES {
                assert!(write(&mut socket, piece).await, "the body is still read");
            }
        });
    });
    let mut read_all = Vec::new();
    block_on(async {
        while let Some(bytes) = read(&mut body).await {
            read_all.push(bytes);
        }
    });
    shard.join().unwrap();
    assert_eq!(read_all, PIECES);
}

fn a_dropped_body_wakes_the_shard() {
    let (mut socket, mut body) = hand_over(None);
    let shard = thread::spawn(move || {
        block_on(async { while write(&mut socket, PIECES[0]).await {} });
    });
    block_on(async {
        assert_eq!(read(&mut body).await.unwrap(), PIECES[0]);
    });
    drop(body);
    shard.join().unwrap();
}

fn an_aborted_stream_ends_its_body() {
    let (mut socket, mut body) = hand_over(None);
    let shard = thread::spawn(move || {
        block_on(async { assert!(write(&mut socket, PIECES[0]).await) });
        socket.abort_now();
    });
    let mut count = 0;
    block_on(async {
        while let Some(bytes) = read(&mut body).await {
            assert_eq!(bytes, PIECES[0]);
            count += 1;
        }
    });
    assert!(count <= 1);
    shard.join().unwrap();
}

fn a_watcher_learns_of_the_end() {
    let (mut socket, mut body) = hand_over(None);
    let driver = thread::spawn(move || {
        // It is polled once, as by a server, and then its connection breaks.
        let first: Poll<_> = body.poll_bytes(&mut Context::from_waker(Waker::noop()));
        drop((first, body));
    });
    block_on(poll_fn(|context| socket.disconnected(context)));
    assert!(!block_on(write(&mut socket, PIECES[0])));
    driver.join().unwrap();
}
