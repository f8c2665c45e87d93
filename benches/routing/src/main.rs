//! What selectors and grants cost: CPU time of the whole process per publish, with the hub in
//! this process and its streams as bodies that are read here. `cargo run --release`.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use cpu_time::ProcessTime;
use http_body_util::BodyExt as _;
use serde_json::{Map, Value, json};
use tidings_hub::{Access, Dialect, Hub, Key, SigningKey, Tokens, Update, sign_token};
use tidings_sse::Event;
use tower::ServiceExt as _;

const SECRET: &str = "a secret that is long enough for this";
const PUBLISHES: usize = 500;
/// So many are published before the hub has to have routed them.
const AT_ONCE: usize = 50;
const MARK: &str = "mark";
/// How many selectors one stream has here.
const PER_STREAM: usize = 100;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    // Each in a process of its own: what one frees, the next would use again.
    match std::env::args().nth(1).as_deref() {
        None | Some("selectors") => all_selectors().await,
        Some("none") => deliveries("no tokens", |_| None, false).await,
        Some("same") => {
            let same = token(&["https://example.com/all"]);
            deliveries("the same grants (one feed)", |_| Some(same.clone()), true).await;
        }
        Some("own") => {
            let own =
                |at| token(&["https://example.com/all", &format!("https://example.com/own/{at}")]);
            deliveries("10,000 different grants (a feed each)", |at| Some(own(at)), true).await;
        }
        Some(other) => panic!("{other:?} is none of: selectors, none, same, own"),
    }
}

async fn all_selectors() {
    println!("| selectors | new topics | one topic |\n|---|---|---|");
    for count in [0, 1000, 10_000, 100_000] {
        let exact = |at| format!("https://example.com/exact/{at}");
        selectors(&format!("{count} exact"), count, exact).await;
    }
    for count in [10, 100, 1000, 10_000] {
        let template = |at| format!("https://example.com/books/{at}/{{id}}");
        selectors(&format!("{count} templates, each its own beginning"), count, template).await;
    }
    for count in [10, 100, 1000, 10_000] {
        let template = |at| format!("https://example.com/{{kind}}/x{at}");
        selectors(&format!("{count} templates that begin alike"), count, template).await;
    }
}

async fn hub() -> (Hub, Router) {
    let access = Access::default().anonymous_subscribe(true).anonymous_publish(true).tokens(
        Tokens::default().subscriber_key(Some(Key::read(SECRET, None).expect("a long secret"))),
    );
    let hub = Hub::builder().shards(1).access(access).build().await.expect("a thread");
    let router = hub.router();
    (hub, router)
}

fn token(subscribe: &[&str]) -> String {
    let key = SigningKey::read(SECRET, None).expect("a long secret");
    let mut claims = Map::new();
    claims.insert("mercure".to_owned(), json!({ "subscribe": subscribe }));
    claims.insert("exp".to_owned(), Value::from(9_999_999_999_u64));
    sign_token(&claims, Dialect::Deployed, &key).expect("it signs")
}

async fn open(router: &Router, query: String, token: Option<String>) -> Body {
    let mut request = Request::get(format!("/.well-known/mercure?{query}"));
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let request = request.body(Body::empty()).expect("a request");
    let response = router.clone().oneshot(request).await.expect("an answer");
    assert_eq!(response.status(), StatusCode::OK);
    let mut body = response.into_body();
    // What every stream begins with.
    body.frame().await.expect("a first frame").expect("no error");
    body
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

async fn selectors(name: &str, count: usize, selector: impl Fn(usize) -> String) {
    let (hub, router) = hub().await;
    let mut streams = Vec::new();
    let all: Vec<_> = (0..count).map(selector).collect();
    for some in all.chunks(PER_STREAM) {
        let query: Vec<_> = some.iter().map(|one| format!("topic={}", encoded(one))).collect();
        streams.push(open(&router, query.join("&"), None).await);
    }
    // Whoever waits for this topic sees that all before it was routed.
    let mut last = open(&router, format!("topic={}", encoded(MARK)), None).await;
    let mut costs = Vec::new();
    for new in [true, false] {
        let topic = |at| format!("https://example.com/other/{}", if new { at } else { 0 });
        publish(&hub, &topic(0), false).await;
        let begun = ProcessTime::now();
        for at in 0..PUBLISHES {
            publish(&hub, &topic(at), false).await;
            if at % AT_ONCE == AT_ONCE - 1 {
                publish(&hub, MARK, false).await;
                last.frame().await.expect("a frame").expect("no error");
            }
        }
        costs.push(micros(begun.elapsed(), PUBLISHES));
    }
    println!("| {name} | {} | {} |", costs[0], costs[1]);
    hub.stop().await;
}

async fn deliveries(name: &str, token: impl Fn(usize) -> Option<String>, private: bool) {
    const SUBSCRIBERS: usize = 10_000;
    const ROUNDS: usize = 20;
    let (hub, router) = hub().await;
    let before = memory();
    let mut streams = Vec::new();
    for at in 0..SUBSCRIBERS {
        let query = format!("topic={}", encoded("https://example.com/all"));
        streams.push(open(&router, query, token(at)).await);
    }
    let each = memory().saturating_sub(before) as f64 / SUBSCRIBERS as f64 / 1024.0;
    let mut costs = Vec::new();
    for private in [false, private] {
        let mut spent = Duration::ZERO;
        for _ in 0..ROUNDS {
            let begun = ProcessTime::now();
            publish(&hub, "https://example.com/all", private).await;
            for stream in &mut streams {
                stream.frame().await.expect("a frame").expect("no error");
            }
            spent += begun.elapsed();
        }
        costs.push(micros(spent, ROUNDS * SUBSCRIBERS));
    }
    let second = if private { costs[1].as_str() } else { "nobody may read it" };
    println!("| {name} | {} | {second} | {each:.2} |", costs[0]);
    drop(streams);
    hub.stop().await;
}

async fn publish(hub: &Hub, topic: &str, private: bool) {
    let update = Update::new(topic, Event::new("x".repeat(64)));
    let update = if private { update.private() } else { update };
    hub.publish(update).await.expect("the hub takes it");
}

fn micros(time: Duration, count: usize) -> String {
    format!("{:.2}", time.as_secs_f64() * 1e6 / count as f64)
}

/// Bytes of memory that the process has.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: u64 = status.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("a number");
    pages * 4096
}
