//! Hubs that cannot read what other hubs have revoked, while all else works, and revocations that
//! are lost.

use futures_util::FutureExt as _;
use serde_json::json;
use tidings_hub::{Health as _, NatsJournal, Update};
use tidings_sse::Event;

use crate::client::{HUB, Request, Seen, Stream};
use crate::jetstream::{copy, on, options, stop};
use crate::jetstream_apart::{guarded, publish, reads, revoke, status, token};
use crate::jetstream_settings::{config, set};
use crate::nats::Nats;
use crate::relay::Relay;
use crate::server::{Server, becomes};

/// A live stream gets an update before so many heartbeats.
const HEARTBEATS: usize = 50;

const UNKNOWN: &str = "cannot read other hubs' revocations";

/// A subscriber that reconnects whenever its stream ends, as its client would.
struct Subscriber<'a> {
    server: &'a Server,
    topics: &'static str,
    token: Option<String>,
    stream: Stream,
    last_id: Option<String>,
    data: Vec<String>,
}

impl<'a> Subscriber<'a> {
    async fn new(server: &'a Server, topics: &'static str, token: Option<String>) -> Self {
        let stream = server.open(request(topics, token.as_deref(), None)).await;
        Self { server, topics, token, stream, last_id: None, data: Vec::new() }
    }

    async fn come_back(&mut self) {
        let request = request(self.topics, self.token.as_deref(), self.last_id.as_deref());
        self.stream = self.server.open(request).await;
    }

    /// Takes what comes next.
    async fn next(&mut self) -> Seen {
        let seen = self.stream.next().await;
        if let Seen::Event(event) = &seen {
            assert_eq!(event.event_type, "message", "{event:?}");
            self.last_id = Some(event.id().to_owned());
            self.data.push(event.data.clone());
        }
        seen
    }

    /// Reads until it has had exactly this, in this order.
    async fn until(&mut self, data: &[&str]) {
        while self.data.len() < data.len() {
            if self.next().await == Seen::End {
                self.come_back().await;
            }
            assert_eq!(self.data, data[..self.data.len()]);
        }
    }

    /// The same without an end of its stream, and without having to wait for long.
    async fn until_live(&mut self, data: &[&str]) {
        let mut heartbeats = 0;
        while self.data.len() < data.len() {
            match self.hear().await {
                Heard::Heartbeat => heartbeats += 1,
                Heard::End => panic!("the stream ended after {:?}", self.data),
                Heard::Other => {}
            }
            assert!(heartbeats < HEARTBEATS, "{:?} came, and then only heartbeats", self.data);
            assert_eq!(self.data, data[..self.data.len()]);
        }
    }

    /// Takes what comes next, and tells heartbeats that come now from those that had come before.
    async fn hear(&mut self) -> Heard {
        let (seen, is_new) = match self.next().now_or_never() {
            Some(seen) => (seen, false),
            None => (self.next().await, true),
        };
        match seen {
            Seen::Comment if is_new => Heard::Heartbeat,
            Seen::End => Heard::End,
            _ => Heard::Other,
        }
    }
}

enum Heard {
    Heartbeat,
    End,
    Other,
}

fn request(topics: &str, token: Option<&str>, last_id: Option<&str>) -> Request {
    let request = Request::get(&format!("{HUB}?{topics}&lastEventID=earliest"));
    let request = match last_id {
        Some(id) => request.header("last-event-id", id),
        None => request,
    };
    match token {
        Some(token) => request.bearer(token),
        None => request,
    }
}

/// Publishes at a hub that takes no tokens now.
async fn tell(server: &Server, topic: &str, data: &str) {
    let update = Update::new(topic, Event::new(data));
    let update = if topic == "x" { update.private() } else { update };
    server.hub.publish(update).await.expect("NATS takes it");
}

/// Waits until a hub is ready, or is not because it cannot read the revocations. Returns its
/// answer.
async fn becomes_ready(server: &Server, is_ready: bool) -> String {
    let status = if is_ready { 200 } else { 503 };
    becomes("the status of /readyz", status, async || server.get("/readyz").await.status()).await;
    server.get("/readyz").await.text().to_owned()
}

#[test]
fn a_hub_that_cannot_read_revocations_delivers_public_updates_and_no_private_ones_by_token() {
    on(Nats::one(), async |nats| {
        let relay = Relay::to(&nats).await;
        let near = guarded(options(&nats)).await;
        let behind = options(&nats).servers(vec![relay.url()]);
        let far = guarded(behind).await;
        let both = "topic=x&topic=p";
        let mut public = Subscriber::new(&far, "topic=p", None).await;
        let mut other = Subscriber::new(&far, both, Some(token("other"))).await;
        let mut revoked = Subscriber::new(&far, both, Some(token("revoked"))).await;
        publish(&near, "topic=p&data=0").await;
        publish(&near, "topic=x&data=1&private=on").await;
        public.until_live(&["0"]).await;
        other.until_live(&["0", "1"]).await;
        revoked.until_live(&["0", "1"]).await;

        relay.lose("$JS.API.STREAM.INFO.TIDINGS_REVOKED");
        let reason = becomes_ready(&far, false).await;
        assert!(reason.contains(UNKNOWN) && reason.contains("no answer within"), "{reason}");
        assert_eq!(far.metric("tidings_journal_available").await, 0.0);
        far.metric_becomes("tidings_journal_interruptions_total", 1.0).await;
        let (code, text) = revoke(&near, "revoked").await;
        assert_eq!(code, 503, "{text}");
        for form in ["topic=p&data=2", "topic=x&data=3&private=on", "topic=p&data=4"] {
            publish(&near, form).await;
        }
        public.until_live(&["0", "2", "4"]).await;
        // A stream by whose token the private update is due waits for a while, and ends.
        for one in [&mut other, &mut revoked] {
            while one.next().await != Seen::End {}
            assert!(one.data == ["0", "1"] || one.data == ["0", "1", "2"], "{:?}", one.data);
        }
        far.metric_becomes("tidings_streams_closed_total{reason=\"unconfirmed\"}", 2.0).await;
        // Neither of them, nor a new stream, gets a private update when it reconnects.
        for one in [&mut other, &mut revoked] {
            one.come_back().await;
            while one.next().await != Seen::End {}
            assert!(!one.data.contains(&"3".to_owned()), "{:?}", one.data);
        }
        assert!(!reads(&far, &token("other")).await);
        publish(&near, "topic=p&data=5").await;
        public.until_live(&["0", "2", "4", "5"]).await;

        relay.go_on();
        becomes_ready(&far, true).await;
        becomes("the status of the revocation", 204, async || revoke(&near, "revoked").await.0)
            .await;
        assert_eq!(status(&far, &token("revoked")).await, 401);
        publish(&near, "topic=x&data=6&private=on").await;
        publish(&near, "topic=p&data=7").await;
        other.until(&["0", "1", "2", "3", "4", "5", "6", "7"]).await;
        public.until_live(&["0", "2", "4", "5", "7"]).await;
        stop(&[&near, &far]).await;
    });
}

#[test]
fn without_the_stream_of_revocations_public_updates_continue_and_private_ones_follow_later() {
    on(Nats::one(), async |nats| {
        let (one, two) = (guarded(options(&nats)).await, guarded(options(&nats)).await);
        assert_eq!(revoke(&one, "revoked").await.0, 204);
        let both = "topic=x&topic=p";
        let mut public = Subscriber::new(&one, "topic=p", None).await;
        let mut private = Subscriber::new(&one, both, Some(token("a"))).await;
        let mut elsewhere = Subscriber::new(&two, both, Some(token("b"))).await;

        // Hubs recreate the stream, unless another one has its subjects.
        let taken = json!({ "name": "OTHER", "subjects": ["tidings.TIDINGS.revoked.>"] });
        loop {
            nats.api("STREAM.DELETE.TIDINGS_REVOKED", "");
            if nats.api("STREAM.CREATE.OTHER", &taken.to_string())["error"].is_null() {
                break;
            }
        }
        for server in [&one, &two] {
            let reason = becomes_ready(server, false).await;
            assert!(reason.contains(UNKNOWN) && reason.contains("overlap"), "{reason}");
        }
        let order = [("p", "0"), ("x", "1"), ("p", "2"), ("x", "3"), ("p", "4")];
        for (topic, data) in order {
            tell(&one, topic, data).await;
        }
        public.until_live(&["0", "2", "4"]).await;
        for subscriber in [&mut private, &mut elsewhere] {
            let mut heartbeats = 0;
            while heartbeats < 3 {
                match subscriber.hear().await {
                    Heard::Heartbeat => heartbeats += 1,
                    Heard::End => break,
                    Heard::Other => {}
                }
            }
            assert!(
                subscriber.data.is_empty() || subscriber.data == ["0"],
                "{:?}",
                subscriber.data
            );
        }

        nats.api("STREAM.DELETE.OTHER", "");
        for server in [&one, &two] {
            becomes_ready(server, true).await;
            assert_eq!(status(server, &token("revoked")).await, 401);
        }
        // What was revoked before stands in the new stream too, for hubs that start.
        holds(&nats, 1).await;
        let three = guarded(options(&nats)).await;
        assert_eq!(status(&three, &token("revoked")).await, 401);
        publish(&two, "topic=x&data=5&private=on").await;
        publish(&two, "topic=p&data=6").await;
        for subscriber in [&mut private, &mut elsewhere] {
            subscriber.until(&["0", "1", "2", "3", "4", "5", "6"]).await;
        }
        public.until_live(&["0", "2", "4", "6"]).await;
        stop(&[&one, &two, &three]).await;
    });
}

#[test]
fn a_new_stream_of_revocations_is_read_though_a_hub_cannot_write_the_earlier_ones_again() {
    on(Nats::one(), async |nats| {
        let relay = Relay::to(&nats).await;
        let near = guarded(options(&nats)).await;
        let behind = options(&nats).servers(vec![relay.url()]);
        let far = guarded(behind).await;
        let revoked = async |id: &str| {
            becomes("the status of the revocation", 204, async || revoke(&near, id).await.0).await;
            assert_eq!(status(&far, &token(id)).await, 401, "{id}");
        };
        revoked("first").await;
        let stored = nats.api("STREAM.MSG.GET.TIDINGS_REVOKED", r#"{"seq":1}"#);
        let subject = stored["message"]["subject"].as_str().expect("a subject").to_owned();
        relay.lose(subject.leak());
        nats.api("STREAM.DELETE.TIDINGS_REVOKED", "");
        revoked("second").await;
        stop(&[&near, &far]).await;
    });
}

/// Waits until the stream has a message for each of so many revocations.
async fn holds(nats: &Nats, count: u64) {
    let held = async || {
        let info = nats.api("STREAM.INFO.TIDINGS_REVOKED", "");
        info["state"]["messages"].as_u64()
    };
    becomes("the revocations in the stream", Some(count), held).await;
}

/// Starts a hub, which has to refuse these tokens and no other one.
async fn a_later_hub_refuses(nats: &Nats, ids: &[&str]) {
    let later = guarded(options(nats)).await;
    for id in ids {
        assert_eq!(status(&later, &token(id)).await, 401, "{id}");
    }
    assert_eq!(status(&later, &token("never")).await, 200);
    stop(&[&later]).await;
}

#[test]
fn a_revocation_that_its_stream_would_not_keep_is_503_and_none_is_forgotten() {
    on(Nats::one(), async |nats| {
        let one = guarded(options(&nats)).await;
        assert_eq!(revoke(&one, "first").await.0, 204);
        let good = config(&nats, "TIDINGS_REVOKED");
        let changes = [
            ("max_msgs", json!({ "max_msgs": 1 })),
            ("max_age", json!({ "max_age": 1_000_000_000, "duplicate_window": 1_000_000_000 })),
        ];
        for (name, change) in changes {
            let mut bad = good.clone();
            for (name, value) in change.as_object().expect("settings") {
                bad[name] = value.clone();
            }
            set(&nats, "UPDATE", &bad);
            // At once, before the hub has looked at the stream.
            let (code, text) = revoke(&one, "second").await;
            assert_eq!(code, 503, "{name}: {text}");
            assert!(text.contains(name), "{name}: {text}");
            if name == "max_age" {
                holds(&nats, 0).await;
            }
            set(&nats, "UPDATE", &good);
            // What was lost meanwhile is written again.
            holds(&nats, 2).await;
            a_later_hub_refuses(&nats, &["first", "second"]).await;
            becomes("the status of the revocation", 204, async || revoke(&one, "second").await.0)
                .await;
        }
        stop(&[&one]).await;
    });
}

#[test]
fn revocations_that_are_deleted_from_their_stream_are_written_again() {
    on(Nats::one(), async |nats| {
        let (one, two) = (guarded(options(&nats)).await, guarded(options(&nats)).await);
        let ids = ["first", "second", "third"];
        for id in ids {
            becomes("the status of the revocation", 204, async || revoke(&one, id).await.0).await;
        }
        let last = || {
            let info = nats.api("STREAM.INFO.TIDINGS_REVOKED", "");
            info["state"]["last_seq"].as_u64().expect("a sequence")
        };
        type Loss<'a> = (&'a str, &'a dyn Fn() -> serde_json::Value);
        let losses: [Loss<'_>; 3] = [
            ("STREAM.PURGE.TIDINGS_REVOKED", &|| json!({})),
            ("STREAM.PURGE.TIDINGS_REVOKED", &|| json!({ "keep": 1 })),
            ("STREAM.MSG.DELETE.TIDINGS_REVOKED", &|| json!({ "seq": last() })),
        ];
        for (call, body) in losses {
            let before = last();
            let body = body().to_string();
            let lost = nats.api(call, &body);
            assert_eq!(lost["success"], true, "{lost}");
            becomes("whether any was written again", true, async || last() > before).await;
            holds(&nats, 3).await;
            a_later_hub_refuses(&nats, &ids).await;
        }
        // They hold up no other revocation.
        becomes("the status of the revocation", 204, async || revoke(&two, "fourth").await.0).await;
        stop(&[&one, &two]).await;
    });
}

#[test]
fn revocations_are_rewritten_even_if_as_many_other_messages_arrived() {
    on(Nats::one(), async |nats| {
        let one = guarded(options(&nats)).await;
        let ids = ["first", "second", "third"];
        for id in ids {
            assert_eq!(revoke(&one, id).await.0, 204);
        }
        let client = async_nats::connect(nats.url()).await.unwrap();
        let jetstream = async_nats::jetstream::new(client);
        let publish = async |subject: &str| {
            let stored = jetstream.publish(subject.to_owned(), "x".into()).await.unwrap();
            stored.await.unwrap();
        };
        let subjects = [1, 2, 3].map(|sequence| {
            let body = json!({ "seq": sequence }).to_string();
            let stored = nats.api("STREAM.MSG.GET.TIDINGS_REVOKED", &body);
            stored["message"]["subject"].as_str().expect("a subject").to_owned()
        });

        for name in ["a", "b", "c"] {
            publish(&format!("tidings.TIDINGS.revoked.{name}")).await;
        }
        for sequence in [1, 2, 3] {
            let body = json!({ "seq": sequence }).to_string();
            let deleted = nats.api("STREAM.MSG.DELETE.TIDINGS_REVOKED", &body);
            assert_eq!(deleted["success"], true, "{deleted}");
        }
        holds(&nats, 6).await;
        a_later_hub_refuses(&nats, &ids).await;

        // Other messages take the places of the revocations.
        for subject in &subjects {
            publish(subject).await;
        }
        for subject in &subjects {
            let is_revocation = async || {
                let body = json!({ "last_by_subj": subject }).to_string();
                let stored = nats.api("STREAM.MSG.GET.TIDINGS_REVOKED", &body);
                stored["message"]["data"] != "eA=="
            };
            becomes("whether it is a revocation again", true, is_revocation).await;
        }
        a_later_hub_refuses(&nats, &ids).await;
        stop(&[&one]).await;
    });
}

#[test]
fn a_token_that_is_revoked_after_the_stream_lost_its_newest_messages_is_refused_at_every_hub() {
    on(Nats::one(), async |mut nats| {
        let (one, two) = (guarded(options(&nats)).await, guarded(options(&nats)).await);
        nats.stop(0);
        let saved = nats.store(0).with_extension("saved");
        copy(&nats.store(0), &saved);
        nats.start(0);
        // Hubs write none of these again, so the places after them stay free.
        let client = async_nats::connect(nats.url()).await.unwrap();
        let jetstream = async_nats::jetstream::new(client);
        for number in 0..8 {
            let subject = format!("tidings.TIDINGS.revoked.{number}");
            jetstream.publish(subject, "x".into()).await.unwrap().await.unwrap();
        }
        let revoked = async |id: &str| {
            becomes("the status of the revocation", 204, async || revoke(&one, id).await.0).await;
            assert_eq!(status(&two, &token(id)).await, 401, "{id}");
        };
        revoked("lost").await;
        // The server restarts with its earlier state.
        nats.kill(0);
        std::fs::remove_dir_all(nats.store(0)).unwrap();
        copy(&saved, &nats.store(0));
        nats.start(0);
        revoked("new").await;
        assert_eq!(status(&two, &token("lost")).await, 401);
        holds(&nats, 2).await;
        a_later_hub_refuses(&nats, &["lost", "new"]).await;
        stop(&[&one, &two]).await;
    });
}

#[test]
fn an_invalid_message_counts_once_however_often_it_is_read() {
    on(Nats::one(), async |nats| {
        drop(NatsJournal::open(options(&nats)).await.unwrap());
        let client = async_nats::connect(nats.url()).await.unwrap();
        let jetstream = async_nats::jetstream::new(client);
        for subject in ["updates", "updates", "revoked.0", "revoked.1"] {
            let subject = format!("tidings.TIDINGS.{subject}");
            jetstream.publish(subject, "x".into()).await.unwrap().await.unwrap();
        }
        // Whether the last place has a message is asked in a request of its own.
        nats.api("STREAM.MSG.DELETE.TIDINGS_REVOKED", r#"{"seq":2}"#);
        let relay = Relay::to(&nats).await;
        relay.lose("$JS.API.STREAM.MSG.GET.TIDINGS_REVOKED");
        let behind = options(&nats).servers(vec![relay.url()]);
        let (journal, ()) = tokio::join!(NatsJournal::open(behind), async {
            becomes("whether it was read twice", true, async || relay.lost() >= 2).await;
            relay.go_on();
        });
        // Two updates and one revocation.
        assert_eq!(journal.unwrap().strangers(), 3);
    });
}
