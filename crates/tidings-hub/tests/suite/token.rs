//! Tokens as issuers make them, good and bad, and hubs that take them.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use tidings_hub::{Access, HubBuilder, Issuer, IssuerKeys, Key, Tokens};
use url::Url;

use crate::client::{HUB, Request};
use crate::server::{Server, becomes, open};

pub(crate) const PUBLISHER_SECRET: &str = "a secret of publishers, long enough";
pub(crate) const SUBSCRIBER_SECRET: &str = "a secret of subscribers, long enough";
pub(crate) const ISSUER: &str = "https://issuer.test";
pub(crate) const AUDIENCE: &str = "https://h.test/.well-known/mercure";

/// A hub with keys, of both dialects, that everybody may subscribe to.
pub(crate) fn access() -> Access {
    Access::default()
        .anonymous_subscribe(true)
        .tokens(
            Tokens::default()
                .publisher_key(Some(Key::read(PUBLISHER_SECRET, None).expect("a long secret")))
                .subscriber_key(Some(Key::read(SUBSCRIBER_SECRET, None).expect("a long secret")))
                .issuers(vec![Issuer::new(ISSUER, IssuerKeys::Shared)])
                .audience(vec![AUDIENCE.to_owned()]),
        )
        .hub_url(Some(Url::parse(AUDIENCE).expect("a URL")))
}

pub(crate) fn with_keys() -> HubBuilder {
    open().access(access())
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// A token with this header and these claims, signed with HMAC and SHA-256 whatever the header
/// says.
pub(crate) fn signed(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let message = format!("{}.{}", encode(header), encode(claims));
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("any length will do");
    mac.update(message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

/// A token of 0.x.
pub(crate) fn deployed(claims: &Value, secret: &str) -> String {
    signed(&json!({ "alg": "HS256", "typ": "JWT" }), claims, secret.as_bytes())
}

/// A token of 1.0.
pub(crate) fn coming(claims: &Value, secret: &str) -> String {
    signed(&json!({ "alg": "HS256", "typ": "at+jwt" }), claims, secret.as_bytes())
}

pub(crate) fn publisher(selectors: &[&str]) -> String {
    deployed(&json!({ "mercure": { "publish": selectors } }), PUBLISHER_SECRET)
}

pub(crate) fn subscriber(selectors: &[&str]) -> String {
    deployed(&json!({ "mercure": { "subscribe": selectors } }), SUBSCRIBER_SECRET)
}

/// The claims of a token of 1.0 that is good for an hour.
pub(crate) fn claims(action: &str, topics: Value) -> Value {
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "exp": now() + 3600,
        "authorization_details": [detail(action, topics)],
    })
}

pub(crate) fn detail(action: &str, topics: Value) -> Value {
    json!({ "type": "https://mercure.rocks/authorization-detail", "actions": [action], "topics": topics })
}

impl Request {
    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("authorization", format!("Bearer {token}"))
    }
}

/// Waits until this many subscriptions are listed. In an embedder's axum service the head of a
/// stream is sent before its shard has the stream.
pub(crate) async fn are_listed(server: &Server, count: usize) {
    let token = subscriber(&["*"]);
    let list = async || {
        let request = Request::get(&format!("{HUB}/subscriptions")).bearer(&token);
        let list = server.ask(request).await.json();
        list["subscriptions"].as_array().expect("a list").len()
    };
    becomes("the number of subscriptions", count, list).await;
}
