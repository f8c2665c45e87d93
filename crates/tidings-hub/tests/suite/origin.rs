//! What a website may not make a visitor's browser do to the hub.

use tidings_hub::Access;

use crate::client::{Answer, HUB, Request};
use crate::server::{Server, on_both_lanes, open};

async fn publish(server: &Server, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::form("topic=a&data=x");
    for (name, value) in headers {
        request = request.header(name, value);
    }
    server.ask(request).await
}

async fn refused(server: &Server, headers: &[(&str, &str)]) {
    let answer = publish(server, headers).await;
    assert_eq!(answer.status(), 403, "{headers:?}");
    assert!(!answer.text().trim().is_empty());
    assert_eq!(server.metric("tidings_journal_last_position").await, 0.0, "{headers:?}");
}

#[test]
fn a_foreign_website_cannot_publish_to_a_hub_on_loopback() {
    on_both_lanes(open, async |server| {
        for origin in
            ["https://evil.test", "null", "http://evil.test:8081", "http://localhost.evil.test"]
        {
            refused(server, &[("origin", origin)]).await;
            refused(server, &[("origin", origin), ("sec-fetch-site", "cross-site")]).await;
        }
        for site in ["cross-site", "same-site"] {
            refused(server, &[("sec-fetch-site", site)]).await;
        }
    });
}

#[test]
fn a_name_that_was_made_to_point_here_reaches_nothing() {
    on_both_lanes(open, async |server| {
        for host in ["evil.test", "evil.test:8081", "localhost.evil.test", "10.0.0.1", "0.0.0.0"] {
            let own = format!("http://{host}");
            refused(server, &[("host", host)]).await;
            refused(server, &[("host", host), ("origin", &own)]).await;
            let request = Request::get(&format!("{HUB}?topic=*")).header("host", host);
            let answer = server.ask(request).await;
            assert_eq!(answer.status(), 403, "{host}");
            assert!(answer.text().contains("localhost"), "{}", answer.text());
        }
        assert_eq!(server.hub.subscribers(), 0);
    });
}

#[test]
fn this_machines_own_pages_and_tools_can_publish() {
    on_both_lanes(open, async |server| {
        let own = format!("http://{}", server.address);
        for headers in [
            &[][..],
            &[("origin", own.as_str()), ("sec-fetch-site", "same-origin")],
            &[("sec-fetch-site", "none")],
            &[("host", "localhost:8081"), ("origin", "http://localhost:8081")],
            &[("host", "LOCALHOST")],
            &[("host", "[::1]:8081")],
            &[("host", "hub.localhost")],
            &[("origin", "http://127.0.0.1:5173"), ("sec-fetch-site", "cross-site")],
        ] {
            assert_eq!(publish(server, headers).await.status(), 200, "{headers:?}");
        }
    });
}

#[test]
fn beyond_development_other_names_are_answered_and_other_websites_listed() {
    let build = || {
        let access = Access {
            anonymous_publish: true,
            anonymous_subscribe: true,
            publish_origins: vec!["https://app.test".to_owned()],
            ..Access::default()
        };
        open().access(access)
    };
    on_both_lanes(build, async |server| {
        refused(server, &[("origin", "https://evil.test")]).await;
        refused(server, &[("origin", "http://localhost:5173")]).await;
        refused(server, &[("origin", "http://app.test")]).await;
        refused(server, &[("sec-fetch-site", "cross-site")]).await;
        for headers in [
            &[("host", "hub.test")][..],
            &[("host", "hub.test"), ("origin", "https://hub.test")],
            &[("host", "hub.test"), ("origin", "https://app.test")],
            &[("origin", "https://app.test"), ("sec-fetch-site", "cross-site")],
        ] {
            assert_eq!(publish(server, headers).await.status(), 200, "{headers:?}");
        }
        let request = Request::get(&format!("{HUB}?topic=a")).header("host", "hub.test");
        server.open(request).await;
    });
}
