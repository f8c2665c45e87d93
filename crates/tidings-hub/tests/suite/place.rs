//! Every browser's stream has its position from the first bytes, on every lane and with every
//! journal. Other clients get no block without data.

use tidings_hub::{DiskJournal, DiskOptions, HubBuilder};

use crate::client::{HUB, Request, Seen, Stream};
use crate::server::{Server, on_both_lanes, open};

/// Runs `test` with a journal in memory, then with one on disk, on each lane.
fn on_both_journals(test: impl AsyncFn(&Server)) {
    on_both_lanes(open, &test);
    let folder = tempfile::tempdir().expect("a folder");
    let on_disk = || -> HubBuilder {
        let within = tempfile::tempdir_in(&folder).expect("a folder").keep();
        let journal = DiskJournal::open(within, DiskOptions::default());
        open().journal(journal.expect("a journal in a new folder"))
    };
    on_both_lanes(on_disk, &test);
}

/// A request as a browser's `EventSource` makes it, over https or to this machine.
fn browsers(query: &str) -> Request {
    Request::get(&format!("{HUB}?{query}"))
        .header("accept", "text/event-stream")
        .header("cache-control", "no-cache")
        .header("sec-fetch-mode", "cors")
        .header("sec-fetch-dest", "empty")
}

/// The same over http to another machine.
fn browsers_over_http(query: &str) -> Request {
    Request::get(&format!("{HUB}?{query}"))
        .header(
            "user-agent",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)",
        )
        .header("accept", "text/event-stream")
        .header("accept-language", "en-US,en;q=0.9")
        .header("pragma", "no-cache")
        .header("cache-control", "no-cache")
}

fn asking(query: &str) -> Request {
    Request::get(&format!("{HUB}?{query}&tidings=place"))
}

/// A client connects, gets its position, is cut, and reconnects after `meanwhile` was published: it
/// gets that update.
async fn misses_nothing(server: &Server, request: impl Fn(&str) -> Request, query: &str) {
    for round in 0..3 {
        let mut stream = server.open(request(query)).await;
        let place = stream.place().await;
        drop(stream);
        for n in 0..round {
            server.tell("a", &format!("{round}.{n}")).await;
        }
        let mut back = server.open(request(query).header("last-event-id", &place)).await;
        for n in 0..round {
            assert_eq!(back.event().await.data, format!("{round}.{n}"));
        }
        server.tell("a", "live").await;
        assert_eq!(back.event().await.data, "live");
    }
}

#[test]
fn a_client_cut_before_the_first_event_misses_nothing_even_in_an_empty_journal() {
    on_both_journals(async |server| {
        for request in [browsers, browsers_over_http, asking] {
            misses_nothing(server, request, "topic=a").await;
        }
        // Newest of all is what this subscriber may not read, under a publisher's own id.
        server.publish("topic=b&private&data=secret&id=own").await;
        misses_nothing(server, browsers, "topic=a").await;
        if server.speaks_http_1() {
            misses_nothing(server, |query| browsers(query).over_http_1_0(), "topic=a").await;
        }
    });
}

#[test]
fn the_position_is_sent_first_and_is_no_event() {
    on_both_journals(async |server| {
        let id = server.tell("b", "x").await;
        let mut stream = server.open(browsers("topic=a")).await;
        assert_eq!(stream.place().await, id);
        let text = String::from_utf8_lossy(&stream.raw).into_owned();
        let retry = text.strip_prefix(":\nretry: ").and_then(|text| text.get(4..));
        assert_eq!(retry, Some(format!("\nid: {id}\n\n").as_str()), "{text:?}");
        assert_eq!(stream.next().await, Seen::Comment);
        assert!(matches!(stream.next().await, Seen::Retry(_)));
        server.tell("a", "1").await;
        assert!(matches!(stream.next().await, Seen::Event(event) if event.data == "1"));
    });
}

#[test]
fn a_stream_that_begins_with_kept_updates_gets_its_position_after_them() {
    on_both_journals(async |server| {
        for cursor in ["earliest", "tidings:last"] {
            let query = format!("topic=a&topic={cursor}&lastEventID={cursor}");
            let mut stream = server.open(browsers(&query)).await;
            let place = stream.place().await;
            drop(stream);
            for n in 0..3 {
                server.tell(cursor, &n.to_string()).await;
            }
            let mut back = server.open(browsers(&query).header("last-event-id", place)).await;
            assert_eq!(back.data(3).await, ["0", "1", "2"], "{cursor}");
            // What there is comes before the place, or one that is cut among it would miss it.
            let mut again = server.open(browsers(&query)).await;
            again.event().await;
            let text = String::from_utf8_lossy(&again.raw).into_owned();
            let (id, data) = (text.find("id: ").unwrap(), text.find("data: ").unwrap());
            assert!(data < id, "{cursor}: {text}");
        }
    });
}

#[test]
fn a_cursor_that_is_found_is_confirmed_and_otherwise_a_notice_has_the_position() {
    on_both_journals(async |server| {
        let first = server.tell("a", "1").await;
        let second = server.tell("a", "2").await;
        let mut found = server.open(browsers("topic=a").header("last-event-id", &first)).await;
        assert_eq!(found.place().await, first);
        assert_eq!(found.data(1).await, ["2"]);
        let mut reset = server.open(browsers("topic=a").header("last-event-id", "unknown")).await;
        let notice = reset.event().await;
        notice.notice("reset");
        assert_eq!(notice.id(), second);
    });
}

#[test]
fn other_clients_get_no_block_without_data() {
    on_both_lanes(open, async |server| {
        server.tell("b", "x").await;
        let path = format!("{HUB}?topic=a");
        let get = || Request::get(&path);
        let event_stream = || get().header("accept", "text/event-stream");
        for request in [
            // curl, httpx-sse, Go's clients.
            get().header("user-agent", "curl/7.88.1").header("accept", "*/*"),
            event_stream().header("cache-control", "no-store"),
            event_stream().header("user-agent", "Go-http-client/1.1"),
            event_stream()
                .header("user-agent", "Go-http-client/1.1")
                .header("cache-control", "no-cache"),
            // Node's fetch, and what is made of it.
            event_stream()
                .header("accept-language", "*")
                .header("sec-fetch-mode", "cors")
                .header("user-agent", "node")
                .header("pragma", "no-cache")
                .header("cache-control", "no-cache"),
            // A page's fetch, over https or to this machine, and else.
            event_stream().header("sec-fetch-mode", "cors").header("sec-fetch-dest", "empty"),
            event_stream()
                .header("user-agent", "Mozilla/5.0 (X11; Linux x86_64)")
                .header("accept-language", "en-US,en;q=0.9"),
        ] {
            let mut stream: Stream = server.open(request.clone()).await;
            server.tell("a", "1").await;
            assert_eq!(stream.event().await.data, "1");
            let text = String::from_utf8_lossy(&stream.raw).into_owned();
            let blocks: Vec<_> = text.split("\n\n").filter(|block| !block.is_empty()).collect();
            assert_eq!(blocks.len(), 1, "{request:?}: {text:?}");
        }
    });
}

#[test]
fn firefox_gets_its_position_as_a_notice() {
    on_both_journals(async |server| {
        let agent = "Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101 Firefox/153.0";
        for query in ["topic=a&lastEventID=earliest", "topic=a"] {
            let mut stream = server.open(browsers(query).header("user-agent", agent)).await;
            let place = stream.event().await;
            place.notice("cursor");
            drop(stream);
            server.tell("a", "1").await;
            let mut back = server.resume(query, place.id()).await;
            assert_eq!(back.data(1).await, ["1"]);
            server.tell("a", "2").await;
            assert_eq!(back.data(1).await, ["2"]);
        }
    });
}
