//! Requests that are none, and clients that stop in the middle of one.

use std::fmt::Write as _;

use crate::hub::{File, Hub};

/// Sends `request` to a hub and checks that the answer is one of these statuses, or that the
/// hub hangs up where 0 is among them; and that the hub lives on.
fn check(hub: &Hub, request: &[u8], allowed: &[u16]) {
    let mut connection = hub.connect();
    connection.try_send(request);
    let response = connection.try_response();
    let status = response.as_ref().map_or(0, |response| response.status);
    let shown = String::from_utf8_lossy(&request[..request.len().min(60)]);
    assert!(allowed.contains(&status), "{status} to {shown:?}");
    if let Some(response) = response {
        let words = String::from_utf8_lossy(&response.body);
        let allowed = match status {
            400 => "not an HTTP/1 request: ",
            505 => "HTTP/1.1",
            414 => "a target may have at most 65534 bytes, and the whole head 65536",
            _ => "65536 bytes and 100 header fields",
        };
        assert!(words.contains(allowed), "{words:?} to {shown:?}");
    }
    assert!(connection.rest().is_empty(), "the connection is closed after {shown:?}");
    hub.is_well();
}

#[test]
fn an_invalid_request_is_refused_and_disturbs_no_client() {
    let hub = Hub::start();
    check(&hub, &[0; 100], &[400]);
    check(&hub, &[0xff; 100_000], &[400]);
    check(&hub, b"\r\n\r\nhello\r\n\r\n", &[400]);
    check(&hub, b"GET / HTTP/1.1\r\nhost localhost\r\n\r\n", &[400]);
    check(&hub, b"GET / HTTP/9.9\r\nhost: localhost\r\n\r\n", &[505]);
    check(&hub, b"GET /\r\n\r\n", &[400]);
    check(&hub, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[505]);
    check(&hub, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n", &[400]);
    check(
        &hub,
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        &[400],
    );
}

#[test]
fn tls_on_the_port_without_tls_is_refused() {
    let mut hello = vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    hello.resize(517, 0x5a);
    check(&Hub::start(), &hello, &[400]);
}

#[test]
fn a_thousand_headers_are_too_many() {
    let mut request = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n".to_owned();
    for number in 0..1000 {
        write!(request, "x-{number}: {number}\r\n").unwrap();
    }
    check(&Hub::start(), (request + "\r\n").as_bytes(), &[431]);
}

#[test]
fn a_head_of_more_than_64_kilobytes_is_too_large() {
    let hub = Hub::start();
    let long = "x".repeat(64 << 10);
    let header = format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: {long}\r\n\r\n");
    check(&hub, header.as_bytes(), &[431]);
    let target = format!("GET /{long} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    check(&hub, target.as_bytes(), &[414]);
    let endless = format!("GET /healthz HTTP/1.1\r\nx: {}", "x".repeat(10 << 20));
    check(&hub, endless.as_bytes(), &[0, 431]);
}

#[test]
fn a_target_that_is_too_long_is_distinguished_from_a_head_that_is_too_large() {
    let request = |length: usize| {
        format!("GET /{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "x".repeat(length - 1))
    };
    let hub = Hub::start();
    for (length, status) in [(65_520, 431), (65_534, 414), (66_000, 414), (200_000, 414)] {
        check(&hub, request(length).as_bytes(), &[status]);
    }
    let config = File::new("[access]\nanonymous_subscribe = true\n[limits]\nhead = \"128KiB\"");
    let hub = Hub::with(&["--config", config.path()]);
    for (length, status) in [(65_534, 404), (65_535, 414), (66_000, 414), (140_000, 414)] {
        let mut connection = hub.connect();
        connection.try_send(request(length).as_bytes());
        let answer = connection.try_response().unwrap_or_else(|| panic!("no answer to {length}"));
        assert_eq!(answer.status, status, "{length}");
        if status == 414 {
            let words = String::from_utf8_lossy(&answer.body);
            assert!(words.contains("65534 bytes, and the whole head 131072"), "{words}");
        }
    }
}

#[test]
fn http_1_0_without_a_host_gets_its_stream_and_its_end() {
    let hub = Hub::start();
    let mut connection = hub.connect();
    connection.send(b"GET /.well-known/mercure?topic=a HTTP/1.0\r\n\r\n");
    let head = connection.head().expect("an answer");
    assert_eq!((head.status, head.header("connection")), (200, Some("close")));
    hub.publish("a", "1");
    hub.signal("TERM");
    let stream = String::from_utf8(connection.rest()).unwrap();
    assert!(stream.starts_with(":\nretry: "), "{stream}");
    assert!(stream.contains("\ndata: 1\nid: "), "{stream}");
}

#[test]
fn a_body_that_arrives_byte_by_byte_is_accepted() {
    let hub = Hub::start();
    let mut stream = hub.subscribe("a");
    let mut connection = hub.connect();
    let request = "POST /.well-known/mercure HTTP/1.1\r\nhost: localhost\r\n\
                   content-type: application/x-www-form-urlencoded\r\ncontent-length: 14\r\n\r\n\
                   topic=a&data=1";
    for byte in request.bytes() {
        connection.send(&[byte]);
    }
    assert_eq!(connection.response().status, 200);
    assert_eq!(stream.event().data, "1");
}

#[test]
fn the_refusal_of_a_large_body_reaches_a_client_that_sends_all_of_it_first() {
    let hub = Hub::start();
    for length in [(1 << 20) + 1, 3 << 20, 20 << 20] {
        let mut connection = hub.connect();
        connection.send(
            format!(
                "POST /.well-known/mercure HTTP/1.1\r\nhost: localhost\r\n\
                 content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
            )
            .as_bytes(),
        );
        connection.try_send(&vec![b' '; length]);
        let answer = connection.try_response().unwrap_or_else(|| panic!("no answer to {length}"));
        assert_eq!(answer.status, 413);
    }
    hub.is_well();
}

#[test]
fn a_body_whose_length_is_too_large_is_refused_before_it_arrives() {
    let hub = Hub::start();
    for method in ["POST", "QUERY"] {
        let mut connection = hub.connect();
        connection.send(
            format!(
                "{method} /.well-known/mercure HTTP/1.1\r\nhost: localhost\r\n\
                 content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n",
                (1 << 20) + 1
            )
            .as_bytes(),
        );
        let answer = connection.try_response().unwrap_or_else(|| panic!("no answer to {method}"));
        assert_eq!(answer.status, 413);
    }
}

#[test]
fn a_client_that_disconnects_during_its_request_is_removed() {
    let hub = Hub::start();
    let before = hub.open_files();
    for part in [
        "",
        "GET /.well-known/merc",
        "POST /.well-known/mercure HTTP/1.1\r\nhost: localhost\r\n\
         content-type: application/json\r\ncontent-length: 100\r\n\r\n{\"topics\":",
    ] {
        for _ in 0..20 {
            let mut connection = hub.connect();
            connection.send(part.as_bytes());
            if part.len() % 2 == 0 {
                connection.reset();
            }
        }
    }
    crate::hub::eventually("the descriptors are back", || hub.open_files() <= before + 1);
    hub.is_well();
}

#[test]
fn an_unfinished_request_delays_no_client() {
    let hub = Hub::with(&["--shards", "1"]);
    let halves: Vec<_> = (0..50)
        .map(|_| {
            let mut connection = hub.connect();
            connection.send(b"GET /.well-known/mercure?topic=a HTTP/1.1\r\nhost: local");
            connection
        })
        .collect();
    hub.is_well();
    for mut half in halves {
        half.send(b"host\r\n\r\n");
        assert_eq!(half.head().expect("an answer").status, 200);
    }
}
