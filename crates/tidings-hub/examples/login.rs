//! The hub inside an axum service, behind that service's own login.
//!
//! ```sh
//! cargo run -p tidings-hub --example login
//! curl -i 'http://127.0.0.1:3000/.well-known/mercure?topic=urn:news'
//! curl -N -b session=reader 'http://127.0.0.1:3000/.well-known/mercure?topic=urn:news'
//! curl -b session=editor http://127.0.0.1:3000/.well-known/mercure -d topic=urn:news -d data=Hello
//! ```
//!
//! The answer to the first is `403 Forbidden` and `this request is not allowed to subscribe`. The
//! second stays open and shows `data: Hello` as soon as the third has published it. The reader may
//! not publish, and the editor may publish only about `urn:news`.

use axum::extract::Request;
use axum::http::{header, request::Parts};
use axum::middleware::{self, Next};
use axum::response::Response;
use tidings_hub::{Hub, Permissions, Rights, Selectors};

#[derive(Clone)]
enum User {
    Reader,
    Editor,
}

/// Identifies the user, for the whole service. Your service asks its session store.
async fn login(mut request: Request, next: Next) -> Response {
    let cookie = request.headers().get(header::COOKIE).and_then(|value| value.to_str().ok());
    let user = match cookie {
        Some("session=reader") => Some(User::Reader),
        Some("session=editor") => Some(User::Editor),
        _ => None,
    };
    if let Some(user) = user {
        request.extensions_mut().insert(user);
    }
    next.run(request).await
}

/// Decides what each request to the hub may do.
fn permissions(request: &Parts) -> Permissions {
    let reads = Permissions::none().subscribe(Rights::Public);
    match request.extensions.get::<User>() {
        None => Permissions::none(),
        Some(User::Reader) => reads,
        Some(User::Editor) => reads.publish(Selectors::topic("urn:news")),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let hub = Hub::builder().authorize(permissions).build().await?;
    let app = hub.router().layer(middleware::from_fn(login));
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:3000".to_owned());
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("http://{}", listener.local_addr()?);
    Ok(axum::serve(listener, app).await?)
}
