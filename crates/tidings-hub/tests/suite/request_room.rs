//! Requests that are under way take a bounded number of bytes: in all, and from one address.

use tidings_hub::{HubBuilder, Limits};

use crate::client::{Body, Connection, HUB, Request, Seen};
use crate::server::{Lane, Server, TEST_TIME, open, runtime, value};

/// What one address may have here.
const SHARE: usize = 64 << 10;
const BYTES: &str = "tidings_request_bytes";

fn limited() -> HubBuilder {
    limited_by(|_| {})
}

fn limited_by(change: impl FnOnce(&mut Limits)) -> HubBuilder {
    let mut limits = Limits::default();
    limits.request_bytes = 4 * SHARE;
    change(&mut limits);
    open().limits(limits)
}

fn on_lanes(lanes: &[Lane], build: impl Fn() -> HubBuilder, test: impl AsyncFn(&Server)) {
    for &lane in lanes {
        println!("on the lane {lane:?}:");
        runtime().block_on(async {
            let server = Server::start(lane, build()).await;
            tokio::time::timeout(TEST_TIME, test(&server)).await.expect("the test ends in time");
            server.hub.stop().await;
        });
    }
}

/// The lanes on which a test's HTTP/1.1 reaches the hub as it is.
const HTTP_1: &[Lane] = &[
    Lane::Direct,
    #[cfg(feature = "tls")]
    Lane::Tls,
];

fn refused(bound: &str) -> String {
    format!("tidings_requests_refused_total{{bound=\"{bound}\"}}")
}

#[test]
fn unfinished_heads_of_one_address_take_its_share_and_no_more() {
    on_lanes(HTTP_1, limited, async |server| {
        let begin = async || {
            let mut connection = server.connect().await;
            let field = format!("GET / HTTP/1.1\r\nhost: localhost\r\nx: {}", "y".repeat(39 << 10));
            connection.write(field.as_bytes()).await;
            connection
        };
        let mut first = begin().await;
        server.metric_becomes(BYTES, 32_768.0).await;
        let second = begin().await;
        server.metric_becomes(BYTES, SHARE as f64).await;
        let mut third = begin().await;
        let answer = third.answer(Body::Whole).await;
        assert_eq!(answer.status(), 429);
        assert_eq!(third.rest().await, (String::new(), false));
        assert_eq!(server.metric(&refused("address")).await, 1.0);
        // A head of the usual size needs no room.
        assert_eq!(server.get("/").await.status(), 200);
        first.write(b"\r\n\r\n").await;
        assert_eq!(first.answer(Body::Whole).await.status(), 200);
        server.metric_becomes(BYTES, 32_768.0).await;
        let _fourth = begin().await;
        server.metric_becomes(BYTES, SHARE as f64).await;
        drop(second);
        server.metric_becomes(BYTES, 32_768.0).await;
    });
}

/// Begins to publish a body of this size.
async fn begin(server: &Server, method: &str, size: usize) -> (Connection, Vec<u8>) {
    let mut connection = server.connect().await;
    let body = format!("topic=a&data={}", "y".repeat(size - 13)).into_bytes();
    let head = format!(
        "{method} {HUB} HTTP/1.1\r\nhost: {}\r\ncontent-length: {size}\r\n\
         content-type: application/x-www-form-urlencoded\r\n\r\n",
        server.address
    );
    connection.write(head.as_bytes()).await;
    connection.write(&body[..100]).await;
    (connection, body[100..].to_vec())
}

#[test]
fn a_publish_waits_until_other_requests_of_its_address_return_their_room() {
    let lanes = [HTTP_1, &[Lane::Body]].concat();
    on_lanes(&lanes, limited, async |server| {
        if server.lane == Lane::Body {
            // Its clients' addresses are not known: all count for the total alone.
            let (_first, _) = begin(server, "POST", SHARE).await;
            return server.metric_becomes(BYTES, SHARE as f64).await;
        }
        let (mut first, rest) = begin(server, "POST", SHARE).await;
        server.metric_becomes(BYTES, SHARE as f64).await;
        let (mut second, rest_of_second) = begin(server, "POST", 5000).await;
        // A body counts whole, before it has come.
        assert_eq!(server.metric(BYTES).await, SHARE as f64);
        first.write(&rest).await;
        assert_eq!(first.answer(Body::Whole).await.status(), 200);
        server.metric_becomes(BYTES, 16_384.0).await;
        second.write(&rest_of_second).await;
        assert_eq!(second.answer(Body::Whole).await.status(), 200);
        server.metric_becomes(BYTES, 0.0).await;
        let (third, _) = begin(server, "POST", SHARE).await;
        server.metric_becomes(BYTES, SHARE as f64).await;
        drop(third);
        server.metric_becomes(BYTES, 0.0).await;
    });
}

#[test]
fn a_publish_and_a_query_without_room_are_told_when_to_retry() {
    on_lanes(HTTP_1, limited, async |server| {
        let (_first, _) = begin(server, "POST", SHARE).await;
        server.metric_becomes(BYTES, SHARE as f64).await;
        let (mut publish, _) = begin(server, "POST", 1000).await;
        let (query, _) = begin(server, "QUERY", 1000).await;
        let answer = publish.answer(Body::Whole).await;
        assert_eq!(answer.status(), 429);
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert!(answer.text().contains("use 65536 bytes, its limit"), "{}", answer.text());
        let mut stream = query.stream().await;
        assert_eq!(stream.head.status, 200);
        assert_eq!(stream.next().await, Seen::Comment);
        assert!(matches!(stream.next().await, Seen::Retry(_)));
        assert_eq!(server.metric(&refused("address")).await, 2.0);
        assert_eq!(server.metric(BYTES).await, SHARE as f64);
    });
}

#[test]
fn updates_count_with_the_memory_that_they_use() {
    on_lanes(HTTP_1, limited, async |server| {
        let publish = |topics: usize| {
            let topics: Vec<_> = (0..topics).map(|topic| format!("topic={topic:03}")).collect();
            Request::form(&format!("{}&data={}", topics.join("&"), "x".repeat(5000)))
        };
        assert_eq!(server.ask(publish(1000)).await.status(), 200);
        let (held, _) = begin(server, "POST", 40 << 10).await;
        server.metric_becomes(BYTES, f64::from(40 << 10)).await;
        // Its body is counted as 16 KiB, as the other's is, and there are 24 KiB left.
        let answer = server.ask(publish(1000)).await;
        assert_eq!(answer.status(), 429);
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert_eq!(server.ask(publish(1)).await.status(), 200);
        drop(held);
        server.metric_becomes(BYTES, 0.0).await;
    });
}

#[test]
fn a_body_in_pieces_of_one_byte_is_accepted() {
    on_lanes(HTTP_1, limited, async |server| {
        let mut stream = server.subscribe("topic=a").await;
        let mut connection = server.connect().await;
        let head = format!(
            "POST {HUB} HTTP/1.1\r\nhost: {}\r\ntransfer-encoding: chunked\r\n\
             content-type: application/x-www-form-urlencoded\r\n\r\n",
            server.address
        );
        // More than is taken for a body of unknown length at first.
        let data = "y".repeat(70 << 10);
        let chunks: String = format!("topic=a&data={data}")
            .chars()
            .map(|character| format!("1\r\n{character}\r\n"))
            .collect();
        connection.write(format!("{head}{chunks}0\r\n\r\n").as_bytes()).await;
        assert_eq!(connection.answer(Body::Whole).await.status(), 200);
        assert_eq!(stream.event().await.data, data);
        server.metric_becomes(BYTES, 0.0).await;
    });
}

#[test]
fn of_connections_without_a_request_the_oldest_makes_room_for_one_too_many() {
    let build = || limited_by(|limits| limits.waiting_connections = 1);
    #[cfg(feature = "tls")]
    let lanes = &[Lane::Direct, Lane::Tls, Lane::Http2][..];
    #[cfg(not(feature = "tls"))]
    let lanes = &[Lane::Direct][..];
    on_lanes(lanes, build, async |server| {
        let mut stream = server.subscribe("topic=a").await;
        // Two shards keep sixteen each.
        let mut silent = Vec::new();
        for _ in 0..200 {
            silent.push(server.connect().await);
        }
        server.tell("a", "x").await;
        assert_eq!(stream.event().await.data, "x");
        // One connection asks, which has had a request and so keeps its place. The last of them
        // may still be on their way to their shards.
        let mut operator = server.connect().await;
        let displaced = loop {
            let answer = operator.ask(&Request::get("/metrics")).await;
            let count = value(answer.text(), "tidings_connections_displaced_total");
            if count >= 200.0 - 32.0 {
                break count;
            }
            tokio::task::yield_now().await;
        };
        assert!(displaced <= 210.0, "{displaced}");
        // The newest are still there.
        let mut newest = silent.pop().expect("there are some");
        assert_eq!(newest.ask(&Request::get("/healthz")).await.status(), 200);
        drop(stream);
    });
}

#[cfg(feature = "tls")]
mod http_2 {
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll};

    use bytes::Bytes;
    use http::request::Parts;
    use hyper::Response;
    use hyper::body::{Frame, Incoming};
    use hyper::client::conn::http2::{self, SendRequest};
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use tidings_hub::{Authorize, Authorizing, Permissions, Selectors};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::{Semaphore, mpsc};

    use super::*;
    use crate::client::Answer;
    use crate::server::becomes;

    const HEADERS: u8 = 1;
    const SETTINGS: u8 = 4;
    const CONTINUATION: u8 = 9;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("a frame's length").to_be_bytes();
        let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
        [&head, payload].concat()
    }

    /// A head that is never whole: one field, which is longer than what is sent.
    fn endless_head() -> Vec<u8> {
        let mut hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        hello.extend(frame(SETTINGS, 0, 0, &[]));
        // A literal with a new name of one byte, and a value of 60,000.
        let mut block = vec![0, 1, b'x', 0x7f];
        let mut left = 60_000 - 127;
        while left >= 128 {
            block.push((left % 128) as u8 | 0x80);
            left /= 128;
        }
        block.push(left as u8);
        block.resize(16 << 10, b'y');
        hello.extend(frame(HEADERS, 0, 1, &block));
        hello.extend(frame(CONTINUATION, 0, 1, &vec![b'y'; 16 << 10]));
        hello
    }

    #[test]
    fn silent_clients_keep_no_other_from_shaking_hands() {
        // Sixteen may shake hands at a time, whatever is said.
        let build = || limited_by(|limits| limits.waiting_connections = 1);
        on_lanes(&[Lane::Tls], build, async |server| {
            let begun = std::time::Instant::now();
            let mut silent = Vec::new();
            for _ in 0..100 {
                silent.push(Connection::open(server.address).await);
            }
            assert_eq!(server.get("/healthz").await.status(), 200);
            // Later their time until the first byte would be over.
            while begun.elapsed() < std::time::Duration::from_secs(2) {
                let displaced = server.metric("tidings_connections_displaced_total").await;
                if displaced >= 84.0 {
                    break;
                }
            }
            // Each ends, whether it was displaced or its time is over.
            for mut connection in silent {
                assert_eq!(connection.rest().await.0, "");
            }
        });
    }

    #[test]
    fn unfinished_heads_take_no_more_than_the_share_of_their_address() {
        on_lanes(&[Lane::Http2], limited, async |server| {
            let mut connections = Vec::new();
            for _ in 0..2 {
                let mut stream = server.secure.connect(server.address, "h2").await;
                stream.write_all(&endless_head()).await.expect("the hub reads");
                connections.push(stream);
            }
            server.metric_becomes(BYTES, SHARE as f64).await;
            let mut third = server.secure.connect(server.address, "h2").await;
            third.write_all(&endless_head()).await.expect("the hub reads");
            // It ends, with whatever HTTP/2 says then.
            let _ = third.read_to_end(&mut Vec::new()).await;
            server.metric_becomes(&refused("address"), 1.0).await;
            assert_eq!(server.get("/healthz").await.status(), 200);
            drop(connections);
            server.metric_becomes(BYTES, 0.0).await;
        });
    }

    /// Lets each request publish, once it may answer.
    #[derive(Clone)]
    struct Slow {
        asked: Arc<AtomicUsize>,
        may_answer: Arc<Semaphore>,
    }

    impl Slow {
        fn new() -> Self {
            Self { asked: Arc::default(), may_answer: Arc::new(Semaphore::new(0)) }
        }

        async fn is_asked(&self, times: usize) {
            becomes("asked", times, async || self.asked.load(Ordering::Relaxed)).await;
        }
    }

    impl Authorize for Slow {
        fn authorize<'a>(&'a self, _: &'a Parts) -> Authorizing<'a> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            Box::pin(async {
                self.may_answer.acquire().await.expect("it is never closed").forget();
                Permissions::none().publish(Selectors::all())
            })
        }
    }

    const BODY: usize = 65_535;
    /// What a connection's bodies count as while they are not read: its window.
    const WINDOW: f64 = BODY as f64;

    /// Begins to publish on a connection of its own. The whole body fits into the window.
    async fn publish(
        server: &Server,
        fields: &[(&'static str, &str)],
    ) -> impl Future<Output = Answer> + use<> {
        let form = format!("topic=a&data={}", "y".repeat(BODY - 13));
        let mut request = Request::form(&form);
        for (name, value) in fields {
            request = request.header(name, value);
        }
        let mut connection = server.connect().await;
        let bytes = request.bytes(server.address);
        async move {
            // A refusal may come before the whole body is written.
            let _ = connection.try_write(&bytes).await;
            connection.answer(Body::Whole).await
        }
    }

    #[test]
    fn bodies_that_wait_for_their_authorization_are_counted() {
        let slow = Slow::new();
        let build = || limited().authorize(slow.clone());
        on_lanes(&[Lane::Http2], build, async |server| {
            let (first, second) = (publish(server, &[]).await, publish(server, &[]).await);
            let second = async {
                server.metric_becomes(BYTES, WINDOW).await;
                second.await
            };
            let go = async {
                slow.is_asked(2).await;
                // The second found no room, and none of it is kept.
                assert_eq!(server.metric(BYTES).await, WINDOW);
                slow.may_answer.add_permits(2);
            };
            let (first, second, ()) = tokio::join!(first, second, go);
            assert_eq!((first.status(), second.status()), (200, 429));
            assert_eq!(second.header("retry-after"), Some("1"));
            server.metric_becomes(BYTES, 0.0).await;
            assert_eq!(server.metric(&refused("address")).await, 1.0);
            slow.may_answer.add_permits(1);
            assert_eq!(publish(server, &[]).await.await.status(), 200);
        });
    }

    #[test]
    fn unverified_credentials_use_none_of_the_room_for_publishers() {
        let slow = Slow::new();
        let trust = |limits: &mut Limits| {
            limits.trusted_proxies = vec!["127.0.0.1".parse().expect("an address")];
        };
        let build = || limited_by(trust).authorize(slow.clone());
        on_lanes(&[Lane::Http2], build, async |server| {
            let mut waiting = tokio::task::JoinSet::new();
            for (number, counted) in [(1, 1), (2, 2), (3, 3), (4, 3), (5, 3)] {
                let address = format!("10.0.0.{number}");
                let fields = [("x-forwarded-for", &*address), ("authorization", "Bearer made-up")];
                waiting.spawn(publish(server, &fields).await);
                slow.is_asked(number).await;
                assert_eq!(server.metric(BYTES).await, f64::from(counted) * WINDOW, "{number}");
            }
            slow.may_answer.add_permits(5);
            let mut statuses: Vec<_> =
                waiting.join_all().await.iter().map(|answer| answer.status()).collect();
            statuses.sort_unstable();
            assert_eq!(statuses, [200, 200, 200, 503, 503]);
            server.metric_becomes(BYTES, 0.0).await;
        });
    }

    #[test]
    fn a_small_body_needs_no_room_before_its_request_is_authorized() {
        let slow = Slow::new();
        let build = || limited().authorize(slow.clone());
        on_lanes(&[Lane::Http2], build, async |server| {
            let large = tokio::spawn(publish(server, &[]).await);
            slow.is_asked(1).await;
            let mut connection = server.connect().await;
            let small = async move { connection.ask(&Request::form("topic=a&data=x")).await };
            let small = tokio::spawn(small);
            slow.is_asked(2).await;
            assert_eq!(server.metric(BYTES).await, WINDOW);
            slow.may_answer.add_permits(1);
            assert_eq!(large.await.expect("it does not panic").status(), 200);
            slow.may_answer.add_permits(1);
            assert_eq!(small.await.expect("it does not panic").status(), 200);
            server.metric_becomes(BYTES, 0.0).await;
        });
    }

    #[test]
    fn unread_bodies_of_one_connection_count_once() {
        let slow = Slow::new();
        let build = || limited_by(|limits| limits.request_bytes = 1 << 20).authorize(slow.clone());
        on_lanes(&[Lane::Http2], build, async |server| {
            let connection = http_2(server).await;
            let mut answers = Vec::new();
            for number in 1..=5 {
                let (pieces, answer) = begin_in_pieces(&connection);
                answers.push(tokio::spawn(answer));
                pieces.send("topic=a&data=x".into()).await.expect("the hub reads");
                slow.is_asked(number).await;
                assert_eq!(server.metric(BYTES).await, WINDOW, "{number}");
            }
            for answer in answers {
                slow.may_answer.add_permits(1);
                assert_eq!(answer.await.expect("it does not panic").status(), 200);
            }
            server.metric_becomes(BYTES, 0.0).await;
        });
    }

    #[test]
    fn a_refused_body_returns_its_room_with_the_answer() {
        let build = || limited().access(crate::token::access());
        on_lanes(&[Lane::Http2], build, async |server| {
            let connection = http_2(server).await;
            let (pieces, answer) = begin_in_pieces(&connection);
            pieces.send(Bytes::from(vec![b'y'; 30_000])).await.expect("the hub reads");
            // The hub resets its stream 250 ms later.
            assert_eq!(answer.await.status().as_u16(), 401);
            assert_eq!(server.metric(BYTES).await, 0.0);
            drop(pieces);
        });
    }

    #[test]
    fn a_body_that_is_refused_is_discarded_up_to_a_limit() {
        const PIECE: usize = 16 << 10;
        let build = || limited().access(crate::token::access());
        on_lanes(&[Lane::Http2], build, async |server| {
            let (pieces, answer) = begin_in_pieces(&http_2(server).await);
            assert_eq!(answer.await.status().as_u16(), 401);
            // Until the hub resets its stream.
            let mut sent = 0;
            while pieces.send(Bytes::from(vec![b'y'; PIECE])).await.is_ok() {
                sent += PIECE;
            }
            // What is discarded, what the window lets arrive after it, and what the client holds.
            assert!(sent <= 2 * WINDOW as usize + 4 * PIECE, "{sent}");
        });
    }

    /// A body whose length is not said, in the pieces that a test gives.
    struct Pieces(mpsc::Receiver<Bytes>);

    impl hyper::body::Body for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            self.0.poll_recv(context).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
        }
    }

    /// Begins to publish on this connection, and gives what sends more of the body.
    fn begin_in_pieces(
        connection: &SendRequest<Pieces>,
    ) -> (mpsc::Sender<Bytes>, impl Future<Output = Response<Incoming>> + use<>) {
        let (pieces, body) = mpsc::channel(1);
        let request = hyper::Request::post(format!("https://localhost{HUB}"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Pieces(body))
            .expect("a request");
        let mut connection = connection.clone();
        let answer = async move {
            connection.ready().await.expect("the connection lives");
            connection.send_request(request).await.expect("the hub answers")
        };
        (pieces, answer)
    }

    async fn http_2(server: &Server) -> SendRequest<Pieces> {
        let stream = server.secure.connect(server.address, "h2").await;
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (sender, connection) = handshake.await.expect("the hub speaks HTTP/2");
        tokio::spawn(connection);
        sender
    }

    #[test]
    fn bodies_that_each_hold_a_part_and_need_more_are_refused_at_once_instead_of_waiting() {
        const K: usize = 1 << 10;
        // Each holds 64 KiB of the 256 of its address, and needs all of them for more than that. No
        // body has to come in time, so nothing but the budget can end the wait.
        let build = || {
            limited_by(|limits| {
                limits.request_bytes = 1 << 20;
                limits.body_time = std::time::Duration::from_secs(3600);
            })
        };
        let first = Bytes::from(format!("topic=a&data={}", "y".repeat(20 * K)));
        let rest = Bytes::from(vec![b'y'; 30 * K]);
        on_lanes(&[Lane::Http2], build, async |server| {
            let one = http_2(server).await;
            for other in [one.clone(), http_2(server).await] {
                let begun = server.metric(&refused("address")).await;
                let mut bodies = Vec::new();
                let mut answers = Vec::new();
                for connection in [&one, &other] {
                    let (pieces, answer) = begin_in_pieces(connection);
                    answers.push(tokio::spawn(answer));
                    pieces.send(first.clone()).await.expect("the hub reads");
                    bodies.push(pieces);
                }
                server.metric_becomes(BYTES, (128 * K) as f64).await;
                for pieces in bodies {
                    let rest = rest.clone();
                    tokio::spawn(async move {
                        for _ in 0..4 {
                            // One that is refused is not read on.
                            let _ = pieces.send(rest.clone()).await;
                        }
                    });
                }
                let mut statuses = Vec::new();
                for answer in answers {
                    statuses.push(answer.await.expect("it does not panic").status().as_u16());
                }
                // The second finds what the first has given back, unless both ask at the same time.
                assert!(statuses.contains(&429), "{statuses:?}");
                assert!(statuses.iter().all(|status| [200, 429].contains(status)), "{statuses:?}");
                assert!(server.metric(&refused("address")).await > begun);
                server.metric_becomes(BYTES, 0.0).await;
                // One alone has room, on the same connection.
                let (pieces, answer) = begin_in_pieces(&one);
                let answer = tokio::spawn(answer);
                for piece in [first.clone(), rest.clone(), rest.clone(), rest.clone()] {
                    pieces.send(piece).await.expect("the hub reads");
                }
                drop(pieces);
                assert_eq!(answer.await.expect("it does not panic").status(), 200);
                server.metric_becomes(BYTES, 0.0).await;
            }
        });
    }
}
