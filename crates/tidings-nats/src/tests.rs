//! The journal on a real server.

mod cost;
mod failure;
#[path = "../../tidings-hub/tests/nats/mod.rs"]
mod nats;

use std::time::Duration;

use nats::Nats;

use crate::options::NatsOptions;

/// How long a test may take: a machine may be busy.
const TEST_TIME: Duration = Duration::from_secs(300);

/// Runs `test` on a server.
fn on_a_server(test: impl AsyncFnOnce(&Nats)) {
    let nats = Nats::one();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        tokio::time::timeout(TEST_TIME, test(&nats)).await.expect("the test ends in time");
    });
}

/// The options of a journal on this server.
fn options(nats: &Nats, stream: &str) -> NatsOptions {
    NatsOptions::of_servers([nats.url()]).stream(stream.to_owned())
}
