//! Hubs that are cut off from each other, or are sent what no hub sends.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use serde_json::json;
use tidings_hub::{NatsJournal, NatsOptions};

use crate::client::{HUB, Request, Seen};
use crate::jetstream::{builder, heartbeats, hub, on, options, stop};
use crate::nats::Nats;
use crate::relay::Relay;
use crate::server::{Lane, Server, becomes};
use crate::token::{SUBSCRIBER_SECRET, access, deployed, publisher};

pub(crate) async fn guarded(options: NatsOptions) -> Server {
    Server::start(Lane::Direct, builder(options, access()).await).await
}

/// A subscriber's token with this id.
pub(crate) fn token(id: &str) -> String {
    let claims = json!({ "jti": id, "mercure": { "subscribe": ["*"] } });
    deployed(&claims, SUBSCRIBER_SECRET)
}

fn earliest(token: &str) -> Request {
    Request::get(&format!("{HUB}?topic=x&lastEventID=earliest")).bearer(token)
}

pub(crate) async fn publish(server: &Server, form: &str) {
    let answer = server.ask(Request::form(form).bearer(&publisher(&["*"]))).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
}

/// The status of a token's revocation, and what is said of it.
pub(crate) async fn revoke(server: &Server, id: &str) -> (u16, String) {
    let request = Request::new("DELETE", &format!("{HUB}/tokens/{id}")).bearer(&publisher(&["*"]));
    let answer = server.ask(request).await;
    (answer.status(), answer.text().to_owned())
}

/// The status with which a token is met.
pub(crate) async fn status(server: &Server, token: &str) -> u16 {
    let mut connection = server.connect().await;
    connection.send(&earliest(token)).await;
    connection.head().await.status
}

/// Whether a stream of this token gets an event, before it ends or a few heartbeats have come.
pub(crate) async fn reads(server: &Server, token: &str) -> bool {
    let mut stream = server.open(earliest(token)).await;
    let mut heartbeats = 0;
    while heartbeats < 5 {
        match stream.next().await {
            Seen::Event(_) => return true,
            Seen::End => return false,
            Seen::Comment => heartbeats += 1,
            Seen::Retry(_) => {}
        }
    }
    false
}

#[test]
fn a_hub_that_is_cut_off_accepts_no_tokens_and_sends_no_private_update_to_a_revoked_one() {
    on(Nats::one(), async |nats| {
        let relay = Relay::to(&nats).await;
        let near = guarded(options(&nats)).await;
        let behind = options(&nats).servers(vec![relay.url()]);
        let far = guarded(behind).await;
        let (revoked, other) = (token("revoked"), token("other"));
        publish(&near, "topic=x&data=secret&private=on").await;
        publish(&near, "topic=p&data=public").await;
        let mut live = [far.open(earliest(&revoked)).await, far.open(earliest(&other)).await];
        for stream in &mut live {
            assert_eq!(stream.event().await.data, "secret");
        }
        relay.stop();
        // The hub behind the relay cannot know of it.
        let (code, text) = revoke(&near, "revoked").await;
        assert_eq!(code, 503, "{text}");
        assert!(text.contains("has not confirmed"), "{text}");
        assert_eq!(status(&near, &revoked).await, 401);
        becomes("whether the far hub gives what is private", false, async || {
            reads(&far, &revoked).await || reads(&far, &other).await
        })
        .await;
        let ready = far.get("/readyz").await;
        assert_eq!(ready.status(), 503, "{}", ready.text());
        // What is public is given from memory.
        let mut public = far.subscribe("topic=p&lastEventID=earliest").await;
        assert_eq!(public.event().await.data, "public");
        publish(&near, "topic=x&data=later&private=on").await;
        // Nobody is taken for revoked, or for not revoked, before the far hub has read all.
        relay.go_on();
        let ended = live[0].rest().await;
        let told: Vec<_> = ended.iter().map(|event| event.data.as_str()).collect();
        assert!(told.iter().all(|data| data.contains("\"revoked\"")), "{told:?}");
        assert_eq!(live[1].data(1).await, ["later"]);
        becomes("the status of the revocation", 204, async || revoke(&near, "revoked").await.0)
            .await;
        assert_eq!(status(&far, &revoked).await, 401);
        assert!(reads(&far, &other).await);
        stop(&[&near, &far]).await;
    });
}

#[test]
fn a_revocation_answered_204_applies_at_every_hub_that_has_not_left() {
    on(Nats::one(), async |nats| {
        let (one, two) = (guarded(options(&nats)).await, guarded(options(&nats)).await);
        publish(&one, "topic=x&data=secret&private=on").await;
        for round in 0..20 {
            let id = format!("token-{round}");
            assert_eq!(status(&two, &token(&id)).await, 200);
            // On a busy machine the other hub may take longer than it is waited for.
            becomes("the status of the revocation", 204, async || revoke(&one, &id).await.0).await;
            assert_eq!(status(&two, &token(&id)).await, 401, "{round}");
        }
        // One that ends says so, and is not waited for.
        stop(&[&two]).await;
        drop(two);
        let begun = Instant::now();
        becomes("the status of the revocation", 204, async || revoke(&one, "next").await.0).await;
        // One that was killed is waited for until it has been silent for 30 s.
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        stop(&[&one]).await;
    });
}

#[test]
fn a_revocation_is_503_while_nats_is_unreachable() {
    on(Nats::one(), async |mut nats| {
        let options = options(&nats).publish_wait(Duration::from_millis(300));
        let one = guarded(options).await;
        nats.kill(0);
        let (code, text) = revoke(&one, "a").await;
        assert_eq!(code, 503, "{text}");
        assert_eq!(status(&one, &token("a")).await, 401);
        stop(&[&one]).await;
    });
}

#[test]
fn a_token_may_end_later_than_nats_can_count() {
    on(Nats::one(), async |nats| {
        let (one, two) = (guarded(options(&nats)).await, guarded(options(&nats)).await);
        let claims = json!({
            "jti": "late", "exp": 1_u64 << 40, "mercure": { "subscribe": ["*"] },
        });
        let late = deployed(&claims, SUBSCRIBER_SECRET);
        let mut stream = one.open(earliest(&late)).await;
        let list = one.ask(Request::get(&format!("{HUB}/subscriptions")).bearer(&token("r"))).await;
        let list = list.json();
        let path = list["subscriptions"][0]["id"].as_str().expect("it is listed").to_owned();
        let end = Request::new("DELETE", &path).bearer(&publisher(&["*"]));
        let answer = two.ask(end).await;
        assert_eq!(answer.status(), 204, "{}", answer.text());
        stream.rest().await;
        assert_eq!(status(&two, &late).await, 401);
        stop(&[&one, &two]).await;
    });
}

#[test]
fn hubs_greet_each_other_while_jetstream_is_slow() {
    on(Nats::one(), async |nats| {
        let relay = Relay::to(&nats).await;
        let behind = options(&nats).servers(vec![relay.url()]);
        let far = hub(behind).await;
        let client = async_nats::connect(nats.url()).await.unwrap();
        let mut greetings = client.subscribe("tidings.TIDINGS.nodes.hello").await.unwrap();
        greetings.next().await.unwrap();
        // Each look at the revocations now takes as long as any request may.
        relay.lose("$JS.API.STREAM.INFO.TIDINGS_REVOKED");
        let begun = Instant::now();
        for _ in 0..10 {
            greetings.next().await.unwrap();
        }
        // One each half second. With one for each look it would be twice as long.
        assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
        stop(&[&far]).await;
    });
}

/// Streams that wait for a read which NATS does not answer: more than a shard reads for at a time.
const SLOW: usize = 200;

#[test]
fn reads_that_nats_does_not_answer_hold_up_no_stream_that_memory_serves() {
    on(Nats::one(), async |nats| {
        let relay = Relay::to(&nats).await;
        let behind = options(&nats).servers(vec![relay.url()]);
        let far = hub(behind).await;
        // More than a hub has in memory.
        for _ in 0..20 {
            far.publish(&format!("topic=a&data={}", "x".repeat(900_000))).await;
        }
        let mut ids = Vec::new();
        for data in ["1", "2", "3"] {
            ids.push(far.tell("a", data).await);
        }
        relay.lose("$JS.API.DIRECT.GET.TIDINGS");
        let mut slow = Vec::new();
        for index in 0..SLOW {
            let cursor = if index % 10 == 0 { "tidings:last" } else { "earliest" };
            slow.push(far.subscribe(&format!("topic=a&lastEventID={cursor}")).await);
        }
        let lost = relay.lost();
        for _ in 0..4 {
            assert_eq!(far.resume("topic=a", &ids[0]).await.data(2).await, ["2", "3"]);
        }
        // Eight requests stand at a time, each for two seconds. All in turn would be hundreds.
        assert!(relay.lost() < lost + SLOW / 4, "{} after {lost}", relay.lost());
        // Those that wait are sent heartbeats.
        heartbeats(&mut slow[0], 2).await;
        heartbeats(&mut slow[SLOW - 1], 2).await;
        slow.truncate(2);
        relay.go_on();
        assert_eq!(slow[0].data(1).await, ["3"]);
        assert_eq!(slow[1].data(1).await[0].len(), 900_000);
        stop(&[&far]).await;
    });
}

#[test]
fn messages_that_no_hub_sends_end_no_hub_and_are_counted() {
    on(Nats::one(), async |nats| {
        let one = guarded(options(&nats)).await;
        let client = async_nats::connect(nats.url()).await.unwrap();
        let jetstream = async_nats::jetstream::new(client.clone());
        let send = async |subject: &str, payload: &str| {
            let subject = format!("tidings.TIDINGS.{subject}");
            jetstream.publish(subject, payload.to_owned().into()).await.unwrap().await.unwrap();
        };
        send("revoked.0", r#"{"token":"jti:a","expires":18446744073709551615}"#).await;
        send("revoked.1", r#"{"token":"jti:b","expires":9223372036854775808}"#).await;
        send("revoked.2", "no JSON").await;
        send("revoked.3", r#"{"token":"whatever","expires":null}"#).await;
        let head = r#"{"nonce":"1","topics":["a"],"publish":{"fingerprint":0,"count":18446744073709551615}}"#;
        send("updates", &format!("{head}\nx")).await;
        client.publish("tidings.TIDINGS.nodes.hello", "x".into()).await.unwrap();
        client.flush().await.unwrap();
        one.metric_becomes("tidings_journal_strangers_total", 6.0).await;
        let (code, text) = revoke(&one, "c").await;
        assert_eq!(code, 204, "{text}");
        // One that starts then, too.
        let two = guarded(options(&nats)).await;
        two.metric_becomes("tidings_journal_strangers_total", 5.0).await;
        assert_eq!(status(&two, &token("c")).await, 401);
        for server in [&one, &two] {
            publish(server, "topic=x&data=1").await;
            assert_eq!(status(server, &token("d")).await, 200);
            assert_eq!(server.get("/healthz").await.status(), 200);
        }
        stop(&[&one, &two]).await;
    });
}

#[test]
fn a_message_of_others_under_a_keys_name_does_not_keep_the_key_from_being_used() {
    on(Nats::one(), async |nats| {
        let one = hub(options(&nats)).await;
        let keyed = |data: &str| {
            Request::form(&format!("topic=a&data={data}")).header("idempotency-key", "k")
        };
        assert_eq!(one.ask(keyed("1")).await.status(), 200);
        let client = async_nats::connect(nats.url()).await.unwrap();
        let jetstream = async_nats::jetstream::new(client);
        let stream = jetstream.get_stream("TIDINGS").await.unwrap();
        let subject = stream.get_raw_message(1).await.unwrap().subject.to_string();
        assert!(subject.len() > "tidings.TIDINGS.updates.".len(), "{subject}");
        jetstream.publish(subject, "of others".into()).await.unwrap().await.unwrap();
        assert_eq!(one.ask(keyed("2")).await.status(), 200);
        stop(&[&one]).await;
    });
}

#[test]
fn a_wait_that_no_clock_can_count_is_refused() {
    on(Nats::one(), async |nats| {
        for options in
            [options(&nats).publish_wait(Duration::MAX), options(&nats).start_wait(Duration::MAX)]
        {
            let error = NatsJournal::open(options).await.unwrap_err().to_string();
            assert!(error.contains("at most 31622400 s"), "{error}");
        }
    });
}
