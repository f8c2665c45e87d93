//! Hubs on one stream of NATS JetStream, on real servers.

use std::time::{Duration, SystemTime};

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};
use tidings_hub::{
    Access, Hub, HubBuilder, IdempotencyKey, NatsError, NatsJournal, NatsOptions, NatsRetention,
    Selectors, Since, Update,
};
use tidings_sse::{Event, EventId};

use crate::client::{HUB, Request, Seen, Stream};
use crate::cursor::resume_among_many_of_one_id;
use crate::nats::{Nats, Settings};
use crate::server::{Lane, Server, TEST_TIME, becomes, runtime};
use crate::token::{access, publisher, subscriber};

/// Settings with which tests need not wait long.
pub(crate) fn options(nats: &Nats) -> NatsOptions {
    NatsOptions::of_servers(nats.url().split(','))
        .publish_wait(Duration::from_secs(8))
        .start_wait(Duration::from_secs(20))
}

pub(crate) async fn builder(options: NatsOptions, access: Access) -> HubBuilder {
    let journal = NatsJournal::open(options).await.expect("the stream can be used");
    Hub::builder()
        .shards(2)
        .heartbeat(Duration::from_millis(80))
        .access(access)
        .admin(true)
        .journal(journal)
}

pub(crate) async fn hub(options: NatsOptions) -> Server {
    Server::start(Lane::Direct, builder(options, Access::development()).await).await
}

pub(crate) fn on(nats: Nats, test: impl AsyncFnOnce(Nats)) {
    runtime().block_on(async {
        tokio::time::timeout(2 * TEST_TIME, test(nats)).await.expect("the test ends in time");
    });
}

pub(crate) async fn stop(hubs: &[&Server]) {
    for server in hubs {
        server.hub.stop().await;
    }
}

async fn data(subscription: &mut tidings_hub::Subscription, count: usize) -> Vec<String> {
    let mut data = Vec::new();
    while data.len() < count {
        let event = subscription.next().await.expect("the stream goes on");
        data.push(event.data().to_owned());
    }
    data
}

/// Waits for so many heartbeats; nothing else may come.
pub(crate) async fn heartbeats(stream: &mut Stream, count: usize) {
    let mut seen = 0;
    while seen < count {
        match stream.next().await {
            Seen::Comment => seen += 1,
            Seen::Retry(_) => {}
            other => panic!("{other:?} is no heartbeat"),
        }
    }
}

/// The next event's data that has this in it.
async fn until_data(stream: &mut Stream, text: &str) -> String {
    loop {
        let data = stream.event().await.data;
        if data.contains(text) {
            return data;
        }
    }
}

fn update(data: impl Into<String>) -> Update {
    Update::new("a", Event::new(data))
}

#[test]
fn an_update_published_at_one_hub_is_delivered_by_all_and_any_of_them_resumes() {
    on(Nats::one(), async |nats| {
        let (one, two) = (hub(options(&nats)).await, hub(options(&nats)).await);
        let mut streams = [one.subscribe("topic=a").await, two.subscribe("topic=a").await];
        let mut ids = Vec::new();
        for (index, server) in [&one, &two, &one].into_iter().enumerate() {
            ids.push(server.tell("a", &index.to_string()).await);
        }
        for stream in &mut streams {
            for (index, id) in ids.iter().enumerate() {
                let event = stream.event().await;
                assert_eq!((event.data.as_str(), event.id()), (&*index.to_string(), &**id));
            }
        }
        // A hub that comes later resumes from what it has never seen.
        let three = hub(options(&nats)).await;
        for server in [&one, &two, &three] {
            let mut stream = server.resume("topic=a", &ids[0]).await;
            assert_eq!(stream.cursor().as_deref(), Some(&*ids[0]));
            assert_eq!(stream.data(2).await, ["1", "2"]);
        }
        stop(&[&one, &two, &three]).await;
    });
}

#[test]
fn a_key_counts_once_for_all_hubs_and_a_batch_is_stored_whole_or_not_at_all() {
    on(Nats::one(), async |nats| {
        let (one, two) = (hub(options(&nats)).await, hub(options(&nats)).await);
        let body = "{\"topics\":[\"a\"],\"data\":\"1\"}\n{\"topics\":[\"a\"],\"data\":\"2\",\"id\":\"own\"}\n";
        let batch = || Request::ndjson(body).header("idempotency-key", "one, with a \"mark\"");
        let first = one.ask(batch()).await;
        assert_eq!(first.status(), 200, "{}", first.text());
        let again = two.ask(batch()).await;
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
        assert_eq!(first.text(), again.text());
        let other =
            Request::form("topic=a&data=3").header("idempotency-key", "one, with a \"mark\"");
        assert_eq!(two.ask(other).await.status(), 422);
        let single = || Request::form("topic=a&data=3").header("idempotency-key", "another");
        let (at_one, at_two) = tokio::join!(one.ask(single()), two.ask(single()));
        assert_eq!(at_one.id(), at_two.id());
        let mut stream = one.subscribe("topic=a&lastEventID=earliest").await;
        assert_eq!(stream.data(3).await, ["1", "2", "3"]);
        // As many as may be.
        let many: Vec<_> = (0..1000).map(|index| update(index.to_string())).collect();
        let ids = two.hub.publish_all(many.clone()).await.unwrap();
        assert_eq!(ids.len(), 1000);
        let mut resumed = one.resume("topic=a", ids[997].as_str()).await;
        assert_eq!(resumed.data(2).await, ["998", "999"]);
        let too_many = [many, vec![update("x")]].concat();
        let refused = two.hub.publish_all(too_many).await.unwrap_err().to_string();
        assert!(refused.contains("1001") && refused.contains("1000"), "{refused}");
        stop(&[&one, &two]).await;
    });
}

#[test]
fn a_repeated_batch_is_answered_with_its_own_ids_even_if_some_updates_were_deleted() {
    on(Nats::one(), async |nats| {
        let (one, two) = (hub(options(&nats)).await, hub(options(&nats)).await);
        let body: String =
            (1..=4).map(|index| format!("{{\"topics\":[\"a\"],\"data\":\"{index}\"}}\n")).collect();
        let ids = async |server: &Server| {
            let answer = server.ask(Request::ndjson(&body).header("idempotency-key", "k")).await;
            assert_eq!(answer.status(), 200, "{}", answer.text());
            answer.text().lines().map(str::to_owned).collect::<Vec<_>>()
        };
        let first = ids(&one).await;
        let place = |id: &str| id.rsplit_once('.').map(|(place, _)| place.to_owned());
        for gone in [2, 4] {
            nats.api("STREAM.MSG.DELETE.TIDINGS", &json!({ "seq": gone }).to_string());
        }
        // At the end of the stream, and with an update of others behind it.
        for _ in 0..2 {
            let again = ids(&two).await;
            assert_eq!(again.len(), 4);
            for (index, (id, was)) in again.iter().zip(&first).enumerate() {
                assert_eq!(place(id), place(was));
                assert_eq!(id == was, index % 2 == 0, "{again:?} after {first:?}");
            }
            one.tell("a", "of others").await;
        }
        stop(&[&one, &two]).await;
    });
}

#[test]
fn while_nats_is_unreachable_streams_wait_with_heartbeats_and_continue_afterwards() {
    on(Nats::one(), async |mut nats| {
        let short = options(&nats).publish_wait(Duration::from_millis(600));
        let (patient, hasty) = (hub(options(&nats)).await, hub(short).await);
        let id = patient.tell("a", "1").await;
        let mut live = hasty.subscribe("topic=a&lastEventID=earliest").await;
        assert_eq!(live.data(1).await, ["1"]);
        nats.kill(0);
        let away = async || hasty.get("/readyz").await.status() == 503;
        becomes("whether NATS is away", true, away).await;
        let ready = hasty.get("/readyz").await;
        assert!(ready.text().starts_with("journal: NATS has been unreachable"), "{}", ready.text());
        assert_eq!(hasty.get("/healthz").await.status(), 200);
        assert_eq!(hasty.metric("tidings_journal_available").await, 0.0);
        let refused = hasty.ask(Request::form("topic=a&data=never")).await;
        assert_eq!((refused.status(), refused.header("retry-after")), (503, Some("1")));
        // This place is only known to the stream: memory has none that is newer.
        let unknown = id.replace(".1.", ".3.");
        let mut resuming = hasty.resume("topic=a&tidings=notices", &unknown).await;
        assert_eq!(resuming.cursor(), None);
        heartbeats(&mut resuming, 3).await;
        // A new stream is told its place even now; below it is resumed from.
        assert_eq!(hasty.subscribe("topic=a&tidings=place").await.place().await, id);
        // It continues from memory even now.
        assert_eq!(patient.subscribe("topic=a&lastEventID=earliest").await.data(1).await, ["1"]);
        let waiting = patient.tell("a", "2");
        let back = async {
            heartbeats(&mut live, 2).await;
            nats.start(0);
        };
        tokio::join!(waiting, back);
        assert_eq!(live.data(1).await, ["2"]);
        assert_eq!(resuming.event().await.notice("reset")["asked"], json!(unknown));
        let mut resumed = hasty.resume("topic=a", &id).await;
        assert_eq!(resumed.data(1).await, ["2"]);
        becomes("whether NATS is away", false, away).await;
        hasty.metric_becomes("tidings_journal_available", 1.0).await;
        assert!(hasty.metric("tidings_journal_interruptions_total").await >= 1.0);
        stop(&[&patient, &hasty]).await;
    });
}

#[test]
fn updates_that_the_stream_trimmed_are_reported_and_kept_ones_replayed() {
    on(Nats::one(), async |nats| {
        let retention = NatsRetention::default().count(Some(10));
        let options = options(&nats).retention(retention);
        let one = hub(options.clone()).await;
        let quiet = one.tell("quiet", "q").await;
        let first = one.tell("a", "0").await;
        for index in 1..20 {
            one.tell("a", &index.to_string()).await;
        }
        one.journal_begins_at(12).await;
        // A hub that has seen every update, and one that has not.
        let two = hub(options).await;
        for server in [&one, &two] {
            let mut gap = server.resume("topic=a", &first).await;
            assert_eq!(gap.cursor().as_deref(), Some("earliest"));
            assert_eq!(gap.event().await.notice("gap")["asked"], json!(first));
            assert_eq!(gap.data(2).await, ["10", "11"]);
        }
        let silent = one.resume("topic=quiet", &quiet).await;
        assert_eq!(silent.cursor().as_deref(), Some(&*quiet), "nothing was missed");
        stop(&[&one, &two]).await;
    });
}

#[test]
fn a_stream_since_a_time_is_told_of_updates_that_were_trimmed_a_moment_ago() {
    on(Nats::one(), async |nats| {
        let retention = NatsRetention::default().count(Some(2));
        let server = hub(options(&nats).retention(retention)).await;
        for index in 0..5 {
            server.tell("a", &index.to_string()).await;
        }
        let since = "tidings:since:2026-01-01T00:00:00Z";
        let mut stream = server.resume("topic=a", since).await;
        assert_eq!(stream.cursor().as_deref(), Some("earliest"));
        assert_eq!(stream.event().await.notice("gap")["asked"], json!(since));
        assert_eq!(stream.data(2).await, ["3", "4"]);
        stop(&[&server]).await;
    });
}

#[test]
fn a_stream_since_a_time_is_told_of_updates_that_were_deleted_before_the_hub_read_them() {
    on(Nats::one(), async |nats| {
        let one = hub(options(&nats)).await;
        one.tell("a", "1").await;
        let since = DateTime::<Utc>::from(SystemTime::now());
        let since = format!("tidings:since:{}", since.to_rfc3339_opts(SecondsFormat::Nanos, true));
        one.tell("a", "2").await;
        one.tell("a", "3").await;
        nats.api("STREAM.MSG.DELETE.TIDINGS", "{\"seq\":2}");
        let two = hub(options(&nats)).await;
        let mut stream = two.resume("topic=a", &since).await;
        assert_eq!(stream.event().await.notice("gap")["asked"], json!(since));
        assert_eq!(stream.data(1).await, ["3"]);
        stop(&[&one, &two]).await;
    });
}

#[test]
fn however_many_others_have_an_id_a_subscriber_of_topics_finds_its_own() {
    on(Nats::one(), async |nats| {
        let one = hub(options(&nats)).await;
        resume_among_many_of_one_id(&one).await;
        stop(&[&one]).await;
    });
}

#[test]
fn a_purged_stream_has_a_gap_and_a_deleted_one_is_recreated() {
    on(Nats::one(), async |nats| {
        let one = hub(options(&nats)).await;
        let mut stream = one.subscribe("topic=a").await;
        let id = one.tell("a", "1").await;
        one.tell("a", "2").await;
        assert_eq!(stream.data(2).await, ["1", "2"]);
        nats.api("STREAM.PURGE.TIDINGS", "");
        one.journal_begins_at(3).await;
        one.tell("a", "3").await;
        assert_eq!(stream.data(1).await, ["3"], "who is live has missed nothing");
        let mut gap = one.resume("topic=a", &id).await;
        assert_eq!(gap.event().await.notice("gap")["asked"], json!(id));
        assert_eq!(gap.data(1).await, ["3"]);
        nats.api("STREAM.DELETE.TIDINGS", "");
        // All clients reconnect, and are told of a reset.
        stream.rest().await;
        let mut reset = one.resume("topic=a", &id).await;
        assert_eq!(reset.event().await.notice("reset")["asked"], json!(id));
        let anew = one.tell("a", "4").await;
        assert_eq!(reset.data(1).await, ["4"]);
        assert!(anew.contains(".1."), "{anew}");
        stop(&[&one]).await;
    });
}

#[test]
fn updates_that_were_deleted_from_the_stream_are_a_gap_and_the_rest_is_delivered() {
    on(Nats::one(), async |nats| {
        let one = hub(options(&nats)).await;
        let mut ids = Vec::new();
        for index in 1..=6 {
            ids.push(one.tell("a", &index.to_string()).await);
        }
        let delete = |position: u64| {
            nats.api("STREAM.MSG.DELETE.TIDINGS", &format!("{{\"seq\":{position}}}"));
        };
        [3, 6].into_iter().for_each(delete);
        let two = hub(options(&nats)).await;
        let mut gap = two.resume("topic=a", &ids[0]).await;
        assert_eq!(gap.event().await.notice("gap")["asked"], json!(ids[0]));
        assert_eq!(gap.data(3).await, ["2", "4", "5"]);
        let mut end = two.resume("topic=a", &ids[4]).await;
        assert_eq!(end.event().await.notice("gap")["asked"], json!(ids[4]));
        one.tell("a", "7").await;
        for stream in [&mut gap, &mut end] {
            assert_eq!(stream.data(1).await, ["7"]);
        }
        let mut whole = two.resume("topic=a", &ids[5]).await;
        assert_eq!(whole.cursor().as_deref(), Some(&*ids[5]));
        assert_eq!(whole.data(1).await, ["7"]);
        stop(&[&one, &two]).await;
    });
}

#[test]
fn a_stream_that_has_lost_its_tail_is_no_continuation() {
    on(Nats::one(), async |mut nats| {
        let one = hub(options(&nats)).await;
        let kept = one.tell("a", "kept").await;
        nats.stop(0);
        let saved = nats.store(0).with_extension("saved");
        copy(&nats.store(0), &saved);
        nats.start(0);
        let mut stream = one.subscribe("topic=a").await;
        let lost = one.tell("a", "lost").await;
        assert_eq!(stream.data(1).await, ["lost"]);
        let last = async || one.subscribe("topic=a&lastEventID=tidings:last").await.data(1).await;
        assert_eq!(last().await, ["lost"]);
        // The server restarts with its earlier state.
        nats.kill(0);
        std::fs::remove_dir_all(nats.store(0)).unwrap();
        copy(&saved, &nats.store(0));
        nats.start(0);
        stream.rest().await;
        // Its place is that of the one that was lost, and it is about something else.
        let other = one.tell("b", "other").await;
        assert_eq!(last().await, ["kept"]);
        assert_eq!(other.split('.').nth(1), lost.split('.').nth(1), "the place is used again");
        let mut reset = one.resume("topic=a", &lost).await;
        assert_eq!(reset.event().await.notice("reset")["asked"], json!(lost));
        let mut resumed = one.resume("topic=a&topic=b", &kept).await;
        assert_eq!(resumed.data(1).await, ["other"]);
        stop(&[&one]).await;
    });
}

pub(crate) fn copy(from: &std::path::Path, to: &std::path::Path) {
    let copied = std::process::Command::new("cp").arg("-r").args([from, to]).status();
    assert!(copied.expect("there is a cp").success());
}

#[test]
fn more_than_memory_has_is_read_from_the_stream() {
    on(Nats::one(), async |nats| {
        let one = hub(options(&nats)).await;
        let text = "x".repeat(20_000);
        let mut ids = Vec::new();
        for round in 0..30 {
            let updates =
                (0..40).map(|index| update(format!("{}:{text}", round * 40 + index))).collect();
            ids.extend(one.hub.publish_all(updates).await.unwrap());
        }
        // Newest of a topic that only the stream has.
        one.hub.publish(Update::new("b", Event::new("last of b"))).await.unwrap();
        let two = hub(options(&nats)).await;
        for server in [&one, &two] {
            let all = server.hub.subscribe(Selectors::topic("a"), Since::Earliest).await;
            let mut all = all.unwrap();
            for id in &ids {
                assert_eq!(all.next().await.unwrap().id(), Some(id));
            }
            let after = Since::After(ids[5].clone());
            let mut after = server.hub.subscribe(Selectors::topic("a"), after).await.unwrap();
            let next = data(&mut after, 1).await.remove(0);
            assert!(next.starts_with("6:"), "{}", &next[..10]);
            let mut last = server.subscribe("topic=*&lastEventID=tidings:last").await;
            let newest = last.data(2).await;
            assert!(newest[0].starts_with("1199:"), "{}", &newest[0][..10]);
            assert_eq!(newest[1], "last of b");
        }
        stop(&[&one, &two]).await;
    });
}

#[test]
fn subscriptions_and_revocations_at_one_hub_apply_at_all() {
    on(Nats::one(), async |nats| {
        let start = async || {
            let builder = builder(options(&nats), access()).await.presence_events(true);
            Server::start(Lane::Direct, builder).await
        };
        let (one, two) = (start().await, start().await);
        let all = subscriber(&["*"]);
        let open = async |server: &Server, topic: &str| {
            let query = format!("{HUB}?topic={topic}");
            server.open(Request::get(&query).bearer(&subscriber(&[topic]))).await
        };
        let list = async |server: &Server| -> Vec<Value> {
            let request = Request::get(&format!("{HUB}/subscriptions")).bearer(&all);
            let list = server.ask(request).await.json();
            list["subscriptions"].as_array().expect("a list").clone()
        };
        let mut events = {
            let query = format!("{HUB}?topic={}", "/.well-known/mercure/subscriptions{/a}{/b}");
            one.open(Request::get(&query.replace('{', "%7B").replace('}', "%7D")).bearer(&all))
                .await
        };
        let mut ended = open(&two, "x").await;
        let told = until_data(&mut events, "\"topic\":\"x\"").await;
        assert!(told.contains("\"active\":true"), "{told}");
        for server in [&one, &two] {
            becomes("subscriptions", 2, async || list(server).await.len()).await;
        }
        // Ended by the hub that does not have it, with its token, everywhere and from now on.
        let of_x = list(&one).await.into_iter().find(|entry| entry["topic"] == "x").unwrap();
        let path = of_x["id"].as_str().unwrap().to_owned();
        let end = Request::new("DELETE", &path).bearer(&publisher(&["*"]));
        let answer = one.ask(end).await;
        assert_eq!(answer.status(), 204, "{}", answer.text());
        ended.rest().await;
        let again = Request::new("DELETE", &path).bearer(&publisher(&["*"]));
        assert_eq!(one.ask(again).await.status(), 404);
        let barred = subscriber(&["x"]);
        let three = start().await;
        for server in [&one, &two, &three] {
            let status = async || {
                let query = format!("{HUB}?topic=x");
                let mut connection = server.connect().await;
                connection.send(&Request::get(&query).bearer(&barred)).await;
                connection.head().await.status
            };
            becomes("the status of a barred token", 401, status).await;
        }
        stop(&[&one, &two, &three]).await;
    });
}

#[test]
fn a_stream_with_unsuitable_settings_is_refused_with_the_differences() {
    on(Nats::one(), async |nats| {
        let journal = NatsJournal::open(options(&nats)).await.unwrap();
        drop(journal);
        let retention = NatsRetention::default().count(Some(5));
        let stated = options(&nats).replicas(Some(3)).retention(retention);
        let error = NatsJournal::open(stated).await.unwrap_err();
        assert!(matches!(error, NatsError::Stream { .. }), "{error}");
        let words = error.to_string();
        assert!(words.contains("num_replicas is 1, but must be 3"), "{words}");
        assert!(words.contains("max_msgs is 1000000, but must be 5"), "{words}");
        nats.api(
            "STREAM.CREATE.OTHER",
            r#"{"name":"OTHER","subjects":["x"],"retention":"workqueue","storage":"memory"}"#,
        );
        let other = options(&nats).stream("OTHER".to_owned());
        let words = NatsJournal::open(other).await.unwrap_err().to_string();
        for name in ["subjects", "retention", "allow_direct", "allow_atomic"] {
            assert!(words.contains(&format!("{name} is ")), "{name}: {words}");
        }
        let three = options(&nats).stream("THREE".to_owned()).replicas(Some(3));
        let error = NatsJournal::open(three).await.unwrap_err();
        assert!(matches!(error, NatsError::NotCreated { .. }), "{error}");
        let bad = options(&nats).stream("a.b".to_owned());
        assert!(matches!(NatsJournal::open(bad).await.unwrap_err(), NatsError::Setting { .. }));
    });
}

#[test]
fn an_old_server_is_refused_with_the_reason() {
    on(Nats::old(), async |nats| {
        let error = NatsJournal::open(options(&nats)).await.unwrap_err();
        assert!(matches!(error, NatsError::Version { .. }), "{error}");
        assert!(error.to_string().contains("2.12"), "{error}");
    });
}

#[test]
fn the_start_waits_for_an_unreachable_server() {
    on(Nats::one(), async |mut nats| {
        nats.kill(0);
        let short = options(&nats).start_wait(Duration::from_millis(300));
        let error = NatsJournal::open(short).await.unwrap_err();
        assert!(matches!(error, NatsError::Unreachable { .. }), "{error}");
        let opened = tokio::spawn(NatsJournal::open(options(&nats)));
        nats.start(0);
        opened.await.unwrap().unwrap();
    });
}

#[test]
fn an_update_that_is_larger_than_the_servers_take_is_refused() {
    let settings = Settings { server: "max_payload: 8000", ..Settings::default() };
    on(Nats::one_with(settings), async |nats| {
        let one = hub(options(&nats)).await;
        let large = format!("topic=a&data={}", "x".repeat(9000));
        let refused = one.ask(Request::form(&large)).await;
        assert_eq!(refused.status(), 413, "{}", refused.text());
        assert!(refused.text().contains("8000"), "{}", refused.text());
        let body = format!(
            "{{\"topics\":[\"a\"]}}\n{{\"topics\":[\"a\"],\"data\":\"{}\"}}\n",
            "x".repeat(9000)
        );
        let refused = one.ask(Request::ndjson(&body)).await;
        assert_eq!(refused.status(), 413, "{}", refused.text());
        assert!(refused.text().contains("line 2"), "{}", refused.text());
        one.tell("a", &"x".repeat(7000)).await;
        stop(&[&one]).await;
    });
}

#[test]
fn an_id_of_another_stream_is_a_reset() {
    on(Nats::one(), async |nats| {
        let one = hub(options(&nats)).await;
        let other = hub(options(&nats).stream("OTHER".to_owned())).await;
        let id = other.tell("a", "1").await;
        one.tell("a", "1").await;
        let mut reset = one.resume("topic=a", &id).await;
        assert_eq!(reset.event().await.notice("reset")["asked"], json!(id));
        assert!(EventId::new(&id).is_ok());
        stop(&[&one, &other]).await;
    });
}

#[test]
fn an_id_that_another_publisher_took_means_the_update_that_is_selected() {
    on(Nats::one(), async |nats| {
        let one = hub(options(&nats)).await;
        for topic in ["theirs", "a", "theirs"] {
            for n in 0..4 {
                one.publish(&format!("topic={topic}&data={topic}{n}&id=order:{n}")).await;
            }
        }
        let mut stream = one.resume("topic=a", "order:2").await;
        one.tell("a", "live").await;
        assert_eq!(stream.data(2).await, ["a3", "live"]);
        stop(&[&one]).await;
    });
}

#[test]
fn a_cluster_that_loses_its_leader_loses_and_doubles_nothing() {
    on(Nats::cluster(), async |mut nats| {
        let (one, two) = (hub(options(&nats)).await, hub(options(&nats)).await);
        let mut live = two.hub.subscribe(Selectors::topic("a"), Since::Now).await.unwrap();
        let publish = async {
            for index in 0..200 {
                let data = index.to_string();
                let mut refused = 0;
                // What was refused may have been taken all the same: under a key it is so once.
                loop {
                    let key = IdempotencyKey::new(&data, data.as_bytes()).unwrap();
                    match one.hub.publish_once(vec![update(&*data)], Some(key)).await {
                        Ok(_) => break,
                        Err(error) => {
                            refused += 1;
                            assert!(refused < 5, "{error}");
                        }
                    }
                }
            }
        };
        let fail = async {
            let leader = nats.leader("TIDINGS");
            nats.kill(leader);
            leader
        };
        let (_, leader, seen) = tokio::join!(publish, fail, data(&mut live, 200));
        let expected: Vec<_> = (0..200).map(|index| index.to_string()).collect();
        assert_eq!(seen, expected);
        nats.start(leader);
        let mut all = one.hub.subscribe(Selectors::topic("a"), Since::Earliest).await.unwrap();
        assert_eq!(data(&mut all, 200).await, seen);
        stop(&[&one, &two]).await;
    });
}
