//! A hub without the feature `metrics` leaves `/metrics` to the service.

use std::net::Ipv4Addr;

use axum::Router;
use axum::routing::get;
use tidings_hub::Hub;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

#[tokio::test]
async fn the_service_may_have_metrics_of_its_own_beside_the_hubs_health() {
    let hub = Hub::builder().admin(true).build().await.expect("threads for the hub");
    let service = Router::new().route("/metrics", get(async || "logins 7\n"));
    // A path that both routers have would panic here.
    let app = service.merge(hub.router());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let serving = tokio::spawn(async move { axum::serve(listener, app).await });
    for (path, body) in [("/metrics", "logins 7\n"), ("/healthz", "ok\n")] {
        let mut connection = TcpStream::connect(address).await.expect("it listens");
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        connection.write_all(request.as_bytes()).await.expect("it reads");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.expect("an answer in UTF-8");
        assert!(answer.ends_with(&format!("\r\n\r\n{body}")), "{answer}");
    }
    serving.abort();
    hub.close().await;
}
