//! TLS and HTTP/2, as far as they are more than another way in.

use std::io::Write as _;
use std::pin::pin;
use std::process::{Command, Stdio};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http2::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tidings_hub::{HubBuilder, Limits};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::client::{Body, HUB, Seen};
use crate::server::{Lane, Server, open, runtime};

const PATIENCE: Duration = Duration::from_secs(20);

fn on_http_2(test: impl AsyncFn(&Server)) {
    runtime().block_on(async {
        let server = Server::start(Lane::Http2, open().heartbeat(Duration::from_secs(3600))).await;
        tokio::time::timeout(3 * PATIENCE, test(&server)).await.expect("the test ends in time");
        server.hub.stop().await;
    });
}

/// One HTTP/2 connection.
struct Multiplexed(SendRequest<Full<Bytes>>);

impl Multiplexed {
    async fn open(server: &Server) -> Self {
        let stream = server.secure.connect(server.address, "h2").await;
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (sender, connection) = handshake.await.expect("the hub speaks HTTP/2");
        tokio::spawn(connection);
        Self(sender)
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> Response<Incoming> {
        let request = Request::builder()
            .method(method)
            .uri(format!("https://localhost{path}"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Full::from(body.to_owned()))
            .expect("a request");
        let mut sender = self.0.clone();
        sender.ready().await.expect("the connection lives");
        let answer = tokio::time::timeout(PATIENCE, sender.send_request(request)).await;
        answer.expect("an answer comes in time").expect("the hub answers")
    }
}

/// The next piece of a stream, as it came in one frame; `None` when the stream is reset, which is
/// how the hub ends it.
async fn frame(stream: &mut Response<Incoming>) -> Option<String> {
    let frame = tokio::time::timeout(PATIENCE, stream.frame()).await.expect("it comes in time");
    let bytes = frame.expect("it never ends").ok()?.into_data().expect("data");
    Some(String::from_utf8(bytes.to_vec()).expect("text"))
}

#[test]
fn one_connection_carries_two_hundred_streams_and_answers_others_at_once() {
    on_http_2(async |server| {
        let connection = Multiplexed::open(server).await;
        let path = format!("{HUB}?topic=a");
        let mut streams = Vec::new();
        for _ in 0..200 {
            streams.push(connection.ask("GET", &path, "").await);
        }
        assert_eq!(server.hub.subscribers(), 200);
        let answer = connection.ask("POST", HUB, "topic=a&data=all").await;
        assert_eq!(answer.status(), 200);
        for stream in &mut streams {
            let mut seen = String::new();
            while !seen.contains("data: all") {
                seen += &frame(stream).await.expect("the event comes");
            }
        }
        drop(streams);
        server.streams_become(0).await;
        assert_eq!(connection.ask("GET", "/healthz", "").await.status(), 200);
    });
}

#[test]
fn bytes_of_a_stream_that_belong_together_share_a_frame_and_no_frame_is_empty() {
    on_http_2(async |server| {
        let connection = Multiplexed::open(server).await;
        let mut stream = connection.ask("GET", &format!("{HUB}?topic=a"), "").await;
        let mut frames = vec![frame(&mut stream).await.expect("it begins with a comment")];
        let line = "{\"topics\":[\"a\"],\"data\":\"x\"}\n";
        server.ask(crate::client::Request::ndjson(&line.repeat(500))).await;
        server.hub.drain(Duration::ZERO).await;
        while let Some(frame) = frame(&mut stream).await {
            frames.push(frame);
        }
        assert!(frames.iter().all(|frame| !frame.is_empty()), "{frames:?}");
        assert_eq!(frames.concat().matches("data: x").count(), 500);
        assert!(frames.len() <= 12, "500 events came in {} frames", frames.len());
    });
}

#[test]
fn a_reset_stream_is_forgotten_and_its_connection_stays_open() {
    on_http_2(async |server| {
        let connection = Multiplexed::open(server).await;
        for _ in 0..300 {
            drop(connection.ask("GET", &format!("{HUB}?topic=a"), "").await);
        }
        server.streams_become(0).await;
        let mut stream = connection.ask("GET", &format!("{HUB}?topic=a"), "").await;
        server.tell("a", "still").await;
        let mut seen = String::new();
        while !seen.contains("data: still") {
            seen += &frame(&mut stream).await.expect("the event comes");
        }
    });
}

#[test]
fn a_new_certificate_is_shown_to_new_connections_and_streams_stay_open() {
    runtime().block_on(async {
        let mut server = Server::start(Lane::Tls, open()).await;
        let mut stream = server.subscribe("topic=a").await;
        let old = server.secure.files.root.clone();
        server.secure.files.renew(2125);
        let new = server.secure.files.root.clone();
        assert_eq!(server.secure.tls.reload().expect("it is good"), tidings_hub::Reload::Changed);
        let shown = server.secure.connect(server.address, "http/1.1").await;
        let certificates = shown.get_ref().1.peer_certificates().expect("the hub shows one");
        assert_eq!(certificates[0], new);
        assert_ne!(certificates[0], old);
        server.tell("a", "after").await;
        assert_eq!(stream.event().await.data, "after");
        server.hub.stop().await;
    });
}

#[test]
fn a_connection_that_does_not_begin_tls_delays_no_other() {
    runtime().block_on(async {
        let server = Server::start(Lane::Tls, open()).await;
        let mut half_open = Vec::new();
        for _ in 0..100 {
            let mut socket = TcpStream::connect(server.address).await.expect("the hub listens");
            // The beginning of a record that never ends.
            socket.write_all(&[0x16, 3, 1, 2]).await.expect("the hub reads");
            half_open.push(socket);
        }
        let mut stream = server.subscribe("topic=a").await;
        server.tell("a", "x").await;
        assert_eq!(stream.event().await.data, "x");
        server.hub.stop().await;
    });
}

#[test]
fn a_connection_without_tls_is_closed_and_counted() {
    runtime().block_on(async {
        let server = Server::start(Lane::Tls, open()).await;
        for noise in [&b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"[..], &[0; 2000], b"\x16\x03"] {
            let mut socket = TcpStream::connect(server.address).await.expect("the hub listens");
            socket.write_all(noise).await.expect("the hub reads");
            socket.shutdown().await.expect("the socket is open");
            let mut seen = Vec::new();
            let read = socket.read_to_end(&mut seen);
            // Ended or reset, as long as it is over.
            let _ = tokio::time::timeout(PATIENCE, read).await.expect("it ends");
        }
        server.metric_becomes("tidings_tls_handshakes_failed_total", 3.0).await;
        assert_eq!(server.get("/healthz").await.status(), 200);
        server.hub.stop().await;
    });
}

#[test]
fn a_certificate_that_the_client_does_not_trust_is_its_own_affair() {
    runtime().block_on(async {
        let server = Server::start(Lane::Tls, open()).await;
        let stranger = crate::secure::Secure::new();
        let socket = TcpStream::connect(server.address).await.expect("the hub listens");
        assert!(stranger.shake(socket, "h2").await.is_err());
        assert_eq!(server.get("/healthz").await.status(), 200);
        server.hub.stop().await;
    });
}

#[test]
fn a_peer_that_resets_rapidly_loses_its_own_connection_only() {
    on_http_2(async |server| {
        let mut others = server.subscribe("topic=a").await;
        assert_eq!(others.next().await, Seen::Comment);
        let stream = server.secure.connect(server.address, "h2").await;
        let (mut read, mut write) = tokio::io::split(stream);
        let reading = tokio::spawn(async move {
            let mut seen = Vec::new();
            let _ = read.read_to_end(&mut seen).await;
            seen
        });
        let mut noise =
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00".to_vec();
        for stream in 0..5000_u32 {
            let id = (2 * stream + 1).to_be_bytes();
            // GET https://localhost/healthz, from HPACK's static table, then its RST_STREAM.
            let head = b"\x82\x87\x04\x08/healthz\x41\x09localhost";
            noise.extend_from_slice(&[0, 0, head.len() as u8, 1, 5]);
            noise.extend_from_slice(&id);
            noise.extend_from_slice(head);
            noise.extend_from_slice(&[0, 0, 4, 3, 0]);
            noise.extend_from_slice(&id);
            noise.extend_from_slice(&[0, 0, 0, 8]);
        }
        // The hub may have had enough before all of it is written.
        let _ = write.write_all(&noise).await;
        let _ = write.flush().await;
        let seen =
            tokio::time::timeout(PATIENCE, reading).await.expect("it ends").expect("no panic");
        // GOAWAY for ENHANCE_YOUR_CALM.
        let calm = seen.windows(4).any(|code| code == [0, 0, 0, 11]);
        assert!(calm, "{} bytes came, and no GOAWAY", seen.len());
        server.tell("a", "x").await;
        assert_eq!(others.event().await.data, "x");
    });
}

#[test]
fn a_head_that_is_too_large_is_refused_on_its_own() {
    on_http_2(async |server| {
        let connection = Multiplexed::open(server).await;
        let request = Request::builder()
            .uri("https://localhost/healthz")
            .header("x-bomb", "b".repeat(100_000))
            .body(Full::from(""))
            .expect("a request");
        let mut sender = connection.0.clone();
        let answer = sender.send_request(request).await;
        assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status() == 431));
        assert_eq!(server.get("/healthz").await.status(), 200);
    });
}

#[test]
fn a_body_that_is_refused_before_it_was_sent_costs_neither_the_answer_nor_the_connection() {
    on_http_2(async |server| {
        let connection = Multiplexed::open(server).await;
        let large = format!("topic=a&data={}", "x".repeat(10 << 20));
        for _ in 0..5 {
            // The stream is reset with NO_ERROR after the answer (RFC 9113 8.1); any other reason
            // would be an error here, and no answer.
            let answer = connection.ask("POST", HUB, &large).await;
            assert_eq!(answer.status(), 413);
            let body = answer.into_body().collect().await.expect("the body comes whole");
            assert!(String::from_utf8_lossy(&body.to_bytes()).contains("1048576 bytes"));
            assert_eq!(connection.ask("PUT", HUB, &large).await.status(), 405);
            assert_eq!(connection.ask("POST", "/nothing", &large).await.status(), 404);
        }
        assert_eq!(connection.ask("POST", HUB, "topic=a&data=x").await.status(), 200);
    });
}

#[test]
fn curl_reads_a_refusal_of_its_body_in_every_version_of_http() {
    runtime().block_on(async {
        let server = Server::start(Lane::Http2, open()).await;
        let body = server.secure.files.certificate.with_file_name("body");
        std::fs::write(&body, "x".repeat(10 << 20)).expect("a file can be written");
        let url = format!("https://localhost:{}{HUB}", server.address.port());
        for version in ["--http2", "--http1.1", "--http1.0"] {
            for expect in ["expect:", "expect: 100-continue"] {
                let curl = tokio::task::spawn_blocking({
                    let (url, body) = (url.clone(), body.clone());
                    move || {
                        Command::new("curl")
                            .args(["-sk", "--max-time", "20", "-w", "%{http_code}", version])
                            .args(["-H", expect, &url, "--data-binary"])
                            .arg(format!("@{}", body.display()))
                            .output()
                            .expect("curl is installed")
                    }
                });
                let output = curl.await.expect("the command is run");
                let said = String::from_utf8_lossy(&output.stdout);
                assert!(said.contains("1048576 bytes"), "{version} {expect}: {output:?}");
                assert!(said.ends_with("413"), "{version} {expect}: {output:?}");
                assert!(output.status.success(), "{version} {expect}: {output:?}");
            }
        }
        server.hub.stop().await;
    });
}

#[test]
fn a_peer_that_never_opens_its_window_delays_no_other() {
    on_http_2(async |server| {
        let stream = server.secure.connect(server.address, "h2").await;
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(1024).initial_connection_window_size(65_535);
        let (sender, connection) =
            builder.handshake(TokioIo::new(stream)).await.expect("the hub speaks HTTP/2");
        tokio::spawn(connection);
        let greedy = Multiplexed(sender);
        let path = format!("{HUB}?topic=a");
        // Never read from, so the window stays shut.
        let shut = greedy.ask("GET", &path, "").await;
        let mut open = server.subscribe("topic=a").await;
        let data = "x".repeat(10_000);
        for _ in 0..50 {
            server.tell("a", &data).await;
        }
        assert_eq!(open.data(50).await, vec![data; 50]);
        // Its connection answers all the same.
        assert_eq!(greedy.ask("GET", "/healthz", "").await.status(), 200);
        drop(shut);
        server.streams_become(1).await;
    });
}

/// One HTTP/2 frame.
fn raw(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

#[test]
fn floods_of_frames_end_their_own_connection_at_most() {
    on_http_2(async |server| {
        let mut others = server.subscribe("topic=a").await;
        let preface = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), raw(4, 0, 0, &[])].concat();
        let head = b"\x82\x87\x04\x08/healthz\x41\x09localhost";
        let floods = [
            ("pings", raw(6, 0, 0, &[0; 8]).repeat(20_000)),
            ("settings", raw(4, 0, 0, &[0, 4, 0, 1, 0, 0]).repeat(20_000)),
            // A header without an end.
            (
                "continuations",
                [raw(1, 1, 1, head), raw(9, 0, 1, &[0x40; 100]).repeat(2000)].concat(),
            ),
            // One large header in the peer's table, named again and again.
            (
                "a header bomb",
                raw(
                    1,
                    5,
                    1,
                    &[&head[..], b"\x40\x01x\x7f\x81\x1f", &[b'b'; 4096], &[0xbe; 8000]].concat(),
                ),
            ),
            ("empty data", [raw(1, 4, 1, head), raw(0, 0, 1, &[]).repeat(20_000)].concat()),
            ("window updates", raw(8, 0, 0, &[0x7f, 0xff, 0xff, 0xff]).repeat(10)),
            ("unknown frames", raw(0xfb, 0, 0, &[7; 1000]).repeat(2000)),
        ];
        for (what, flood) in floods {
            println!("a flood of {what}:");
            let mut stream = server.secure.connect(server.address, "h2").await;
            // The answers are not read, and the connection may end in the middle.
            let written = async {
                stream.write_all(&preface).await?;
                stream.write_all(&flood).await?;
                stream.flush().await
            };
            // Either it is taken, or refused, or it waits, and then for ever.
            let _ = tokio::time::timeout(Duration::from_millis(300), written).await;
            server.tell("a", what).await;
            assert_eq!(others.event().await.data, what);
        }
    });
}

fn with_limits(change: impl FnOnce(&mut Limits)) -> HubBuilder {
    let mut limits = Limits::default();
    change(&mut limits);
    open().limits(limits)
}

#[test]
fn a_connection_has_at_most_its_limit_of_streams_and_further_ones_wait() {
    runtime().block_on(async {
        let builder = with_limits(|limits| limits.streams_per_connection = 3);
        let server = Server::start(Lane::Http2, builder).await;
        let connection = Multiplexed::open(&server).await;
        let path = format!("{HUB}?topic=a");
        // The first answer comes after the connection's settings, which name the bound.
        assert_eq!(connection.ask("GET", "/healthz", "").await.status(), 200);
        let mut streams = Vec::new();
        for _ in 0..3 {
            streams.push(connection.ask("GET", &path, "").await);
        }
        let mut fourth = pin!(connection.ask("GET", &path, ""));
        // Another connection has room of its own, and time passes for the fourth meanwhile.
        let other = Multiplexed::open(&server).await;
        tokio::select! {
            _ = &mut fourth => panic!("there was room for a fourth stream"),
            answer = other.ask("POST", HUB, "topic=a&data=1") => assert_eq!(answer.status(), 200),
        }
        assert_eq!(server.hub.subscribers(), 3);
        drop(streams.pop());
        let mut fourth = fourth.await;
        other.ask("POST", HUB, "topic=a&data=2").await;
        let mut seen = String::new();
        while !seen.contains("data: 2") {
            seen += &frame(&mut fourth).await.expect("the event comes");
        }
        server.hub.stop().await;
    });
}

#[test]
fn a_peer_of_http_2_that_asks_for_nothing_loses_its_connection() {
    runtime().block_on(async {
        let builder = with_limits(|limits| limits.head_time = Duration::from_millis(300));
        let server = Server::start(Lane::Http2, builder).await;
        let mut others = server.subscribe("topic=a").await;
        let preface = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), raw(4, 0, 0, &[])].concat();
        let head = b"\x82\x87\x04\x08/healthz\x41\x09localhost";
        // A request's head that does not end: PING may not stand in between, so none is answered.
        let half_a_head = [&preface[..], &raw(1, 1, 1, head)].concat();
        for (what, bytes) in [
            ("nothing", &[][..]),
            ("half a preface", &preface[..10]),
            ("a preface", &preface),
            ("half a head", &half_a_head),
        ] {
            let mut stream = server.secure.connect(server.address, "h2").await;
            stream.write_all(bytes).await.expect("the hub reads");
            stream.flush().await.expect("the hub reads");
            let mut seen = Vec::new();
            let read = stream.read_to_end(&mut seen);
            // Ended or cut, as long as it is over.
            let ended = tokio::time::timeout(PATIENCE, read).await;
            assert!(ended.is_ok(), "{what} was enough to stay");
        }
        server.tell("a", "x").await;
        assert_eq!(others.event().await.data, "x");
        server.hub.stop().await;
    });
}

#[test]
fn an_invalid_head_is_refused_in_words_inside_tls_too() {
    runtime().block_on(async {
        let server = Server::start(Lane::Tls, open()).await;
        let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(70_000));
        for (bytes, status, words) in [
            (&b"hello\r\n\r\n"[..], 400, "not an HTTP/1 request"),
            (&[0; 100], 400, "not an HTTP/1 request"),
            (long.as_bytes(), 431, "at most 65536 bytes and 100 header fields"),
        ] {
            let mut connection = server.connect().await;
            connection.write(bytes).await;
            let answer = connection.answer(Body::Whole).await;
            assert_eq!(answer.status(), status);
            assert!(answer.text().contains(words), "{}", answer.text());
            assert!(connection.rest().await.0.is_empty(), "the connection is closed");
        }
        assert_eq!(server.get("/healthz").await.status(), 200);
        server.hub.stop().await;
    });
}

#[test]
fn noise_inside_tls_ends_its_own_connection() {
    for lane in [Lane::Tls, Lane::Http2] {
        runtime().block_on(async {
            let server = Server::start(lane, open()).await;
            let mut others = server.subscribe("topic=a").await;
            let protocol = if lane == Lane::Tls { "http/1.1" } else { "h2" };
            for noise in [
                // A record of application data that was never encrypted.
                [&[0x17, 3, 3, 0, 100][..], &[0x5a; 100]].concat(),
                // A handshake in the midst of it, as for a renegotiation, and not encrypted either.
                [&[0x16, 3, 3, 0, 100, 1, 0, 0, 96][..], &[0x5a; 96]].concat(),
                // A record that is longer than records are.
                vec![0x17, 3, 3, 0xff, 0xff, 0],
                b"not even a record".repeat(1000),
            ] {
                let stream = server.secure.connect(server.address, protocol).await;
                let (mut socket, _) = stream.into_inner();
                // The hub may have hung up in the middle of it.
                let _ = socket.write_all(&noise).await;
                let mut seen = Vec::new();
                let read = socket.read_to_end(&mut seen);
                let _ = tokio::time::timeout(PATIENCE, read).await.expect("it ends");
            }
            server.tell("a", "x").await;
            assert_eq!(others.event().await.data, "x");
            server.hub.stop().await;
        });
    }
}

/// What `openssl s_client` says that shakes hands with the hub and is told this, to the end,
/// which is the hub's to make.
async fn openssl(server: &Server, flags: &[&str], input: &'static [u8]) -> String {
    let mut client = Command::new("timeout")
        .args(["20", "openssl", "s_client", "-connect", &server.address.to_string()])
        .args(flags)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl is installed");
    let output = tokio::task::spawn_blocking(move || {
        let mut stdin = client.stdin.take().expect("it is piped");
        stdin.write_all(input).expect("it reads");
        let output = client.wait_with_output();
        drop(stdin);
        output.expect("it can be waited for")
    });
    let output = output.await.expect("no panic");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[test]
fn a_renegotiation_is_refused_and_hurts_no_other() {
    runtime().block_on(async {
        let server = Server::start(Lane::Tls, open()).await;
        let mut others = server.subscribe("topic=a").await;
        // `R` at the beginning of a line asks for one.
        let said = openssl(&server, &["-tls1_2", "-alpn", "http/1.1"], b"R\n").await;
        assert!(said.contains("RENEGOTIATING"), "{said}");
        assert!(said.contains("no renegotiation"), "{said}");
        server.tell("a", "x").await;
        assert_eq!(others.event().await.data, "x");
        server.hub.stop().await;
    });
}

#[test]
fn a_stream_reset_after_a_long_time_affects_no_other() {
    on_http_2(async |server| {
        let connection = Multiplexed::open(server).await;
        let path = format!("{HUB}?topic=a");
        let mut long = connection.ask("GET", &path, "").await;
        let mut stays = connection.ask("GET", &path, "").await;
        for number in 0..300 {
            server.tell("a", &format!("{number};")).await;
        }
        for stream in [&mut long, &mut stays] {
            let mut seen = String::new();
            while !seen.contains("data: 299;") {
                seen += &frame(stream).await.expect("the events come");
            }
        }
        // Reset while an event is under way, with more to come than its window takes.
        server.tell("a", &"x".repeat(300_000)).await;
        drop(long);
        server.streams_become(1).await;
        server.tell("a", "after").await;
        let mut seen = String::new();
        while !seen.contains("data: after") {
            seen += &frame(&mut stays).await.expect("the event comes");
        }
        assert_eq!(connection.ask("GET", "/healthz", "").await.status(), 200);
    });
}
