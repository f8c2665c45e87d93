//! Requests and answers on one HTTP/1 connection: which answers come, in which order, and that
//! none is lost at the connection's end.

use std::fmt::Write as _;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::any;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::client::{Body, Connection, HUB};
use crate::server::{Lane, Server, open, runtime};
use tidings_hub::{Access, HubBuilder};

/// More than any socket's buffers hold.
const LARGE: usize = 10 << 20;

/// The lanes on which the hub reads the requests itself.
const LANES: &[Lane] = &[
    Lane::Direct,
    #[cfg(feature = "tls")]
    Lane::Tls,
];

/// Runs a test against hubs in front of a service whose answers look like those that hyper makes
/// by itself.
fn on_own_lanes(build: impl Fn() -> HubBuilder, test: impl AsyncFn(&Server)) {
    for &lane in LANES {
        println!("on the lane {lane:?}:");
        runtime().block_on(async {
            let service = Router::new()
                .route("/400", any(|| async { StatusCode::BAD_REQUEST }))
                .route("/414", any(|| async { StatusCode::URI_TOO_LONG }))
                .route("/431", any(|| async { StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE }))
                .route("/204", any(|| async { StatusCode::NO_CONTENT }))
                .route("/whole", any(|| async { "whole" }))
                .route("/large", any(|| async { "x".repeat(LARGE) }));
            let server = Server::start_before(lane, build(), service).await;
            let test = tokio::time::timeout(crate::server::TEST_TIME, test(&server));
            test.await.expect("the test ends in time");
            server.hub.stop().await;
        });
    }
}

#[test]
fn a_client_that_has_ended_its_side_is_answered_however_late() {
    runtime().block_on(async {
        let (asked, mut was_asked) = tokio::sync::mpsc::channel(1);
        let release = std::sync::Arc::new(tokio::sync::Notify::new());
        let released = std::sync::Arc::clone(&release);
        let late = any(move || {
            let (asked, released) = (asked.clone(), std::sync::Arc::clone(&released));
            async move {
                let released = released.notified();
                asked.send(()).await.expect("the test waits");
                released.await;
                "late"
            }
        });
        let service = Router::new().route("/late", late);
        let server = Server::start_before(Lane::Direct, open().shards(1), service).await;
        let mut socket = tokio::net::TcpStream::connect(server.address).await.expect("a hub");
        let request = b"GET /late HTTP/1.1\r\nhost: localhost\r\n\r\n";
        socket.write_all(request).await.expect("the hub reads");
        was_asked.recv().await.expect("the request comes");
        socket.shutdown().await.expect("this side ends");
        // The shard has seen the end by the time that it has answered all of these.
        for _ in 0..50 {
            assert_eq!(server.get("/healthz").await.status(), 200);
        }
        release.notify_one();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("late"), "{answer}");
        server.hub.stop().await;
    });
}

/// What is expected of one answer.
#[derive(Clone, Copy, Debug)]
enum Answer {
    /// This status and a body with these words; none at all for `""`.
    Of(u16, &'static str),
    /// This status, and no body whatever the head says.
    Headless(u16),
}
use Answer::{Headless, Of};

/// As much of a text as a failure shows.
fn beginning(text: &str) -> String {
    text.chars().take(200).collect()
}

/// Reads these answers.
async fn read(connection: &mut Connection, answers: &[Answer], to: &str) {
    let shown = beginning(to);
    for (nth, &expected) in answers.iter().enumerate() {
        let (status, words, body) = match expected {
            Of(status, words) => (status, words, Body::Whole),
            Headless(status) => (status, "", Body::None),
        };
        let answer = connection.answer(body).await;
        assert_eq!(answer.status(), status, "answer {nth} to {shown:?}: {}", answer.text());
        assert_eq!(answer.text().is_empty(), words.is_empty(), "{nth}, {shown:?}");
        assert!(answer.text().contains(words), "{shown:?}: {}", answer.text());
    }
}

/// Writes all of this at once and reads these answers. Afterwards the hub ends the connection,
/// and says nothing more.
async fn play(server: &Server, bytes: &str, answers: &[Answer]) {
    let mut connection = server.connect().await;
    connection.write(bytes.as_bytes()).await;
    read(&mut connection, answers, bytes).await;
    assert_eq!(connection.rest().await, (String::new(), false), "after {:?}", beginning(bytes));
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")
}

fn last(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
}

#[test]
fn answers_without_a_body_belong_to_the_service_and_keep_their_order() {
    on_own_lanes(open, async |server| {
        let own = [Of(400, ""), Of(414, ""), Of(431, ""), Of(204, ""), Of(200, "whole")];
        let paths = ["/400", "/414", "/431", "/204", "/whole"];
        let bytes = paths.map(get).concat() + &last("/400");
        play(server, &bytes, &[&own[..], &[Of(400, "")]].concat()).await;
        // Each alone, at once, and the connection stays open.
        let mut connection = server.connect().await;
        for (path, answer) in paths.iter().zip(own) {
            connection.write(get(path).as_bytes()).await;
            read(&mut connection, &[answer], path).await;
        }
        let mut old = String::new();
        for path in paths {
            let _ = write!(old, "GET {path} HTTP/1.0\r\nconnection: keep-alive\r\n\r\n");
        }
        old += "GET /431 HTTP/1.0\r\n\r\n";
        play(server, &old, &[&own[..], &[Of(431, "")]].concat()).await;
    });
}

#[test]
fn a_connection_ends_after_a_large_head_and_not_after_many_small_ones() {
    on_own_lanes(open, async |server| {
        let long = "x".repeat(9000);
        let large = format!("GET /whole HTTP/1.1\r\nhost: localhost\r\nx-long: {long}\r\n\r\n");
        play(server, &large, &[Of(200, "whole")]).await;
        // Whitespace that the parser drops takes memory too.
        let spaces = " ".repeat(30_000);
        let spaced = format!("GET /whole HTTP/1.1\r\nhost: localhost\r\nx:{spaces}x\r\n\r\n");
        play(server, &spaced, &[Of(200, "whole")]).await;
        let many = get("/whole").repeat(1000) + &last("/400");
        let answers = [vec![Of(200, "whole"); 1000], vec![Of(400, "")]].concat();
        play(server, &many, &answers).await;
    });
}

#[test]
fn a_large_head_behind_answers_that_were_not_read_is_read_after_them() {
    on_own_lanes(open, async |server| {
        let long = "x".repeat(40_000);
        let large = format!("GET /whole HTTP/1.1\r\nhost: localhost\r\nx-long: {long}\r\n\r\n");
        let mut connection = server.connect().await;
        connection.write((get("/large").repeat(3) + &large).as_bytes()).await;
        for _ in 0..3 {
            let answer = connection.answer(Body::Whole).await;
            assert_eq!((answer.status(), answer.text().len()), (200, LARGE));
        }
        read(&mut connection, &[Of(200, "whole")], "a large head").await;
        assert_eq!(connection.rest().await, (String::new(), false));
    });
}

#[test]
fn a_head_that_is_no_request_is_answered_in_words_after_the_answers_before_it() {
    on_own_lanes(open, async |server| {
        let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(70_000));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(101));
        let target = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(65_535));
        for (bad, answer) in [
            ("hello\r\n\r\n", Of(400, "not an HTTP/1 request")),
            ("\0\0\0\0\r\n\r\n", Of(400, "not an HTTP/1 request")),
            ("GET / HTTP/1.1\r\nno colon\r\n\r\n", Of(400, "not an HTTP/1 request")),
            ("GET / HTTP/1.1\r\nspace : x\r\n\r\n", Of(400, "not an HTTP/1 request")),
            ("GET / FTP/1.1\r\n\r\n", Of(400, "not an HTTP/1 request")),
            ("GET / HTTP/2.0\r\n\r\n", Of(505, "HTTP/1.1")),
            ("GET / HTTP/1.2\r\n\r\n", Of(505, "HTTP/1.1")),
            // A client that begins in HTTP/2 where the hub speaks HTTP/1 only.
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Of(505, "HTTP/1.1")),
            ("PRI * HTTP/2.0\r\n\r\n", Of(505, "HTTP/1.1")),
            (&long, Of(431, "at most 65536 bytes and 100 header fields")),
            (&many, Of(431, "at most 65536 bytes and 100 header fields")),
            (&target, Of(414, "a target may have at most 65534 bytes")),
        ] {
            play(server, bad, &[answer]).await;
            let bytes = get("/400") + &get("/whole") + bad;
            play(server, &bytes, &[Of(400, ""), Of(200, "whole"), answer]).await;
            if let (Some(head), Of(status, _)) = (bad.strip_prefix("GET "), answer) {
                play(server, &format!("HEAD {head}"), &[Headless(status)]).await;
                let bytes = format!("{}HEAD {head}", get("/whole"));
                play(server, &bytes, &[Of(200, "whole"), Headless(status)]).await;
            }
        }
    });
}

#[test]
fn an_invalid_length_is_a_400_and_one_past_all_bounds_a_413() {
    on_own_lanes(open, async |server| {
        for (line, answer) in [
            ("content-length: 18446744073709551616", Of(400, "content-length")),
            ("content-length: 99999999999999999999999", Of(400, "content-length")),
            ("content-length: 18446744073709551615", Of(413, "1048576 bytes")),
            ("content-length: 18446744073709551614", Of(413, "1048576 bytes")),
            ("content-length: -1", Of(400, "content-length")),
            ("content-length: +5", Of(400, "content-length")),
            ("content-length: 5, 5", Of(400, "content-length")),
            ("content-length: 5,6", Of(400, "content-length")),
            ("content-length: 5 5", Of(400, "content-length")),
            ("content-length:", Of(400, "content-length")),
            ("content-length: 0x5", Of(400, "content-length")),
            ("content-length: 5\r\ncontent-length: 6", Of(400, "content-length")),
            ("transfer-encoding: gzip", Of(400, "transfer-encoding")),
            ("transfer-encoding: chunked, gzip", Of(400, "transfer-encoding")),
            ("transfer-encoding: identity", Of(400, "transfer-encoding")),
        ] {
            let head = |method: &str| {
                format!("{method} {HUB} HTTP/1.1\r\nhost: localhost\r\n{line}\r\n\r\n")
            };
            play(server, &(head("POST") + "12345"), &[answer]).await;
            let Of(status, _) = answer else { continue };
            play(server, &head("HEAD"), &[Headless(status)]).await;
            // Past the first request the method of such a head is not known any more.
            for method in ["HEAD", "POST"] {
                let bytes = get("/whole") + &head(method);
                play(server, &bytes, &[Of(200, "whole"), Headless(status)]).await;
            }
        }
        let old = format!("POST {HUB} HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n");
        play(server, &old, &[Of(400, "transfer-encoding")]).await;
    });
}

#[test]
fn a_length_beside_chunks_does_not_count_and_nothing_is_read_after_them() {
    on_own_lanes(open, async |server| {
        let (length, chunked) = ("content-length: 3\r\n", "transfer-encoding: chunked\r\n");
        for fields in [[length, chunked], [chunked, length]] {
            let head = format!(
                "POST {HUB} HTTP/1.1\r\nhost: localhost\r\n\
                 content-type: application/x-www-form-urlencoded\r\n{}\r\n",
                fields.concat()
            );
            // What another reader would take for the next request is never answered.
            let bytes = head + "e\r\ntopic=a&data=1\r\n0\r\n\r\n" + &get("/whole");
            play(server, &bytes, &[Of(200, "tidings:")]).await;
        }
        assert_eq!(server.metric("tidings_updates_total").await, 2.0);
    });
}

#[test]
fn head_never_has_a_body() {
    on_own_lanes(open, async |server| {
        for (path, status) in
            [("/", 200), ("/nothing", 404), (HUB, 400), ("/healthz", 200), ("/400", 400)]
        {
            let head = format!("HEAD {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
            let answers = [Headless(status), Headless(status), Of(200, "whole")];
            play(server, &(head.repeat(2) + &last("/whole")), &answers).await;
        }
    });
}

/// A request whose body is refused: its first line, the lines of its own, and the answer.
const REFUSED: &[(&str, &str, Answer)] = &[
    (
        "POST /.well-known/mercure",
        "content-type: application/x-www-form-urlencoded",
        Of(413, "1048576 bytes"),
    ),
    ("POST /.well-known/mercure", "content-type: text/plain", Of(415, "content type")),
    (
        "POST /.well-known/mercure",
        "content-type: application/json\r\norigin: https://evil.test",
        Of(403, "evil.test"),
    ),
    (
        "POST /.well-known/mercure",
        "content-type: application/json\r\nauthorization: Bearer bad",
        Of(401, ""),
    ),
    ("PUT /.well-known/mercure", "x: y", Of(405, "not allowed")),
    ("DELETE /healthz", "x: y", Of(405, "not allowed")),
    ("POST /nothing", "x: y", Of(404, "")),
    ("POST /400", "x: y", Of(400, "")),
    ("POST /whole", "x: y", Of(200, "whole")),
];

fn chunked(bytes: usize) -> String {
    let piece = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    piece.repeat(bytes / 0x10000) + "0\r\n\r\n"
}

#[test]
fn an_answer_reaches_a_client_that_sends_its_whole_body_first() {
    on_own_lanes(open, async |server| {
        let (whole, chunks) = ("x".repeat(LARGE), chunked(LARGE));
        for (line, fields, answer) in REFUSED {
            for (framing, body) in [
                (format!("content-length: {LARGE}"), &whole),
                ("transfer-encoding: chunked".to_owned(), &chunks),
            ] {
                let head =
                    format!("{line} HTTP/1.1\r\nhost: localhost\r\n{fields}\r\n{framing}\r\n\r\n");
                let mut connection = server.connect().await;
                connection.write(head.as_bytes()).await;
                connection.write(body.as_bytes()).await;
                let Of(status, words) = *answer else { unreachable!("they have bodies") };
                let got = connection.answer(Body::Whole).await;
                assert_eq!(got.status(), status, "{head}");
                assert!(got.text().contains(words), "{head}: {}", got.text());
                // What is sent afterwards would be taken for more of the body.
                assert_eq!(got.head.list("connection"), ["close"], "{head}");
                assert_eq!(connection.rest().await, (String::new(), false), "{head}");
            }
        }
    });
}

#[test]
fn a_small_refused_body_keeps_the_connection_open() {
    on_own_lanes(open, async |server| {
        for (line, fields, answer) in
            REFUSED.iter().filter(|refused| !refused.1.contains("urlencoded"))
        {
            let Of(status, words) = *answer else { unreachable!("they have bodies") };
            let request = format!(
                "{line} HTTP/1.1\r\nhost: localhost\r\n{fields}\r\ncontent-length: 5\r\n\r\n12345"
            );
            let mut connection = server.connect().await;
            for _ in 0..3 {
                connection.write(request.as_bytes()).await;
                let got = connection.answer(Body::Whole).await;
                assert_eq!(got.status(), status, "{request}");
                assert!(got.text().contains(words), "{request}: {}", got.text());
                connection.write(get("/whole").as_bytes()).await;
                read(&mut connection, &[Of(200, "whole")], &request).await;
            }
        }
    });
}

#[test]
fn a_client_that_expects_100_continue_may_be_refused_without_it_and_send_its_body_or_not() {
    on_own_lanes(open, async |server| {
        for (line, fields, answer) in REFUSED {
            let head = format!(
                "{line} HTTP/1.1\r\nhost: localhost\r\n{fields}\r\ncontent-length: {LARGE}\r\n\
                 expect: 100-continue\r\n\r\n"
            );
            let Of(status, _) = *answer else { unreachable!("they have bodies") };
            for sends in [false, true] {
                let mut connection = server.connect().await;
                connection.write(head.as_bytes()).await;
                let got = connection.answer(Body::Whole).await;
                assert_eq!(got.status(), status, "{head}");
                assert_eq!(got.head.list("connection"), ["close"], "{head}");
                if sends {
                    let sent = connection.try_write(&vec![b'x'; LARGE]).await;
                    sent.expect("the hub discards the body");
                }
                assert_eq!(connection.rest().await, (String::new(), false), "{head}");
            }
        }
    });
}

#[test]
fn a_closed_hub_refuses_before_it_has_read_the_body_and_is_understood() {
    let closed = || open().access(Access::default());
    on_own_lanes(closed, async |server| {
        let head = format!(
            "POST {HUB} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {LARGE}\r\n\
             content-type: application/x-www-form-urlencoded\r\n\r\n"
        );
        play(server, &(head + &"x".repeat(LARGE)), &[Of(401, "needs a token")]).await;
    });
}

/// Requests that a proxy in front of the hub could read differently.
#[test]
fn a_request_that_can_be_read_in_two_ways_is_refused_and_ends_the_connection() {
    on_own_lanes(open, async |server| {
        let form = "content-type: application/x-www-form-urlencoded\r\n";
        let chunked = "5\r\ntopic\r\n7\r\n=a&data\r\n0\r\n\r\n";
        for (fields, body, status, says) in [
            ("host: localhost\r\nhost: localhost\r\n", "", 400, "host occurs more than once"),
            ("host: localhost\r\nhost: evil.test\r\n", "", 400, "host occurs more than once"),
            ("", "", 400, "no header Host"),
            ("host: a b\r\n", "", 400, "not a host"),
            ("host: user@localhost\r\n", "", 400, "not a host"),
            ("host: localhost\r\ntransfer-encoding: gzip, chunked\r\n", chunked, 501, "gzip"),
            (
                "host: localhost\r\ntransfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n",
                chunked,
                501,
                "gzip",
            ),
            (
                "host: localhost\r\ntransfer-encoding: chunked, chunked\r\n",
                chunked,
                400,
                "more than once",
            ),
            (
                "host: localhost\r\ntransfer-encoding: chunked, gzip\r\n",
                chunked,
                400,
                "not an HTTP/1 request",
            ),
            (
                "host: localhost\r\ncontent-length: 1\r\ncontent-length: 2\r\n",
                "ab",
                400,
                "not an HTTP/1 request",
            ),
        ] {
            for path in [HUB, "/whole"] {
                let head = format!("POST {path} HTTP/1.1\r\n{fields}{form}\r\n{body}");
                play(server, &(head + &get("/whole")), &[Of(status, says)]).await;
            }
        }
        let two = format!(
            "POST {HUB} HTTP/1.1\r\nhost: localhost\r\n{form}content-type: application/json\r\n\
             content-length: 14\r\nconnection: close\r\n\r\ntopic=a&data=x"
        );
        play(server, &two, &[Of(400, "Content-Type occurs more than once")]).await;
        let old =
            format!("POST {HUB} HTTP/1.0\r\n{form}transfer-encoding: chunked\r\n\r\n{chunked}");
        play(server, &old, &[Of(400, "not an HTTP/1 request")]).await;
        assert_eq!(server.metric("tidings_updates_total").await, 0.0);
    });
}

#[test]
fn requests_of_ordinary_clients_are_not_ambiguous() {
    on_own_lanes(open, async |server| {
        for request in [
            "GET /whole HTTP/1.0\r\n\r\n",
            "GET /whole HTTP/1.0\r\nhost: localhost\r\n\r\n",
            "GET /whole HTTP/1.1\r\nhost: localhost:8081\r\nconnection: close\r\n\r\n",
            "GET /whole HTTP/1.1\r\nhost: [::1]:8081\r\nconnection: close\r\n\r\n",
            "GET http://localhost/whole HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
            "POST /whole HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: Chunked\r\n\
             connection: close\r\n\r\n1\r\na\r\n0\r\n\r\n",
            "POST /whole HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\ncontent-length: 1\r\n\
             connection: close\r\n\r\na",
        ] {
            play(server, request, &[Of(200, "whole")]).await;
        }
    });
}
