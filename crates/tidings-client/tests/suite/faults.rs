//! Faults of servers and networks.

use std::time::Duration;

use bytes::Bytes;
use tidings_client::reconnect::{Loss, Policy};
use tidings_client::transport::{ReqwestTransport, Transport as _};
use tidings_client::{CloseReason, ConnectError, EventSource, Incoming, Limits, LossError};
use tokio::net::TcpListener;

use crate::network::{Act, Answer, Network};
use crate::server::{Server, closed, eager, event, lost, next};

#[tokio::test]
async fn an_id_with_control_characters_is_not_sent_and_is_reported() {
    for bad in ["\u{1}", "a\u{7f}b", "\u{1b}[0m"] {
        let server = Server::start().await;
        let mut stream = eager(server.url("/")).open();
        let (mut exchange, _) = tokio::join!(server.open(), next(&mut stream));
        exchange.send(format!("id: {bad}\ndata: a\n\n")).await;
        assert_eq!(event(&mut stream).await.last_event_id(), bad);
        drop(exchange);
        lost(&mut stream).await;
        assert!(matches!(next(&mut stream).await, Incoming::LastEventIdNotSent(id) if id == bad));
        let (mut exchange, incoming) = tokio::join!(server.open(), next(&mut stream));
        assert!(matches!(incoming, Incoming::Open(_)));
        assert_eq!(exchange.header("last-event-id"), None);
        // It is still the last event id, until the next one.
        exchange.send("data: b\n\nid: 2\ndata: c\n\n").await;
        assert_eq!(event(&mut stream).await.last_event_id(), bad);
        assert_eq!(event(&mut stream).await.last_event_id(), "2");
    }
}

#[tokio::test]
async fn an_id_that_is_too_long_for_a_request_is_not_sent_and_is_reported() {
    let server = Server::start().await;
    let mut stream = eager(server.url("/")).open();
    let long = "x".repeat(200_000);
    let (mut exchange, _) = tokio::join!(server.open(), next(&mut stream));
    let send = async {
        exchange.send(format!("id: {long}\ndata: a\n\n")).await;
        drop(exchange);
    };
    let (first, ()) = tokio::join!(event(&mut stream), send);
    assert_eq!(first.last_event_id().len(), long.len());
    lost(&mut stream).await;
    assert!(matches!(next(&mut stream).await, Incoming::LastEventIdNotSent(id) if id == long));
    let (mut exchange, _) = tokio::join!(server.open(), next(&mut stream));
    assert_eq!(exchange.header("last-event-id"), None);
    exchange.send("id: 2\ndata: b\n\n").await;
    event(&mut stream).await;
    drop(exchange);
    lost(&mut stream).await;
    let (exchange, _) = tokio::join!(server.open(), next(&mut stream));
    assert_eq!(exchange.header("last-event-id").as_deref(), Some("2"));
}

#[tokio::test]
async fn an_id_that_a_server_refuses_for_its_length_is_no_longer_sent() {
    let server = Server::start().await;
    let long = "x".repeat(5000);
    for status in [
        "400 Bad Request",
        "413 Content Too Large",
        "431 Request Header Fields Too Large",
        "494 Request Header Too Large",
    ] {
        let id = tidings_client::EventId::new(&long).unwrap();
        let mut stream = eager(server.url("/")).last_event_id(id).open();
        let refuse = async {
            let exchange = server.next().await;
            assert_eq!(exchange.header("last-event-id").map(|id| id.len()), Some(5000));
            exchange.answer(status, &[], "").await;
        };
        let (lost, ()) = tokio::join!(lost(&mut stream), refuse);
        assert_eq!(lost.loss, Loss::Refused);
        assert!(matches!(next(&mut stream).await, Incoming::LastEventIdNotSent(id) if id == long));
        let (exchange, _) = tokio::join!(server.open(), next(&mut stream));
        assert_eq!(exchange.header("last-event-id"), None);
    }
}

#[tokio::test]
async fn a_refusal_for_another_reason_than_a_long_id_is_final() {
    let server = Server::start().await;
    let check = async |id: &str, status: &str| {
        let id = tidings_client::EventId::new(id).unwrap();
        let mut stream = eager(server.url("/")).last_event_id(id).open();
        let refuse = async { server.next().await.answer(status, &[], "").await };
        let (reason, ()) = tokio::join!(closed(&mut stream), refuse);
        assert!(matches!(reason, CloseReason::Failed(ConnectError::Status(_))), "{reason:?}");
    };
    // Without an id nothing can be omitted, and a short id is not the reason for the refusal.
    check("", "431 Request Header Fields Too Large").await;
    check("7", "400 Bad Request").await;
    check(&"x".repeat(5000), "403 Forbidden").await;
}

#[tokio::test]
async fn a_request_that_took_too_long_is_not_sent_again() {
    let server = Server::start().await;
    let client = reqwest::Client::builder().read_timeout(Duration::from_millis(200)).build();
    let request = http::Request::get(server.url("/")).body(Bytes::new()).unwrap();
    let transport = ReqwestTransport::with_client(client.unwrap());
    let (answer, _exchange) = tokio::join!(transport.send(request), server.next());
    assert!(answer.is_err());
    // A second connection would be there by now.
    assert!(server.is_left_alone(Duration::from_millis(100)).await);
}

#[tokio::test]
async fn a_line_that_never_ends_is_reported_when_it_is_too_long() {
    let server = Server::start().await;
    let limits = Limits::default().line_bytes_max(1000);
    let mut stream = eager(server.url("/")).limits(limits).open();
    let (mut exchange, _) = tokio::join!(server.open(), next(&mut stream));
    exchange.send("x".repeat(2000)).await;
    let incoming = next(&mut stream).await;
    assert!(matches!(incoming, Incoming::Discarding(_)), "{incoming:?}");
    // Once for all of it, until it ends after all.
    exchange.send("x".repeat(2000)).await;
    exchange.send("\n\ndata: a\n\n").await;
    let incoming = next(&mut stream).await;
    assert!(matches!(incoming, Incoming::Discarded(_)), "{incoming:?}");
    assert_eq!(event(&mut stream).await.data(), "a");
}

#[tokio::test]
async fn json_labelled_as_a_stream_is_reported_as_json() {
    for method in [http::Method::GET, http::Method::POST] {
        let server = Server::start().await;
        let mut stream = EventSource::request(method, server.url("/")).open();
        let serve = async {
            let mut exchange = server.open().await;
            exchange.send("{\"error\":\n").await;
            exchange.send("\"no key\"}").await;
        };
        let (reason, ()) = tokio::join!(closed(&mut stream), serve);
        let CloseReason::Json(answer) = reason else { panic!("{reason:?}") };
        assert_eq!(&*answer.body, b"{\"error\":\n\"no key\"}");
        assert!(server.is_left_alone(Duration::from_millis(50)).await);
    }
}

#[tokio::test]
async fn a_text_labelled_as_a_stream_is_shown_with_each_loss() {
    let server = Server::start().await;
    let mut stream = eager(server.url("/")).open();
    for text in ["<html>\n<p>Bad gateway\n", "upstream timed out"] {
        let serve = async { server.open().await.send(text).await };
        let (lost, ()) = tokio::join!(lost(&mut stream), serve);
        assert_eq!(lost.loss, Loss::Ended);
        let Some(LossError::Connect(ConnectError::NoEvents { body })) = &lost.error else {
            panic!("{lost:?}")
        };
        assert_eq!(body, text.as_bytes());
        assert!(lost.to_string().contains(&text[..5]), "{lost}");
    }
    // A stream without bytes is only empty, and an incomplete event is still one of a stream.
    for (text, loss) in [("", Loss::Ended), ("data: a", Loss::Unfinished)] {
        let serve = async { server.open().await.send(text).await };
        let (lost, ()) = tokio::join!(lost(&mut stream), serve);
        assert!(lost.error.is_none() && lost.loss == loss, "{lost:?}");
    }
    let mut answer = EventSource::post(server.url("/")).open();
    let serve = async { server.open().await.send("no such model\n").await };
    let (reason, ()) = tokio::join!(closed(&mut answer), serve);
    assert!(matches!(reason, CloseReason::Failed(ConnectError::NoEvents { .. })), "{reason:?}");
}

#[tokio::test]
async fn an_id_without_an_event_is_the_position_of_the_next_connection() {
    let server = Server::start().await;
    let mut stream = eager(server.url("/")).open();
    let (mut exchange, _) = tokio::join!(server.open(), next(&mut stream));
    exchange.send("id: 7\n\n").await;
    assert!(matches!(next(&mut stream).await, Incoming::LastEventId(id) if id == "7"));
    assert_eq!(stream.last_event_id(), "7");
    drop(exchange);
    lost(&mut stream).await;
    let (exchange, _) = tokio::join!(server.open(), next(&mut stream));
    assert_eq!(exchange.header("last-event-id").as_deref(), Some("7"));
}

#[tokio::test]
async fn an_id_that_contains_a_nul_is_ignored() {
    let server = Server::start().await;
    let mut stream = eager(server.url("/")).open();
    let (mut exchange, _) = tokio::join!(server.open(), next(&mut stream));
    exchange.send("id: 1\ndata: a\n\nid: 2\0\ndata: b\n\n").await;
    event(&mut stream).await;
    assert_eq!(event(&mut stream).await.last_event_id(), "1");
    drop(exchange);
    lost(&mut stream).await;
    let (exchange, _) = tokio::join!(server.open(), next(&mut stream));
    assert_eq!(exchange.header("last-event-id").as_deref(), Some("1"));
}

#[tokio::test]
async fn invalid_utf_8_is_replaced_and_ends_nothing() {
    let server = Server::start().await;
    let mut stream = eager(server.url("/")).open();
    let (mut exchange, _) = tokio::join!(server.open(), next(&mut stream));
    exchange.send(b"data: a\xffb\xe2\x98\n\nid: \xf0\ndata: c\n\n").await;
    assert_eq!(event(&mut stream).await.data(), "a\u{fffd}b\u{fffd}");
    assert_eq!(event(&mut stream).await.id(), Some("\u{fffd}"));
}

#[tokio::test]
async fn a_line_of_fourteen_megabytes_is_read_and_a_larger_one_is_reported() {
    let server = Server::start().await;
    let mut stream = eager(server.url("/")).open();
    let (mut exchange, _) = tokio::join!(server.open(), next(&mut stream));
    let text = "x".repeat(14_000_000);
    let send = async {
        exchange.send(format!("data: {text}\n\ndata: {text}{text}\n\ndata: small\n\n")).await;
    };
    let read = async {
        assert_eq!(event(&mut stream).await.data().len(), text.len());
        let mut incoming = next(&mut stream).await;
        if let Incoming::Discarding(_) = incoming {
            incoming = next(&mut stream).await;
        }
        let Incoming::Discarded(discarded) = incoming else { panic!("{incoming:?}") };
        assert!(discarded.bytes() >= 28_000_000);
        assert_eq!(event(&mut stream).await.data(), "small");
    };
    tokio::join!(send, read);
}

#[tokio::test]
async fn beyond_the_limits_a_stream_can_be_made_to_fail() {
    let server = Server::start().await;
    let limits = Limits::default().event_bytes_max(10).excess(tidings_sse::decode::Excess::Fail);
    let mut stream = eager(server.url("/")).limits(limits).open();
    let (mut exchange, _) = tokio::join!(server.open(), next(&mut stream));
    exchange.send("data: a\n\ndata: far too large\n\n").await;
    assert_eq!(event(&mut stream).await.data(), "a");
    assert!(matches!(closed(&mut stream).await, CloseReason::TooLarge(_)));
    exchange.hung_up().await;
}

#[tokio::test]
async fn endless_unknown_fields_take_a_bounded_memory() {
    let server = Server::start().await;
    let mut stream = eager(server.url("/")).open();
    let (mut exchange, _) = tokio::join!(server.open(), next(&mut stream));
    let send = async {
        exchange.send("x: y\n".repeat(200_000)).await;
        exchange.send("data: a\n\ndata: b\n\n").await;
    };
    let read = async {
        let first = event(&mut stream).await;
        assert!((100..2000).contains(&first.fields().len()), "{}", first.fields().len());
        assert!(event(&mut stream).await.fields().is_empty());
    };
    tokio::join!(send, read);
}

#[tokio::test]
async fn an_unreachable_address_is_a_loss_and_is_retried() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut policy = Policy::default();
    policy.reconnection_time = Duration::from_millis(1);
    policy.backoff_first = Duration::from_millis(1);
    policy.attempts_max = Some(3);
    let mut stream = EventSource::get(format!("http://{address}/")).policy(policy).open();
    for attempt in 2..=3 {
        let lost = lost(&mut stream).await;
        assert_eq!((lost.loss, lost.attempt), (Loss::Unreachable, attempt));
        assert!(matches!(&lost.error, Some(LossError::Connect(ConnectError::Transport(_)))));
        assert!(lost.to_string().contains("refused"), "{lost}");
    }
    let reason = closed(&mut stream).await;
    assert!(matches!(reason, CloseReason::GaveUp { attempts: 3, last: Some(_) }), "{reason:?}");
}

#[tokio::test]
async fn an_unknown_host_name_is_a_loss_with_a_reason() {
    let mut policy = Policy::default();
    policy.retry_first = false;
    let mut stream = EventSource::get("http://nowhere.invalid/").policy(policy).open();
    let reason = closed(&mut stream).await.to_string();
    assert!(reason.contains("dns") || reason.contains("lookup"), "{reason}");
}

#[tokio::test]
async fn a_response_that_is_not_http_is_a_loss() {
    let server = Server::start().await;
    let mut stream = eager(server.url("/")).open();
    let serve = async {
        server.next().await.send("SSH-2.0-OpenSSH_9.2\r\n\r\n").await;
    };
    let (lost, ()) = tokio::join!(lost(&mut stream), serve);
    assert_eq!(lost.loss, Loss::Unreachable);
}

/// Time is the simulation's from here on.
fn simulated(serve: impl FnMut(http::Request<Bytes>) -> Answer + Send + 'static) -> EventSource {
    crate::server::take_all_time();
    EventSource::get("http://a.test/").transport(Network::of(serve))
}

#[tokio::test(start_paused = true)]
async fn one_byte_a_minute_is_alive() {
    let mut acts = Vec::new();
    for byte in b"data: slow but steady\n\n" {
        acts.push(Act::Pause(Duration::from_secs(60)));
        acts.push(Act::Send(Bytes::copy_from_slice(&[*byte])));
    }
    let mut acts = Some(acts);
    let mut stream = simulated(move |_| Answer::stream(acts.take().expect("one request"))).open();
    loop {
        match stream.next().await.unwrap() {
            Incoming::Event(event) => break assert_eq!(event.data(), "slow but steady"),
            Incoming::Open(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_without_a_byte_is_lost_after_five_minutes() {
    let mut stream = simulated(|_| Answer::stream(Vec::new())).open();
    let begun = tokio::time::Instant::now();
    assert!(matches!(stream.next().await, Some(Incoming::Open(_))));
    let Some(Incoming::Lost(lost)) = stream.next().await else { panic!() };
    assert_eq!((lost.loss, begun.elapsed().as_secs()), (Loss::Silent, 300));
}

#[tokio::test(start_paused = true)]
async fn a_request_without_an_answer_is_lost_after_a_minute() {
    let mut stream = simulated(|_| Answer::Silence).open();
    let begun = tokio::time::Instant::now();
    let Some(Incoming::Lost(lost)) = stream.next().await else { panic!() };
    assert_eq!((lost.loss, begun.elapsed().as_secs()), (Loss::Unreachable, 60));
    assert!(lost.to_string().contains("did not answer within 60 s"), "{lost}");
}

#[tokio::test(start_paused = true)]
async fn the_silence_of_a_single_request_is_reported() {
    let acts = vec![Act::Send(Bytes::from_static(b"data: a\n\n"))];
    let mut stream = simulated(move |_| Answer::stream(acts.clone())).reconnect(false).open();
    let reason = closed(&mut stream).await;
    assert!(matches!(reason, CloseReason::Silent), "{reason:?}");
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_announces_its_heartbeat_is_lost_after_three_of_them() {
    let notice =
        "event: tidings\nid: 1\ndata: {\"v\":1,\"kind\":\"live\",\"heartbeat_ms\":15000}\n\n";
    let acts = vec![Act::Send(Bytes::from(notice))];
    let mut stream = simulated(move |_| Answer::stream(acts.clone())).open();
    let begun = tokio::time::Instant::now();
    let lost = lost(&mut stream).await;
    assert_eq!((lost.loss, begun.elapsed().as_secs()), (Loss::Silent, 45));
}

#[tokio::test(start_paused = true)]
async fn a_reconnection_time_of_zero_causes_no_flood() {
    let acts = vec![Act::Send(Bytes::from_static(b"retry: 0\ndata: a\n\n")), Act::End];
    let mut stream = simulated(move |_| Answer::stream(acts.clone())).open();
    let begun = tokio::time::Instant::now();
    for _ in 0..50 {
        lost(&mut stream).await;
    }
    assert!(begun.elapsed() >= Duration::from_millis(4900), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn empty_answers_are_requested_less_and_less_often() {
    let mut stream = simulated(|_| Answer::stream(vec![Act::End])).open();
    let begun = tokio::time::Instant::now();
    for _ in 0..100 {
        lost(&mut stream).await;
    }
    // 3 s and on average half of 30 s each.
    assert!(begun.elapsed() >= Duration::from_secs(100 * 12), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_paused_for_hours_finds_its_stream_open() {
    let acts = vec![
        Act::Send(Bytes::from_static(b"data: a\n\n")),
        Act::Pause(Duration::from_secs(3600)),
        Act::Send(Bytes::from_static(b"data: b\n\n")),
    ];
    let mut stream = simulated(move |_| Answer::stream(acts.clone())).open();
    event(&mut stream).await;
    assert!(tokio::time::timeout(Duration::from_secs(1), stream.next()).await.is_err());
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let incoming = stream.next().await;
    assert!(matches!(incoming, Some(Incoming::Event(_))), "{incoming:?}");
}

#[cfg(feature = "rustls")]
mod tls {
    use std::sync::Arc;

    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::rustls::ServerConfig;
    use tokio_rustls::rustls::pki_types::PrivateKeyDer;

    use super::*;

    #[tokio::test]
    async fn an_untrusted_certificate_closes_the_stream_with_a_reason() {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut stream = eager(format!("https://localhost:{port}/")).open();
        let serve = async {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                assert!(acceptor.accept(socket).await.is_err());
            }
        };
        let reason = tokio::select! {
            reason = closed(&mut stream) => reason,
            () = serve => unreachable!(),
        };
        assert!(matches!(&reason, CloseReason::Failed(ConnectError::Transport(_))), "{reason:?}");
        assert!(reason.to_string().contains("certificate"), "{reason}");
    }

    #[tokio::test]
    async fn a_trusted_certificate_is_accepted() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let certificate = reqwest::Certificate::from_der(made.cert.der()).unwrap();
        let client = reqwest::Client::builder()
            .tls_certs_only([certificate])
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        let mut stream = eager(format!("https://localhost:{port}/")).client(client).open();
        let serve = async {
            let (socket, _) = listener.accept().await.unwrap();
            let mut socket = acceptor.accept(socket).await.unwrap();
            let mut head = [0; 1024];
            assert!(socket.read(&mut head).await.unwrap() > 0);
            let answer = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: a\n\n";
            socket.write_all(answer.as_bytes()).await.unwrap();
            socket.flush().await.unwrap();
            socket
        };
        let (event, _socket) = tokio::join!(event(&mut stream), serve);
        assert_eq!(event.data(), "a");
    }

    #[tokio::test]
    async fn a_server_without_tls_closes_the_stream_with_a_reason() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut stream = eager(format!("https://127.0.0.1:{port}/")).open();
        let serve = async {
            use tokio::io::AsyncWriteExt as _;
            let (mut socket, _) = listener.accept().await.unwrap();
            socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
            std::future::pending::<()>().await;
        };
        let reason = tokio::select! {
            reason = closed(&mut stream) => reason,
            () = serve => unreachable!(),
        };
        assert!(matches!(&reason, CloseReason::Failed(ConnectError::Transport(_))), "{reason:?}");
    }
}
