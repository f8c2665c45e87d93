//! Which websites may read what the hub answers.

use tidings_hub::{Access, CorsOrigins, HubBuilder};

use crate::client::{HUB, Head, Request};
use crate::server::{on_both_lanes, open};

fn readable_from(origins: &[&str]) -> HubBuilder {
    let access = Access::default().anonymous_subscribe(true).anonymous_publish(true).cors_origins(
        match origins {
            ["*"] => CorsOrigins::All,
            origins => CorsOrigins::These(
                origins.iter().map(|origin| origin.parse().expect("an origin")).collect(),
            ),
        },
    );
    open().access(access)
}

/// As a browser asks before it sends such a request.
fn preflight(origin: &str, method: &str, headers: &str) -> Request {
    Request::new("OPTIONS", HUB)
        .header("origin", origin)
        .header("access-control-request-method", method)
        .header("access-control-request-headers", headers)
}

fn check_preflight(head: &Head) {
    assert_eq!(head.status, 200);
    let headers = head.list("access-control-allow-headers");
    for name in ["last-event-id", "authorization", "content-type", "idempotency-key"] {
        assert!(headers.iter().any(|other| other == name), "{name} is not in {headers:?}");
    }
    let methods = head.list("access-control-allow-methods");
    let allowed = head.list("allow");
    for name in ["get", "post", "query"] {
        assert!(methods.iter().any(|other| other == name), "{name} is not in {methods:?}");
        assert!(allowed.iter().any(|other| other == name), "{name} is not in {allowed:?}");
    }
}

#[test]
fn a_listed_website_may_read_with_credentials() {
    let build = || readable_from(&["https://app.test", "https://other.test"]);
    on_both_lanes(build, async |server| {
        for origin in ["https://app.test", "https://other.test"] {
            let request = Request::get(&format!("{HUB}?topic=a")).header("origin", origin);
            let head = server.open(request).await.head;
            assert_eq!(head.header("access-control-allow-origin"), Some(origin));
            assert_eq!(head.header("access-control-allow-credentials"), Some("true"));
            let exposed = head.list("access-control-expose-headers");
            for name in [
                "last-event-id",
                "mercure-last-event-id",
                "link",
                "etag",
                "www-authenticate",
                "retry-after",
                "accept-query",
                "incremental",
            ] {
                assert!(exposed.iter().any(|other| other == name), "{name}: {exposed:?}");
            }
            assert!(head.list("vary").contains(&"origin".to_owned()), "{head:?}");
            let answer = server.ask(preflight(origin, "POST", "content-type")).await;
            check_preflight(&answer.head);
            assert_eq!(answer.header("access-control-allow-origin"), Some(origin));
            assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
        }
    });
}

#[test]
fn an_unlisted_website_may_read_nothing() {
    let build = || readable_from(&["https://app.test"]);
    on_both_lanes(build, async |server| {
        for origin in [
            "https://evil.test",
            "http://app.test",
            "https://app.test:444",
            "null",
            "http://localhost",
        ] {
            let request = Request::get(&format!("{HUB}?topic=a")).header("origin", origin);
            let head = server.open(request).await.head;
            assert_eq!(head.header("access-control-allow-origin"), None, "{origin}");
            let answer = server.ask(preflight(origin, "GET", "last-event-id")).await;
            assert_eq!(answer.header("access-control-allow-origin"), None, "{origin}");
        }
    });
}

#[test]
fn a_request_without_an_origin_is_told_only_that_the_answer_depends_on_it() {
    let build = || readable_from(&["https://app.test"]);
    on_both_lanes(build, async |server| {
        let head = server.open(Request::get(&format!("{HUB}?topic=a"))).await.head;
        assert_eq!(head.header("access-control-allow-origin"), None);
        assert!(head.list("vary").iter().any(|name| name == "origin"), "{head:?}");
        // A publish is never cached, and one without an origin is from no page.
        let answer = server.ask(Request::form("topic=a&data=x")).await;
        assert_eq!((answer.status(), answer.header("cache-control")), (200, Some("no-store")));
        for name in ["access-control-allow-origin", "access-control-expose-headers", "vary"] {
            assert_eq!(answer.header(name), None, "{name}");
        }
    });
}

#[test]
fn a_publish_to_another_spelling_of_the_path_is_not_for_the_hub() {
    on_both_lanes(open, async |server| {
        for path in ["/.well-known/mercure/", "/.well-known%2Fmercure", "/.well-known/mercur%65"] {
            let answer = server.ask(Request::form("topic=a&data=x").to(path)).await;
            assert_eq!(answer.status(), 404, "{path}");
        }
        let answer = server.ask(Request::form("topic=a&data=x").to(&format!("{HUB}?x=y"))).await;
        assert_eq!(answer.status(), 200);
    });
}

#[test]
fn a_star_lets_every_website_read_without_credentials() {
    let build = || readable_from(&["*"]);
    on_both_lanes(build, async |server| {
        let request = Request::get(&format!("{HUB}?topic=a")).header("origin", "https://any.test");
        let head = server.open(request).await.head;
        assert_eq!(head.header("access-control-allow-origin"), Some("*"));
        assert_eq!(head.header("access-control-allow-credentials"), None);
        let answer = server.ask(preflight("https://any.test", "GET", "last-event-id")).await;
        check_preflight(&answer.head);
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        assert_eq!(answer.header("access-control-allow-credentials"), None);
    });
}

#[test]
fn a_hub_for_development_is_read_by_this_machines_websites_only() {
    on_both_lanes(open, async |server| {
        let allowed = async |origin: &str| {
            let request = Request::get("/sse").header("origin", origin);
            let head = server.open(request).await.head;
            let answer = server.ask(preflight(origin, "GET", "last-event-id")).await;
            let allowed = head.header("access-control-allow-origin").map(str::to_owned);
            assert_eq!(answer.header("access-control-allow-origin"), allowed.as_deref());
            allowed
        };
        for origin in ["http://localhost:5173", "http://127.0.0.1:3000", "http://[::1]:80"] {
            assert_eq!(allowed(origin).await.as_deref(), Some(origin));
        }
        for origin in ["https://evil.test", "null", "http://localhost.evil.test", "http://10.0.0.1"]
        {
            assert_eq!(allowed(origin).await, None, "{origin}");
        }
    });
}

#[test]
fn a_refusal_can_be_read_too() {
    let build = || readable_from(&["https://app.test"]);
    on_both_lanes(build, async |server| {
        let request = Request::get(HUB).header("origin", "https://app.test");
        let answer = server.ask(request).await;
        assert_eq!(answer.status(), 400);
        assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.test"));
    });
}
