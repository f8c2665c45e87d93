//! Requests for a name that is not the hub's.

use crate::hub::Hub;

/// Sends a request for this name, and returns the status.
fn ask(hub: &Hub, method: &str, path: &str, host: &str) -> u16 {
    let mut connection = hub.connect();
    connection.send(
        format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").as_bytes(),
    );
    connection.response().status
}

const PATHS: [&str; 8] = [
    "/",
    "/nope",
    "/favicon.ico",
    "/healthz",
    "/tidings/browser/index.js",
    "/.well-known/mercure/subscriptions",
    "/.well-known/mercure/x/y",
    "/.well-known/mercure",
];

#[test]
fn every_request_for_a_name_that_is_not_listed_is_a_421() {
    let hub = Hub::with(&["--anonymous-subscribe", "--allowed-host", "hub.test"]);
    for path in PATHS {
        for method in ["GET", "PUT", "OPTIONS"] {
            assert_eq!(ask(&hub, method, path, "evil.test"), 421, "{method} {path}");
            for name in ["hub.test", "localhost", "10.0.0.1:80"] {
                assert_ne!(ask(&hub, method, path, name), 421, "{method} {path} {name}");
            }
        }
    }
    assert_eq!(ask(&hub, "OPTIONS", "*", "evil.test"), 421);
    assert_eq!(ask(&hub, "GET", "/nope", "hub.test"), 404);
}

#[test]
fn in_development_mode_every_request_for_a_foreign_name_is_a_403() {
    let hub = Hub::start();
    for path in PATHS {
        assert_eq!(ask(&hub, "GET", path, "evil.test"), 403, "{path}");
    }
    assert_eq!(ask(&hub, "GET", "/nope", "localhost"), 404);
}
