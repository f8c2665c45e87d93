//! Requests that never end, in their heads and in their bodies.

use super::peers::Flood;
use super::{Trial, scaled};

/// A head of 62 KB without its end: as many bytes and fields as a head may have.
fn head(target: &str) -> Vec<u8> {
    let mut head = format!("GET {target} HTTP/1.1\r\nhost: localhost\r\n").into_bytes();
    for number in 0..95 {
        head.extend(format!("x-{number:02}: {}\r\n", "x".repeat(645)).bytes());
    }
    head
}

/// A request with a body of 1 MiB, of which the last byte is missing.
fn request(method: &str) -> Vec<u8> {
    let head = format!(
        "{method} /.well-known/mercure HTTP/1.1\r\nhost: localhost\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n",
        1 << 20
    );
    let mut request = head.into_bytes();
    request.extend(b"topic=a&data=");
    let end = request.len() + (1 << 20) - b"topic=a&data=".len() - 1;
    request.resize(end, b'x');
    request
}

#[test]
fn heads_that_never_end_take_a_bounded_memory() {
    let count = scaled(4000, 9500);
    Trial::new("heads")
        .run(|hub| Flood::send(hub, count, 16, &head("/.well-known/mercure?topic=a")));
}

#[test]
fn connections_that_stay_open_after_large_heads_take_a_bounded_memory() {
    let count = scaled(2000, 6000);
    let whole = [&head("/healthz")[..], b"\r\n"].concat();
    Trial::new("connections after heads").run(|hub| Flood::send(hub, count, 16, &whole));
}

#[test]
fn bodies_that_never_end_take_a_bounded_memory() {
    let count = scaled(400, 1500);
    Trial::new("bodies").run(|hub| Flood::send(hub, count, 16, &request("POST")));
}

#[test]
fn bodies_of_queries_that_never_end_take_a_bounded_memory() {
    let count = scaled(400, 1500);
    Trial::new("query bodies").run(|hub| Flood::send(hub, count, 16, &request("QUERY")));
}

#[cfg(feature = "tls")]
mod http_2 {
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use bytes::Bytes;
    use http_body::{Body, Frame};
    use reqwest::Method;
    use tokio::runtime::{Builder, Runtime};
    use tokio::task::JoinSet;

    use crate::attack::peers::{Trust, attacker};
    use crate::attack::{Trial, pause, scaled};
    use crate::https::Certificate;
    use crate::hub::Hub;

    /// Requests of one connection: as many as the hub allows by default.
    const REQUESTS: usize = 256;

    /// A body that is sent as the hub's windows allow. Its last byte is never sent.
    struct Endless {
        left: usize,
    }

    impl Body for Endless {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            static FILLER: [u8; 16 << 10] = [b'x'; 16 << 10];
            if self.left == 0 {
                return Poll::Pending;
            }
            let size = self.left.min(FILLER.len());
            self.left -= size;
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&FILLER[..size])))))
        }
    }

    /// Connections with requests in progress. Dropping it ends them.
    struct Requests {
        _tasks: JoinSet<()>,
        _clients: Vec<reqwest::Client>,
        _runtime: Runtime,
    }

    fn send(hub: &Hub, method: &str, connections: usize) -> Requests {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime can be made");
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let mut tasks = JoinSet::new();
        let client = |number| {
            let builder =
                reqwest::Client::builder().no_proxy().tls_danger_accept_invalid_certs(true);
            let builder = builder.local_address(std::net::IpAddr::V4(attacker(number, 16)));
            builder.build().expect("a client can be made")
        };
        let clients: Vec<_> = (0..connections).map(client).collect();
        let url = format!("https://{}/.well-known/mercure", hub.address);
        for client in &clients {
            // The first opens the connection that all others share.
            let opened = runtime.block_on(client.get(format!("{url}/nothing")).send());
            let opened = opened.map(|answer| answer.version());
            assert_eq!(opened.ok(), Some(reqwest::Version::HTTP_2));
            for _ in 0..REQUESTS {
                let request = client
                    .request(method.clone(), &url)
                    .header("content-type", "application/x-www-form-urlencoded")
                    .header("content-length", 1 << 20)
                    .body(reqwest::Body::wrap(Endless { left: (1 << 20) - 1 }));
                // The attack continues, whatever the answer is.
                tasks.spawn_on(async { drop(request.send().await) }, runtime.handle());
            }
        }
        pause(std::time::Duration::from_secs(scaled(3, 10)));
        Requests { _tasks: tasks, _clients: clients, _runtime: runtime }
    }

    fn check(name: &str, method: &str) {
        let certificate = Certificate::new();
        let (cert, key) = (certificate.cert(), certificate.key());
        let trial = Trial {
            flags: &["--tls-cert", &cert, "--tls-key", &key],
            trust: Trust::of(Some(&certificate)),
            ..Trial::new(name)
        };
        trial.run(|hub| send(hub, method, scaled(4, 16)));
    }

    #[test]
    fn bodies_that_never_end_take_a_bounded_memory_over_http_2_too() {
        check("bodies over HTTP/2", "POST");
    }

    #[test]
    fn bodies_of_queries_take_a_bounded_memory_over_http_2_too() {
        check("query bodies over HTTP/2", "QUERY");
    }
}
