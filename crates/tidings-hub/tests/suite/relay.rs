//! A relay between a hub and a NATS server, which carries nothing while it is told so, or loses
//! what is published to one subject.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::nats::Nats;

/// What a relay carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carrying {
    All,
    /// Nothing, and connections stay: as a cable that was pulled out.
    Nothing,
    /// All but what the hub publishes to this subject.
    AllBut(&'static str),
}

/// Dropped, it ends with all connections through it.
pub(crate) struct Relay {
    address: SocketAddr,
    carrying: watch::Sender<Carrying>,
    lost: Arc<AtomicUsize>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Relay {
    /// A relay to the only server.
    pub(crate) async fn to(nats: &Nats) -> Self {
        let url = nats.url();
        let server: SocketAddr =
            url.strip_prefix("nats://").expect("a URL").parse().expect("one address");
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (carrying, is_carrying) = watch::channel(Carrying::All);
        let lost = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&lost);
        let accepting = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.expect("the relay accepts");
                let Ok(server) = TcpStream::connect(server).await else { continue };
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                let counted = Arc::clone(&counted);
                tokio::spawn(requests(from_client, to_server, is_carrying.clone(), counted));
                tokio::spawn(answers(from_server, to_client, is_carrying.clone()));
            }
        });
        Self { address, carrying, lost, accepting }
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    pub(crate) fn stop(&self) {
        self.carrying.send_replace(Carrying::Nothing);
    }

    pub(crate) fn go_on(&self) {
        self.carrying.send_replace(Carrying::All);
    }

    pub(crate) fn lose(&self, subject: &'static str) {
        self.carrying.send_replace(Carrying::AllBut(subject));
    }

    /// How many messages it has lost.
    pub(crate) fn lost(&self) -> usize {
        self.lost.load(Ordering::Relaxed)
    }
}

/// Waits until something is carried. `None` if the relay has ended.
async fn wait(carrying: &mut watch::Receiver<Carrying>) -> Option<Carrying> {
    carrying.wait_for(|one| *one != Carrying::Nothing).await.ok().map(|one| *one)
}

/// Carries what the server sends.
async fn answers(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut carrying: watch::Receiver<Carrying>,
) {
    let mut bytes = vec![0; 64 << 10];
    while let Ok(count) = from.read(&mut bytes).await
        && count > 0
        && wait(&mut carrying).await.is_some()
        && to.write_all(&bytes[..count]).await.is_ok()
    {}
}

/// Carries what the client sends, one message after the other.
async fn requests(
    from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut carrying: watch::Receiver<Carrying>,
    lost: Arc<AtomicUsize>,
) {
    let mut from = BufReader::new(from);
    loop {
        let mut message = Vec::new();
        match from.read_until(b'\n', &mut message).await {
            Ok(count) if count > 0 => {}
            _ => return,
        }
        let line = String::from_utf8_lossy(&message).into_owned();
        let words: Vec<_> = line.split_whitespace().collect();
        let is_published = matches!(words.first(), Some(&("PUB" | "HPUB")));
        if is_published {
            let bytes: usize = words[words.len() - 1].parse().expect("a length");
            let head = message.len();
            message.resize(head + bytes + 2, 0);
            if from.read_exact(&mut message[head..]).await.is_err() {
                return;
            }
        }
        let Some(now) = wait(&mut carrying).await else { return };
        let is_lost = match now {
            Carrying::AllBut(subject) => is_published && words.get(1) == Some(&subject),
            _ => false,
        };
        if is_lost {
            lost.fetch_add(1, Ordering::Relaxed);
        } else if to.write_all(&message).await.is_err() {
            return;
        }
    }
}
