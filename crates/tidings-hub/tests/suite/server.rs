//! A hub on a port of its own, once for each way in.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tidings_hub::{Access, Hub, HubBuilder};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::client::{Answer, Connection, HUB, Request, Stream, encoded};
#[cfg(feature = "tls")]
use crate::secure::Secure;

/// Longest time that a test may take on one lane, on a busy machine too.
pub(crate) const TEST_TIME: Duration = Duration::from_secs(300);
/// Longest time until something becomes true.
const PATIENCE: Duration = Duration::from_secs(60);

/// How the hub is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// By [`tidings_hub::serve`].
    Direct,
    /// As a router in an embedder's axum service.
    Body,
    /// By `serve_tls`, to a client of HTTP/1.1.
    #[cfg(feature = "tls")]
    Tls,
    /// By `serve_tls`, to a client of HTTP/2.
    #[cfg(feature = "tls")]
    Http2,
}

impl Lane {
    const ALL: &[Self] = &[
        Self::Direct,
        Self::Body,
        #[cfg(feature = "tls")]
        Self::Tls,
        #[cfg(feature = "tls")]
        Self::Http2,
    ];
}

/// A hub that is served.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) hub: Hub,
    pub(crate) lane: Lane,
    pub(crate) address: SocketAddr,
    #[cfg(feature = "tls")]
    pub(crate) secure: Secure,
}

/// A hub for development, with clock and metrics, on two shards.
pub(crate) fn open() -> HubBuilder {
    Hub::builder().shards(2).access(Access::development()).page(true).demo(true).admin(true)
}

pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Runs `test` against a hub on the direct lane, then against others on every other way in.
pub(crate) fn on_both_lanes(build: impl Fn() -> HubBuilder, test: impl AsyncFn(&Server)) {
    for &lane in Lane::ALL {
        // Shown where the test fails.
        println!("on the lane {lane:?}:");
        runtime().block_on(async {
            let server = Server::start(lane, build()).await;
            tokio::time::timeout(TEST_TIME, test(&server)).await.expect("the test ends in time");
            server.hub.stop().await;
        });
    }
}

impl Server {
    pub(crate) async fn start(lane: Lane, builder: HubBuilder) -> Self {
        Self::start_before(lane, builder, axum::Router::new()).await
    }

    /// The same, with a service that gets what the hub does not know.
    pub(crate) async fn start_before(
        lane: Lane,
        builder: HubBuilder,
        fallback: axum::Router,
    ) -> Self {
        let hub = builder.build().await.expect("the system has threads");
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = tidings_hub::listen(any).expect("the system has a port");
        let address = listener.local_addr().expect("a bound socket has an address");
        #[cfg(feature = "tls")]
        let secure = Secure::new();
        match lane {
            #[cfg(feature = "tls")]
            Lane::Tls | Lane::Http2 => {
                let (hub, tls) = (hub.clone(), secure.tls.clone());
                tokio::spawn(async move {
                    let serve = tidings_hub::serve_tls(listener, hub, fallback, &tls);
                    serve.await.expect("the listener can be used");
                });
            }
            Lane::Direct => {
                let serve = tidings_hub::serve(listener, hub.clone(), fallback);
                tokio::spawn(async move { serve.await.expect("the listener can be used") });
            }
            Lane::Body => {
                listener.set_nonblocking(true).expect("a socket of ours");
                let listener = TcpListener::from_std(listener).expect("a socket of ours");
                let router = hub.router().fallback_service(fallback);
                tokio::spawn(async move { axum::serve(listener, router).await });
            }
        }
        Self {
            hub,
            lane,
            address,
            #[cfg(feature = "tls")]
            secure,
        }
    }

    /// Whether what a test says in HTTP/1.1 reaches the hub as it was said.
    pub(crate) fn speaks_http_1(&self) -> bool {
        match self.lane {
            #[cfg(feature = "tls")]
            Lane::Http2 => false,
            _ => true,
        }
    }

    /// The scheme of the hub's URLs.
    pub(crate) fn scheme(&self) -> &'static str {
        match self.lane {
            Lane::Direct | Lane::Body => "http",
            #[cfg(feature = "tls")]
            Lane::Tls | Lane::Http2 => "https",
        }
    }

    pub(crate) async fn connect(&self) -> Connection {
        match self.lane {
            Lane::Direct | Lane::Body => Connection::open(self.address).await,
            #[cfg(feature = "tls")]
            Lane::Tls => self.secure.http_1(self.address).await,
            #[cfg(feature = "tls")]
            Lane::Http2 => self.secure.http_2(self.address).await,
        }
    }

    /// Asks on a connection of its own.
    pub(crate) async fn ask(&self, request: Request) -> Answer {
        self.connect().await.ask(&request).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(Request::get(path)).await
    }

    /// Publishes a form; gives its id.
    pub(crate) async fn publish(&self, form: &str) -> String {
        self.ask(Request::form(form)).await.id()
    }

    /// Publishes `data` about `topic`; gives its id.
    pub(crate) async fn tell(&self, topic: &str, data: &str) -> String {
        self.publish(&format!("topic={}&data={}", encoded(topic), encoded(data))).await
    }

    /// Opens a stream.
    pub(crate) async fn open(&self, request: Request) -> Stream {
        let mut connection = self.connect().await;
        connection.send(&request).await;
        let stream = connection.stream().await;
        assert_eq!(stream.head.status, 200, "{request:?}");
        stream
    }

    /// Opens a stream of what this query asks for.
    pub(crate) async fn subscribe(&self, query: &str) -> Stream {
        self.open(Request::get(&format!("{HUB}?{query}"))).await
    }

    /// Opens a stream for this query that continues after `id`.
    pub(crate) async fn resume(&self, query: &str, id: impl AsRef<[u8]>) -> Stream {
        self.open(Request::get(&format!("{HUB}?{query}")).header("last-event-id", id)).await
    }

    /// The value of a metric, 0 where it has not been counted yet.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        value(self.get("/metrics").await.text(), name)
    }

    /// Asks for a metric until it has this value.
    pub(crate) async fn metric_becomes(&self, name: &str, value: f64) {
        becomes(name, value, async || self.metric(name).await).await;
    }

    /// Waits until the hub has so many streams.
    pub(crate) async fn streams_become(&self, count: usize) {
        becomes("the number of streams", count, async || self.hub.subscribers()).await;
    }

    /// Waits until the journal has dropped all before this position: it keeps what a shard
    /// has still to take.
    pub(crate) async fn journal_begins_at(&self, position: u32) {
        self.metric_becomes("tidings_journal_first_position", position.into()).await;
    }

    /// The label that metrics have for this lane.
    pub(crate) fn lane_label(&self) -> &'static str {
        match self.lane {
            Lane::Direct => "direct",
            _ => "body",
        }
    }
}

/// Asks until the answer is `value`.
pub(crate) async fn becomes<T>(what: &str, value: T, ask: impl AsyncFn() -> T)
where
    T: Copy + PartialEq + std::fmt::Debug,
{
    let mut last = None;
    let reached = async {
        while last != Some(value) {
            tokio::task::yield_now().await;
            last = Some(ask().await);
        }
    };
    if tokio::time::timeout(PATIENCE, reached).await.is_err() {
        panic!("{what}: {last:?} does not become {value:?}");
    }
}

/// A metric's value in what `/metrics` answers; zero if it is not there.
pub(crate) fn value(metrics: &str, name: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().expect("a number"))
}
