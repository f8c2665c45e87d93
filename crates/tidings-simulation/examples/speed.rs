//! Measures the simulation: `cargo run --release -p tidings-simulation --example speed`.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use tidings_hub::{Access, Hub, MemoryJournal, Retention, simulation};
use tidings_simulation::network::Network;
use tidings_simulation::{run, settle};
use tokio::task::spawn_local;

const HUBS: u32 = 1_000;
const PUBLISHES: u32 = 20_000;
const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

async fn start(network: &Network) -> Hub {
    let hub = Hub::builder()
        .shards(2)
        .journal(MemoryJournal::new(Retention::default()))
        .access(Access::development());
    let hub = hub.build().await.expect("a hub in memory starts");
    let serving = tidings_hub::serve(network.listener(), hub.clone(), axum::Router::new());
    spawn_local(async move { serving.await.expect("the listener works") });
    settle().await;
    hub
}

fn main() {
    let measure = |name: &str, count: u32, work: &dyn Fn()| {
        let begun = Instant::now();
        work();
        println!("{name}: {:?}", begun.elapsed() / count);
    };
    measure("a run with a hub, to its end", HUBS, &|| {
        for seed in 0..HUBS {
            run(seed.into(), async || {
                start(&Network::new()).await;
            });
        }
    });
    measure("a hub, from its start to its crash", HUBS, &|| {
        run(0, async || {
            let network = Network::new();
            for _ in 0..HUBS {
                let hub = start(&network).await;
                simulation::crash().await;
                drop(hub);
            }
        });
    });
    for subscribers in [0, 10] {
        for new in [false, true] {
            let name = format!("a publish, new connection {new}, {subscribers} subscribers");
            measure(&name, PUBLISHES, &|| publish(subscribers, new));
        }
    }
}

/// Publishes over one connection, or over a new one for each update.
fn publish(subscribers: usize, new: bool) {
    let request =
        b"POST /.well-known/mercure HTTP/1.1\r\nhost: localhost\r\ncontent-length: 14\r\n\
        content-type: application/x-www-form-urlencoded\r\n\r\ntopic=a&data=x";
    run(0, async || {
        let network = Network::new();
        let hub = start(&network).await;
        let streams: Vec<_> = (0..subscribers).map(|_| network.connect(LOCAL)).collect();
        for stream in &streams {
            stream.say(b"GET /.well-known/mercure?topic=a HTTP/1.1\r\nhost: localhost\r\n\r\n");
        }
        settle().await;
        assert_eq!(hub.subscribers(), subscribers);
        let mut connection = network.connect(LOCAL);
        for _ in 0..PUBLISHES {
            if new {
                connection = network.connect(LOCAL);
            }
            connection.say(request);
            settle().await;
            assert!(connection.received(usize::MAX).starts_with(b"HTTP/1.1 200 "));
            for stream in &streams {
                assert!(!stream.received(usize::MAX).is_empty());
            }
        }
    });
}
