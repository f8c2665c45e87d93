//! A real hub: publishing, resuming, notices, drains and restarts.

use std::net::SocketAddr;
use std::time::Duration;

use tidings_client::reconnect::Policy;
use tidings_client::{
    Event, EventSource, Incoming, Notice, NoticeKind, PublishError, Publisher, Subscription, Update,
};
use tidings_hub::{Access, Hub, MemoryJournal, Retention};

use crate::server::{event, next, soon};

const TOPIC: &str = "https://example.com/a";

/// A hub, and the task that serves it.
struct Running {
    hub: Hub,
    address: SocketAddr,
    serving: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Running {
    async fn at(address: SocketAddr, kept: u64) -> Self {
        let listener = tidings_hub::listen(address).unwrap();
        let address = listener.local_addr().unwrap();
        let access = Access::default().anonymous_publish(true).anonymous_subscribe(true);
        let hub = Hub::builder()
            .shards(1)
            .journal(MemoryJournal::new(Retention::default().count(kept)))
            .access(access)
            .build()
            .await
            .unwrap();
        let serving = tokio::spawn(tidings_hub::serve(listener, hub.clone(), axum::Router::new()));
        Self { hub, address, serving }
    }

    async fn start() -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), 1000).await
    }

    fn source(&self, query: &str) -> EventSource {
        EventSource::get(format!("http://{}/.well-known/mercure?{query}", self.address))
            .reconnection_time(Duration::from_millis(1))
    }

    /// A stream with all notices, after its notice `live`.
    async fn subscribe(&self) -> Subscription {
        let mut stream = self.source(&format!("topic={TOPIC}&tidings=topics,notices")).open();
        notice(&mut stream, |kind| matches!(kind, NoticeKind::Live { .. })).await;
        stream
    }

    fn publisher(&self) -> Publisher {
        Publisher::to(&format!("http://{}", self.address)).unwrap()
    }

    async fn publish(&self, data: &str) -> String {
        let update = Update::new(TOPIC, Event::new(data));
        self.publisher().publish(&update).await.unwrap().as_str().to_owned()
    }

    /// Ends it as an operator would.
    async fn stop(self) -> SocketAddr {
        self.hub.drain(Duration::ZERO).await;
        self.hub.idle().await;
        self.hub.stop().await;
        let _ = soon("the hub ends", self.serving).await;
        self.address
    }
}

/// The next matching notice. Other items than events may precede it.
async fn notice(stream: &mut Subscription, is_meant: fn(&NoticeKind) -> bool) -> Notice {
    loop {
        match next(stream).await {
            Incoming::Notice(notice) if is_meant(notice.kind()) => return notice,
            Incoming::Event(event) => panic!("{event:?}"),
            Incoming::Closed(reason) => panic!("{reason}"),
            _ => {}
        }
    }
}

#[tokio::test]
async fn events_arrive_with_their_topics() {
    let hub = Running::start().await;
    let mut stream = hub.subscribe().await;
    let event_sent = Event::new("a\nb").with_type("price").unwrap().with_id("my own ☂").unwrap();
    let update = Update::new(TOPIC, event_sent).also_about("https://example.com/b");
    let id = hub.publisher().publish(&update).await.unwrap();
    assert_eq!(id.as_str(), "my own ☂");
    let received = event(&mut stream).await;
    assert_eq!((received.event_type(), received.data()), ("price", "a\nb"));
    assert_eq!(received.id(), Some("my own ☂"));
    assert_eq!(received.topics().collect::<Vec<_>>(), [TOPIC]);
    let id = hub.publish("c").await;
    assert_eq!(event(&mut stream).await.last_event_id(), id);
}

#[tokio::test]
async fn a_refusal_has_the_hubs_reason() {
    let hub = Running::start().await;
    let update = Update::new(TOPIC, Event::new("").with_type("tidings").unwrap());
    let Err(PublishError::Refused(refusal)) = hub.publisher().publish(&update).await else {
        panic!()
    };
    assert_eq!(refusal.status, 400);
    assert!(refusal.json().unwrap()["detail"].as_str().unwrap().contains("tidings"));
    let unreachable = Publisher::to("http://127.0.0.1:9/").unwrap();
    let update = Update::new(TOPIC, Event::new(""));
    assert!(matches!(unreachable.publish(&update).await, Err(PublishError::NotSent(_))));
    assert!(Publisher::to("localhost").unwrap_err().to_string().contains("invalid URL"));
}

#[tokio::test]
async fn events_missed_between_connections_follow() {
    let hub = Running::start().await;
    let mut stream = hub.subscribe().await;
    let first = hub.publish("1").await;
    assert_eq!(event(&mut stream).await.data(), "1");
    stream.reconnect_now();
    for data in ["2", "3"] {
        hub.publish(data).await;
    }
    let resumed = notice(&mut stream, |kind| matches!(kind, NoticeKind::Resumed { .. })).await;
    assert!(
        matches!(resumed.kind(), NoticeKind::Resumed { asked: Some(asked), .. } if *asked == first)
    );
    for data in ["2", "3"] {
        assert_eq!(event(&mut stream).await.data(), data);
    }
}

#[tokio::test]
async fn a_quiet_stream_has_a_cursor_too() {
    let hub = Running::start().await;
    hub.publish("before").await;
    let mut stream = hub.subscribe().await;
    assert!(stream.last_event_id().starts_with("tidings:"));
    stream.reconnect_now();
    hub.publish("1").await;
    assert_eq!(event(&mut stream).await.data(), "1");
}

#[tokio::test]
async fn deleted_updates_are_a_gap() {
    let hub = Running::at("127.0.0.1:0".parse().unwrap(), 2).await;
    let mut stream = hub.subscribe().await;
    hub.publish("1").await;
    event(&mut stream).await;
    stream.reconnect_now();
    for data in ["2", "3", "4", "5"] {
        hub.publish(data).await;
    }
    let gap = notice(&mut stream, |kind| matches!(kind, NoticeKind::Gap { .. })).await;
    assert!(gap.is_loss());
    assert_eq!(event(&mut stream).await.data(), "4");
    assert_eq!(event(&mut stream).await.data(), "5");
}

#[tokio::test]
async fn a_drain_is_announced_and_so_is_the_loss_after_the_restart() {
    let hub = Running::start().await;
    let mut policy = Policy::default();
    policy.backoff_first = Duration::from_millis(1);
    policy.reconnection_time_min = Duration::from_millis(1);
    let mut stream = hub.source(&format!("topic={TOPIC}&tidings=notices")).policy(policy).open();
    notice(&mut stream, |kind| matches!(kind, NoticeKind::Live { .. })).await;
    let last = hub.publish("1").await;
    event(&mut stream).await;
    let drained = async {
        notice(&mut stream, |kind| matches!(kind, NoticeKind::Draining { .. })).await;
    };
    let (address, ()) = tokio::join!(hub.stop(), drained);
    let hub = Running::at(address, 1000).await;
    let reset = notice(&mut stream, |kind| matches!(kind, NoticeKind::Reset { .. })).await;
    assert!(matches!(reset.kind(), NoticeKind::Reset { asked: Some(asked) } if *asked == last));
    notice(&mut stream, |kind| matches!(kind, NoticeKind::Live { .. })).await;
    hub.publish("2").await;
    assert_eq!(event(&mut stream).await.data(), "2");
}

#[tokio::test]
async fn updates_published_before_the_first_event_but_after_a_cut_are_not_lost() {
    let hub = Running::start().await;
    // Without notices, which would also contain the place.
    let mut stream = hub.source(&format!("topic={TOPIC}&tidings=place")).open();
    let place = loop {
        match next(&mut stream).await {
            Incoming::LastEventId(id) => break id,
            Incoming::Open(_) | Incoming::Comment(_) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(stream.last_event_id(), place);
    stream.reconnect_now();
    hub.publish("1").await;
    assert_eq!(event(&mut stream).await.data(), "1");
}

#[tokio::test]
async fn a_stream_of_topics_has_the_topics_of_events_and_notices() {
    let hub = Running::start().await;
    let mut stream = EventSource::topics(format!("http://{}", hub.address), [TOPIC, "b"]).open();
    let Incoming::Open(opened) = next(&mut stream).await else { panic!("it is not open") };
    assert_eq!(opened.url.path(), "/.well-known/mercure");
    notice(&mut stream, |kind| matches!(kind, NoticeKind::Live { .. })).await;
    hub.publish("1").await;
    let event = event(&mut stream).await;
    assert_eq!((event.data(), event.topics().collect::<Vec<_>>()), ("1", vec![TOPIC]));
    let mut stream = EventSource::topics("localhost", ["a"]).open();
    assert!(matches!(next(&mut stream).await, Incoming::Closed(_)));
}
