//! Tokens of publishers and subscribers: JWTs of Mercure 0.x, signed with HS256.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use serde_json::json;
use sha2::Sha256;

use crate::script::Choice;
use crate::setting::TokenSetting;

/// The key of all tokens.
pub(crate) const SECRET: &str = "a secret of the simulation, long enough for HS256";

/// A token that a client holds.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) jti: String,
    pub(crate) subscribe: Choice,
    pub(crate) expires: Option<SystemTime>,
    /// Its revocation was acknowledged.
    pub(crate) is_revoked: bool,
    /// Its revocation was requested.
    pub(crate) may_be_revoked: bool,
    pub(crate) text: String,
}

impl Token {
    pub(crate) fn new(jti: String, setting: &TokenSetting, now: SystemTime) -> Self {
        let expires = setting.lifetime.map(|lifetime| whole_seconds(now + lifetime));
        let text = sign(&jti, setting.subscribe, expires);
        Self {
            jti,
            subscribe: setting.subscribe,
            expires,
            is_revoked: false,
            may_be_revoked: false,
            text,
        }
    }

    pub(crate) fn is_expired(&self, now: SystemTime) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

fn whole_seconds(time: SystemTime) -> SystemTime {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    UNIX_EPOCH + Duration::from_secs(since.as_secs())
}

fn sign(jti: &str, subscribe: Choice, expires: Option<SystemTime>) -> String {
    let mut claims = json!({
        "jti": jti,
        // It may also list subscriptions, end them and revoke tokens.
        "mercure": {
            "publish": ["*"],
            "subscribe": subscribe.grants(),
        },
    });
    if let Some(expires) = expires {
        let seconds = expires.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        claims["exp"] = seconds.into();
    }
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let signed =
        format!("{}.{}", part(r#"{"alg":"HS256","typ":"JWT"}"#), part(&claims.to_string()));
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("any length is a key");
    mac.update(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}
