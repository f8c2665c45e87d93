//! What operators ask: is it alive, is it ready.

use crate::client::Request;
use crate::server::{on_both_lanes, open};

#[test]
fn a_running_hub_is_healthy_and_ready() {
    on_both_lanes(open, async |server| {
        for path in ["/healthz", "/readyz"] {
            let answer = server.get(path).await;
            assert_eq!(answer.status(), 200, "{path}");
            let head = server.connect().await.ask(&Request::new("HEAD", path)).await;
            assert_eq!(head.status(), 200, "{path}");
        }
    });
}

#[test]
fn the_operators_paths_are_served_only_on_request() {
    let build = || open().admin(false);
    on_both_lanes(build, async |server| {
        for path in ["/healthz", "/readyz", "/metrics"] {
            assert_eq!(server.get(path).await.status(), 404, "{path}");
        }
    });
}

#[test]
fn the_operators_paths_can_stand_on_a_listener_of_their_own() {
    let build = || open().admin(false);
    on_both_lanes(build, async |server| {
        let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = tokio::net::TcpListener::bind(any).await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = tidings_hub::admin_router(&server.hub);
        tokio::spawn(async move { axum::serve(listener, router).await });
        let mut connection = crate::client::Connection::open(address).await;
        for (path, status) in [("/healthz", 200), ("/readyz", 200), ("/metrics", 200), ("/", 404)] {
            assert_eq!(connection.ask(&Request::get(path)).await.status(), status, "{path}");
        }
    });
}
