//! What a website may not make a visitor's browser do to the hub.

use tidings_hub::{Access, CorsOrigins, Host, HubBuilder};

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
        let access = Access::default()
            .anonymous_publish(true)
            .anonymous_subscribe(true)
            .publish_origins(vec!["https://app.test".parse().expect("an origin")]);
        open().access(access)
    };
    on_both_lanes(build, async |server| {
        refused(server, &[("origin", "https://evil.test")]).await;
        refused(server, &[("origin", "http://localhost:5173")]).await;
        refused(server, &[("origin", "http://app.test")]).await;
        refused(server, &[("sec-fetch-site", "cross-site")]).await;
        // Over TLS the hub knows its names, which are those in the certificate.
        let own = if server.scheme() == "https" { "localhost" } else { "hub.test" };
        for headers in [
            &[("host", "hub.test")][..],
            &[("host", own), ("origin", &format!("https://{own}"))],
            &[("host", "hub.test"), ("origin", "https://app.test")],
            &[("origin", "https://app.test"), ("sec-fetch-site", "cross-site")],
        ] {
            assert_eq!(publish(server, headers).await.status(), 200, "{headers:?}");
        }
        let request = Request::get(&format!("{HUB}?topic=a")).header("host", "hub.test");
        server.open(request).await;
    });
}

fn known(access: Access) -> HubBuilder {
    open().access(access.anonymous_publish(true).anonymous_subscribe(true))
}

#[test]
fn the_hubs_own_origin_has_the_scheme_that_the_hub_is_reached_by() {
    on_both_lanes(
        || known(Access::default()),
        async |server| {
            let address = server.address;
            for scheme in ["chrome-extension", "ftp", "capacitor", "ws"] {
                refused(server, &[("origin", &format!("{scheme}://{address}"))]).await;
            }
            let (http, https) = (format!("http://{address}"), format!("https://{address}"));
            if server.scheme() == "https" {
                refused(server, &[("origin", &http)]).await;
            } else {
                refused(server, &[("origin", &http), ("x-forwarded-proto", "https")]).await;
                assert_eq!(publish(server, &[("origin", &http)]).await.status(), 200);
            }
            assert_eq!(publish(server, &[("origin", &https)]).await.status(), 200);
        },
    );
}

#[test]
fn a_name_that_a_website_made_point_here_is_not_the_hubs_own() {
    let hub_url = || Some("https://hub.test".parse().expect("a URL"));
    let build = || known(Access::default().hub_url(hub_url()));
    on_both_lanes(build, async |server| {
        for host in ["evil.test", "evil.test:8081", "localhost.evil.test", "xhub.test"] {
            for scheme in ["http", "https"] {
                let origin = format!("{scheme}://{host}");
                refused(server, &[("host", host), ("origin", &origin)]).await;
            }
        }
        for headers in [
            // A proxy may change the name.
            &[("host", "10.0.0.1:8081"), ("origin", "https://hub.test")][..],
            &[("host", "hub.test"), ("origin", "https://hub.test")],
            // Publishers may have a name of their own for the hub.
            &[("host", "hub.internal")],
        ] {
            assert_eq!(publish(server, headers).await.status(), 200, "{headers:?}");
        }
    });
}

#[test]
fn where_the_hubs_url_is_https_pages_of_http_are_foreign_under_every_name() {
    let hub_url = || Some("https://hub.test".parse().expect("a URL"));
    let build = || known(Access::default().hub_url(hub_url()));
    on_both_lanes(build, async |server| {
        let hosts = ["127.0.0.1", "127.0.0.1:8081", "[::1]", "localhost", "10.0.0.1", "hub.test"];
        for host in hosts {
            refused(server, &[("host", host), ("origin", &format!("http://{host}"))]).await;
        }
        for host in hosts {
            let own = format!("https://{host}");
            let answer = publish(server, &[("host", host), ("origin", &own)]).await;
            assert_eq!(answer.status(), 200, "{host}");
        }
    });
}

#[test]
fn over_tls_the_hubs_names_are_those_in_its_certificate() {
    on_both_lanes(
        || known(Access::default()),
        async |server| {
            if server.scheme() != "https" {
                return;
            }
            refused(server, &[("host", "evil.test"), ("origin", "https://evil.test")]).await;
            for own in ["localhost", "localhost:443", "127.0.0.1:8443"] {
                let origin = format!("https://{}", own.trim_end_matches(":443"));
                let headers = [("host", own), ("origin", origin.as_str())];
                assert_eq!(publish(server, &headers).await.status(), 200, "{own}");
            }
        },
    );
}

#[test]
fn a_hub_with_a_list_of_names_answers_to_no_other() {
    let allowed_hosts = || vec![Host::parse("hub.test").expect("a name")];
    let build = || known(Access::default().allowed_hosts(allowed_hosts()));
    on_both_lanes(build, async |server| {
        for host in ["evil.test", "evil.test:8081", "hub.test.evil.test"] {
            let request = Request::get(&format!("{HUB}?topic=*")).header("host", host);
            let answer = server.ask(request).await;
            assert_eq!(answer.status(), 421, "{host}");
            assert!(answer.text().contains(host), "{}", answer.text());
            assert_eq!(publish(server, &[("host", host)]).await.status(), 421, "{host}");
        }
        assert_eq!(server.hub.subscribers(), 0);
        for host in ["hub.test", "HUB.test:8081", "hub.test.", "10.0.0.1:8081", "localhost"] {
            assert_eq!(publish(server, &[("host", host)]).await.status(), 200, "{host}");
        }
    });
}

#[test]
fn an_application_that_is_listed_may_publish_and_read() {
    let app: &[&str] = &["capacitor://localhost", "tauri://localhost", "chrome-extension://abcdef"];
    let origins = || app.iter().map(|origin| origin.parse().expect("an origin")).collect();
    let build = || {
        let cors_origins = CorsOrigins::These(origins());
        known(Access::default().publish_origins(origins()).cors_origins(cors_origins))
    };
    on_both_lanes(build, async |server| {
        refused(server, &[("origin", "ionic://localhost")]).await;
        for origin in app {
            let fields = [("origin", *origin), ("sec-fetch-site", "cross-site")];
            let answer = publish(server, &fields).await;
            assert_eq!(answer.status(), 200, "{origin}");
            assert_eq!(answer.header("access-control-allow-origin"), Some(*origin));
            assert!(answer.header("access-control-expose-headers").is_some(), "{origin}");
            let request = Request::get(&format!("{HUB}?topic=a")).header("origin", origin);
            let head = server.open(request).await.head;
            assert_eq!(head.header("access-control-allow-origin"), Some(*origin));
        }
    });
}

#[test]
fn a_field_that_names_the_website_twice_is_refused() {
    on_both_lanes(open, async |server| {
        for name in ["origin", "referer"] {
            let own = format!("{}://{}", server.scheme(), server.address);
            let fields = [(name, own.as_str()), (name, "https://evil.test")];
            let answer = publish(server, &fields).await;
            assert_eq!(answer.status(), 400, "{name}");
            assert!(answer.text().contains("more than once"), "{}", answer.text());
        }
        assert_eq!(server.metric("tidings_updates_total").await, 0.0);
    });
}
