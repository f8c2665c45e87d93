//! One seed gives the same bytes on every connection.

use std::time::Duration;

use tidings_simulation::{pass, run};

use crate::client::{Lane, Server, publish};

/// A run with random acts. Returns what each connection received.
fn bytes_of(seed: u64) -> Vec<Vec<u8>> {
    run(seed, async || {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut server = Server::start().await;
        let mut clients = Vec::new();
        let mut ended = Vec::new();
        for _ in 0..200 {
            match random.u8(..12) {
                0 => {
                    let lane = random.choice(Lane::ALL).unwrap();
                    let topic = random.choice(["a", "b", "%7Bx%7D", "a/%7Bx%7D", "*"]).unwrap();
                    clients.push(server.subscribe(lane, topic).await);
                }
                1..=5 => {
                    let mut client = server.connect(random.choice(Lane::ALL).unwrap());
                    let topic = random.choice(["a", "b", "a/1", "a/2"]).unwrap();
                    client.end.send(publish(topic, &"x".repeat(random.usize(..500))).as_bytes());
                    while client.end.unsent() > 0 {
                        client.end.deliver(random.usize(1..200));
                        client.read().await;
                    }
                    ended.push(client.all);
                }
                6..=8 => {
                    for client in &mut clients {
                        client.read().await;
                        client.end.set_room(random.usize(..1000));
                    }
                }
                9 if !clients.is_empty() => {
                    let client = clients.swap_remove(random.usize(..clients.len()));
                    if random.bool() {
                        client.end.reset();
                    }
                    ended.push(client.all);
                }
                10 if random.u8(..8) == 0 => {
                    tidings_hub::simulation::crash().await;
                    ended.extend(clients.drain(..).map(|client| client.all));
                    server = Server::start().await;
                }
                _ => pass(Duration::from_millis(random.u64(..10_000))).await,
            }
        }
        server.hub.drain(Duration::from_secs(1)).await;
        for client in &mut clients {
            client.read().await;
        }
        ended.extend(clients.into_iter().map(|client| client.all));
        ended
    })
}

#[test]
fn one_seed_gives_the_same_bytes_on_every_connection() {
    let mut distinct = std::collections::BTreeSet::new();
    for seed in 0..20 {
        let bytes = bytes_of(seed);
        assert!(bytes.len() > 20, "seed {seed}");
        assert_eq!(bytes, bytes_of(seed), "seed {seed}");
        distinct.insert(bytes);
    }
    assert_eq!(distinct.len(), 20);
}
