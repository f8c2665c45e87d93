//! A hub on a simulated network, and clients of it.

use std::net::IpAddr;

use tidings_hub::{Access, Hub, HubBuilder, MemoryJournal, Retention};
use tidings_simulation::network::{BodyService, ClientEnd, Network};
use tidings_simulation::settle;
use tokio::task::{JoinHandle, spawn_local};

pub(crate) const HUB: &str = "/.well-known/mercure";

/// A hub with two shards and a journal in memory, on both lanes.
pub(crate) struct Server {
    pub(crate) hub: Hub,
    direct: Network,
    bodies: Network,
    /// Ends when the hub does.
    pub(crate) serving: JoinHandle<()>,
    _bodies: BodyService,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    Direct,
    Body,
}

impl Lane {
    pub(crate) const ALL: [Self; 2] = [Self::Direct, Self::Body];
}

pub(crate) fn builder() -> HubBuilder {
    Hub::builder()
        .shards(2)
        .journal(MemoryJournal::new(Retention::default()))
        .access(Access::development())
}

impl Server {
    pub(crate) async fn start() -> Self {
        let hub = builder().build().await.unwrap();
        let (direct, bodies) = (Network::new(), Network::new());
        let serving = tidings_hub::serve(direct.listener(), hub.clone(), axum::Router::new());
        let serving = spawn_local(async move { serving.await.unwrap() });
        let service = bodies.serve_bodies(hub.router());
        Self { hub, direct, bodies, serving, _bodies: service }
    }

    pub(crate) fn connect(&self, lane: Lane) -> Client {
        let address = IpAddr::from([127, 0, 0, 1]);
        let end = match lane {
            Lane::Direct => self.direct.connect(address),
            Lane::Body => self.bodies.connect(address),
        };
        Client { end, all: Vec::new() }
    }

    /// Publishes, and returns the id.
    pub(crate) async fn publish(&self, topic: &str, data: &str) -> String {
        let mut client = self.connect(Lane::Direct);
        let answer = client.ask(&publish(topic, data)).await;
        let (head, id) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        id.to_owned()
    }

    pub(crate) async fn subscribe(&self, lane: Lane, topic: &str) -> Client {
        let mut client = self.connect(lane);
        let head = client.ask(&subscribe(topic)).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        client
    }
}

pub(crate) fn publish(topic: &str, data: &str) -> String {
    let body = format!("topic={topic}&data={data}");
    let length = body.len();
    format!(
        "POST {HUB} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\
         content-type: application/x-www-form-urlencoded\r\n\r\n{body}"
    )
}

pub(crate) fn subscribe(topic: &str) -> String {
    format!("GET {HUB}?topic={topic} HTTP/1.1\r\nhost: localhost\r\n\r\n")
}

/// A client, and all that it has received.
pub(crate) struct Client {
    pub(crate) end: ClientEnd,
    pub(crate) all: Vec<u8>,
}

impl Client {
    /// Sends a request, and returns what arrives before time must pass.
    pub(crate) async fn ask(&mut self, request: &str) -> String {
        self.end.say(request.as_bytes());
        self.read().await
    }

    /// What arrives before time must pass.
    pub(crate) async fn read(&mut self) -> String {
        settle().await;
        let received = self.end.received(usize::MAX);
        self.all.extend_from_slice(&received);
        String::from_utf8(received).unwrap()
    }
}
