//! Streams and logins that break what a hub promises: refused at the start, noticed later.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidings_hub::{NatsError, NatsJournal, NatsRetention};

use crate::client::Request;
use crate::jetstream::{hub, on, options, stop};
use crate::nats::{Nats, Settings};
use crate::server::{Server, becomes};

/// The settings of a stream that a hub has made.
pub(crate) fn config(nats: &Nats, stream: &str) -> Value {
    nats.api(&format!("STREAM.INFO.{stream}"), "")["config"].clone()
}

/// Makes, or changes, a stream.
pub(crate) fn set(nats: &Nats, call: &str, config: &Value) {
    let name = config["name"].as_str().expect("a name");
    let mut last = Value::Null;
    for _ in 0..1000 {
        last = nats.api(&format!("STREAM.{call}.{name}"), &config.to_string());
        // The server may still be removing the folder of another stream of that name.
        if last["error"]["err_code"] != 10049 {
            break;
        }
    }
    assert!(last["error"].is_null(), "{last} for {config}");
}

#[test]
fn a_stream_whose_settings_break_a_promise_is_refused_with_the_setting() {
    on(Nats::one(), async |nats| {
        drop(NatsJournal::open(options(&nats)).await.unwrap());
        let (updates, revoked) = (config(&nats, "TIDINGS"), config(&nats, "TIDINGS_REVOKED"));
        let updates_differ = [
            (
                json!({ "max_msg_size": 100 }),
                "max_msg_size is 100, but must be -1, or 8192 or more",
            ),
            (json!({ "max_consumers": 1 }), "max_consumers is 1, but must be -1"),
            (
                json!({ "republish": { "src": "", "dest": "copies.>" } }),
                "republish copies every message to \"copies.>\", private ones too",
            ),
            (json!({ "allow_rollup_hdrs": true }), "allow_rollup_hdrs is true, but must be false"),
            (json!({ "no_ack": true }), "no_ack is true, but must be false"),
            (json!({ "discard": "new" }), "discard is \"new\", but must be \"old\""),
            (json!({ "max_msgs_per_subject": 5 }), "max_msgs_per_subject is 5, but must be -1"),
            (
                json!({ "storage": "memory", "max_bytes": 1_000_000 }),
                "storage is \"memory\", but must be \"file\"",
            ),
            (
                json!({ "subject_transform": { "src": ">", "dest": "other.>" } }),
                "subject_transform is true, but must be false",
            ),
            (json!({ "sources": [{ "name": "OTHER" }] }), "sources is true, but must be false"),
            (
                json!({ "consumer_limits": { "inactive_threshold": 1_000_000_000_u64 } }),
                "consumer_limits.inactive_threshold is \"1s\", but must be 0s, or 30s or more",
            ),
            (json!({ "duplicate_window": 1_000_000_000_u64 }), "duplicate_window is 1s"),
            (json!({ "max_bytes": 100 }), "max_bytes is 100, but must be -1, or 8448 or more"),
            (
                json!({ "max_age": 200_000_000, "duplicate_window": 200_000_000 }),
                "max_age is \"0.2s\", but must be 0s, or 1s or more",
            ),
            (
                json!({ "first_seq": u64::MAX - 10 }),
                "its last sequence is 18446744073709551604, but must be below 9007199254740991",
            ),
        ];
        let revoked_differ = [
            (json!({ "max_age": 3_600_000_000_000_u64 }), "max_age is \"3600s\", but must be 0s"),
            (json!({ "max_msgs": 10 }), "max_msgs is 10, but must be 100000 or more"),
            (json!({ "max_bytes": 1000 }), "max_bytes is 1000, but must be -1"),
            (json!({ "storage": "memory" }), "storage is \"memory\", but must be \"file\""),
            (json!({ "allow_msg_ttl": false }), "allow_msg_ttl is false, but must be true"),
            (json!({ "republish": { "src": "", "dest": "copies.>" } }), "republish copies every"),
        ];
        let refused = async |stream: &str, wanted: &Value, change: &Value, says: &str| {
            for name in ["TIDINGS", "TIDINGS_REVOKED"] {
                nats.api(&format!("STREAM.DELETE.{name}"), "");
            }
            let mut wanted = wanted.clone();
            for (name, value) in change.as_object().expect("settings") {
                wanted[name] = value.clone();
            }
            set(&nats, "CREATE", &wanted);
            let error = NatsJournal::open(options(&nats)).await.unwrap_err();
            assert!(matches!(&error, NatsError::Stream { name, .. } if name == stream), "{error}");
            let words = error.to_string();
            assert!(words.contains(says), "{says:?} is not said, but: {words}");
        };
        set(&nats, "CREATE", &json!({ "name": "OTHER", "subjects": ["x"], "storage": "memory" }));
        for (change, says) in &updates_differ {
            refused("TIDINGS", &updates, change, says).await;
        }
        for (change, says) in &revoked_differ {
            refused("TIDINGS_REVOKED", &revoked, change, says).await;
        }
    });
}

#[test]
fn a_streams_limit_of_messages_is_the_limit_of_updates() {
    on(Nats::one(), async |nats| {
        drop(NatsJournal::open(options(&nats)).await.unwrap());
        let mut changed = config(&nats, "TIDINGS");
        changed["max_msg_size"] = json!(10_000);
        set(&nats, "UPDATE", &changed);
        let journal = NatsJournal::open(options(&nats)).await.unwrap();
        let max = tidings_hub::Log::update_bytes_max(&journal).unwrap();
        assert!((8000..10_000).contains(&max), "{max}");
        drop(journal);
        let one = hub(options(&nats)).await;
        let refused = one.ask(Request::form(&format!("topic=a&data={}", "x".repeat(10_000)))).await;
        assert_eq!(refused.status(), 413, "{}", refused.text());
        assert!(refused.text().contains("10000"), "{}", refused.text());
        one.tell("a", &"x".repeat(8000)).await;
        stop(&[&one]).await;
    });
}

#[test]
fn options_for_a_stream_without_room_are_refused_and_create_none() {
    on(Nats::one(), async |nats| {
        let bytes = NatsRetention::default().bytes(Some(100));
        let age = Some(Duration::from_millis(10));
        let age = NatsRetention::default().age(age);
        for (retention, says) in [(bytes, "max_bytes is 100"), (age, "max_age is \"0.01s\"")] {
            let error = NatsJournal::open(options(&nats).retention(retention)).await.unwrap_err();
            assert!(matches!(&error, NatsError::Setting { .. }), "{error}");
            assert!(error.to_string().contains(says), "{error}");
            let made = nats.api("STREAM.INFO.TIDINGS", "");
            assert_eq!(made["error"]["err_code"], 10059, "{made}");
        }
    });
}

#[test]
fn an_update_is_at_most_as_large_as_the_whole_stream() {
    on(Nats::one(), async |nats| {
        drop(NatsJournal::open(options(&nats)).await.unwrap());
        let mut changed = config(&nats, "TIDINGS");
        changed["max_bytes"] = json!(20_000);
        set(&nats, "UPDATE", &changed);
        let one = hub(options(&nats)).await;
        let mut stream = one.subscribe("topic=a").await;
        let (large, small) = ("x".repeat(20_000), "x".repeat(18_000));
        let refused = one.ask(Request::form(&format!("topic=a&data={large}"))).await;
        assert_eq!(refused.status(), 413, "{}", refused.text());
        one.tell("a", &small).await;
        assert_eq!(stream.data(1).await, [small]);
        stop(&[&one]).await;
    });
}

/// Publishes, and is refused at once, with this word. Then the hub is not ready.
async fn is_refused_at_once(server: &Server, data: &str, says: &str) {
    publish_is_refused(server, data, says).await;
    let ready = server.get("/readyz").await;
    assert_eq!(ready.status(), 503, "{}", ready.text());
    assert!(ready.text().contains(says), "{}", ready.text());
}

/// Publishes, and is refused with this word, long before publishes have waited for their time.
async fn publish_is_refused(server: &Server, data: &str, says: &str) {
    let begun = Instant::now();
    let refused = server.ask(Request::form(&format!("topic=a&data={data}"))).await;
    let took = begun.elapsed();
    assert_eq!(refused.status(), 503, "{}", refused.text());
    assert!(refused.text().contains(says), "{}", refused.text());
    // Publishes wait for 8 s.
    assert!(took < Duration::from_secs(6), "it took {took:?}");
}

#[test]
fn a_stream_that_becomes_too_small_for_an_update_refuses_at_once_and_hubs_are_not_ready() {
    on(Nats::one(), async |nats| {
        let one = hub(options(&nats)).await;
        one.tell("a", "1").await;
        let good = config(&nats, "TIDINGS");
        for (name, value) in [("max_bytes", json!(100)), ("max_age", json!(100_000_000))] {
            let mut bad = good.clone();
            bad[name] = value;
            if name == "max_age" {
                bad["duplicate_window"] = bad[name].clone();
            }
            set(&nats, "UPDATE", &bad);
            if name == "max_bytes" {
                // JetStream acknowledges it, and drops it, before the hub has looked.
                publish_is_refused(&one, "x", name).await;
            }
            let ready = async || one.get("/readyz").await.status();
            becomes("the status of /readyz", 503, ready).await;
            is_refused_at_once(&one, "x", name).await;
            set(&nats, "UPDATE", &good);
            becomes("the status of /readyz", 200, ready).await;
            one.tell("a", "2").await;
        }
        stop(&[&one]).await;
    });
}

#[test]
fn a_stream_that_is_sealed_while_hubs_run_refuses_at_once_and_they_are_not_ready() {
    on(Nats::one(), async |nats| {
        let one = hub(options(&nats)).await;
        one.tell("a", "1").await;
        let mut sealed = config(&nats, "TIDINGS");
        sealed["sealed"] = json!(true);
        set(&nats, "UPDATE", &sealed);
        becomes("whether it is ready", false, async || one.get("/readyz").await.status() == 200)
            .await;
        is_refused_at_once(&one, "x", "sealed").await;
        stop(&[&one]).await;
    });
}

#[test]
fn a_stream_that_is_changed_and_changed_back_is_used_again() {
    on(Nats::one(), async |nats| {
        let one = hub(options(&nats)).await;
        one.tell("a", "1").await;
        let good = config(&nats, "TIDINGS");
        let mut bad = good.clone();
        bad["republish"] = json!({ "src": ">", "dest": "copies.>" });
        set(&nats, "UPDATE", &bad);
        becomes("whether it is ready", false, async || one.get("/readyz").await.status() == 200)
            .await;
        is_refused_at_once(&one, "x", "republish").await;
        set(&nats, "UPDATE", &good);
        becomes("whether it is ready", true, async || one.get("/readyz").await.status() == 200)
            .await;
        one.tell("a", "2").await;
        stop(&[&one]).await;
    });
}

#[test]
fn a_server_without_room_refuses_at_once_and_the_hub_is_not_ready() {
    let settings = Settings {
        server: "accounts { A { jetstream { max_file: 100K }, users: [{ user: a, password: b }] } }",
        ..Settings::default()
    };
    on(Nats::one_with(settings), async |nats| {
        let url = nats.url().replace("://", "://a:b@");
        let retention = NatsRetention::default()
            .count(Some(u64::MAX))
            .bytes(Some(u64::MAX))
            .age(Some(Duration::MAX));
        let one = hub(options(&nats).servers(vec![url]).retention(retention)).await;
        let large = "x".repeat(20_000);
        let form = format!("topic=a&data={large}");
        let mut taken = 0;
        while one.ask(Request::form(&form)).await.status() == 200 {
            taken += 1;
            assert!(taken < 100, "it takes all");
        }
        is_refused_at_once(&one, &large, "resource").await;
        stop(&[&one]).await;
    });
}

#[test]
fn a_login_that_may_not_publish_is_refused_at_once_and_the_hub_is_not_ready() {
    let settings = Settings {
        server: "authorization { users: [{ user: a, password: b, permissions: { \
                 publish: { deny: [\"tidings.TIDINGS.updates\"] } } }] }",
        ..Settings::default()
    };
    on(Nats::one_with(settings), async |nats| {
        let url = nats.url().replace("://", "://a:b@");
        let one = hub(options(&nats).servers(vec![url])).await;
        is_refused_at_once(&one, "x", "ermissions").await;
        stop(&[&one]).await;
    });
}
