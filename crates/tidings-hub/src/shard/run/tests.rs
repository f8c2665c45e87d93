use tidings_sse::Event;

use super::super::body::{StreamBody, hand_over};
use super::*;
use crate::access::Rights;
use crate::admission::Admission;
use crate::feed::{Source, StreamOptions};
use crate::journal::{Journal, MemoryJournal, Retention};
use crate::replay::Due;
use crate::selector::{Selector, Selectors};
use crate::update::Update;

fn local(journal: &Arc<MemoryJournal>) -> Rc<Local> {
    let setting = Setting {
        journal: Arc::clone(journal) as Arc<dyn Journal>,
        metrics: Arc::new(Metrics::new()),
        heartbeat: Duration::from_secs(15),
        relief: Arc::new(Notify::new()),
        presence: None,
        admission: Admission::new(Limits::default()),
        shards: 1,
    };
    Rc::new(Local::new(Seed {
        index: 0,
        setting,
        follower: journal.follow(),
        load: Arc::default(),
        unoffered: Arc::default(),
    }))
}

/// Adds a subscriber of these topics.
fn subscribe(local: &Rc<Local>, topics: [&str; 2]) -> StreamBody {
    let selectors = topics.map(|topic| Selector::Exact(topic.into()));
    let source = Source::Updates {
        selectors: Selectors::new(selectors).unwrap(),
        rights: Rights::Public,
        options: StreamOptions::default(),
    };
    let (socket, body) = hand_over(None);
    let permit = local.setting.admission.stream().unwrap();
    let opening = Opening {
        source,
        due: Due::NOTHING,
        asked: None,
        bytes: b":\n".to_vec(),
        permit,
        grants: None,
    };
    local.attach(Connection::Body(socket), opening);
    body
}

#[tokio::test]
async fn routing_stops_after_many_feeds_and_lets_others_in() {
    let journal = Arc::new(MemoryJournal::new(Retention::default()));
    let routing = async {
        let local = local(&journal);
        let subscribers = 2 * ROUTE_FEEDS;
        let bodies: Vec<_> =
            (0..subscribers).map(|n| subscribe(&local, ["all", &n.to_string()])).collect();
        assert_eq!(local.shard.borrow().feeds.len(), subscribers);
        let update = |topic: &str| Update::new(topic, Event::new("x"));
        // One that all want, then some that few want, then another.
        let mut updates = vec![update("all")];
        updates.extend((0..ROUTE_FEEDS / 2).map(|n| update(&n.to_string())));
        updates.push(update("all"));
        journal.append(updates, None).await.unwrap();
        let mut records = Vec::new();
        let mut turn = || {
            let more = local.flush_slice(&mut records);
            (more, local.follower.taken().number() as usize)
        };
        assert_eq!(turn(), (true, 1));
        // Few feeds are reached, so that the last one begins in the same turn.
        assert_eq!(turn(), (true, ROUTE_FEEDS / 2 + 2));
        while turn().0 {}
        assert_eq!(bodies.len(), local.shard.borrow().subscribers.len());
    };
    LocalSet::new().run_until(routing).await;
}
