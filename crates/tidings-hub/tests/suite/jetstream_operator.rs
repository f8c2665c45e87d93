//! The operator's page of hubs that share a stream: the other hubs, and a journal that is
//! unreachable.

use serde_json::Value;

use crate::client::{Request, Stream};
use crate::jetstream::{builder, on, options, stop};
use crate::nats::Nats;
use crate::server::{Lane, Server};
use crate::token::{access, publisher};

async fn hub(nats: &Nats) -> Server {
    Server::start(Lane::Direct, builder(options(nats), access()).await).await
}

async fn reading_with(stream: &mut Stream, wanted: impl Fn(&Value) -> bool) -> Value {
    loop {
        let data = stream.event().await.data;
        let reading: Value = serde_json::from_str(&data).expect("a reading is JSON");
        if wanted(&reading) {
            return reading;
        }
    }
}

#[test]
fn the_page_names_the_other_hubs() {
    on(Nats::one(), async |nats| {
        let (one, two) = (hub(&nats).await, hub(&nats).await);
        let others = |reading: &Value| reading["hubs"]["others"].as_array().map_or(0, Vec::len);
        let mut at_one = one.open(Request::get("/operator/events")).await;
        let mut at_two = two.open(Request::get("/operator/events")).await;
        let seen = reading_with(&mut at_one, |reading| others(reading) == 1).await;
        let other = reading_with(&mut at_two, |reading| others(reading) == 1).await;
        assert_eq!(seen["hubs"]["others"][0]["name"], other["hubs"]["own"]);
        assert_eq!(other["hubs"]["others"][0]["name"], seen["hubs"]["own"]);
        // Updates of either are in the journal of both.
        let request = Request::form("topic=a&data=x").bearer(&publisher(&["*"]));
        one.ask(request).await.id();
        let seen = reading_with(&mut at_two, |reading| reading["journal"]["last"] == 1).await;
        assert!(seen["journal"]["trouble"].is_null());
        reading_with(&mut at_two, |reading| reading["journal"]["oldest"].is_u64()).await;
        stop(&[&one, &two]).await;
    });
}

#[test]
fn the_page_says_why_the_journal_is_unreachable_and_goes_on() {
    on(Nats::one(), async |mut nats| {
        let one = hub(&nats).await;
        let mut page = one.open(Request::get("/operator/events")).await;
        reading_with(&mut page, |reading| reading["status"]["isReady"] == true).await;
        nats.kill(0);
        let seen =
            reading_with(&mut page, |reading| reading["journal"]["trouble"].is_string()).await;
        assert_eq!(seen["status"]["isReady"], false);
        nats.start(0);
        reading_with(&mut page, |reading| reading["status"]["isReady"] == true).await;
        stop(&[&one]).await;
    });
}
