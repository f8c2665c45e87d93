//! Which clients may publish and subscribe, in words: for the greeting and `tidings check`.

use tidings_hub::{Access, Dialect, IssuerKeys, Promise};

use crate::config::JournalConfig;

/// No client may do it.
pub(crate) const NO_CLIENT: &str = "no client";

/// The clients that may subscribe.
pub(crate) fn subscribers(access: &Access) -> String {
    let has_key = access.tokens.subscriber_key.is_some() || has_own_keys(access);
    match (access.anonymous_subscribe, has_key) {
        (true, true) => "every client; private updates need a token".to_owned(),
        (is_anonymous, has_key) => clients(is_anonymous, has_key),
    }
}

/// The clients that may publish.
pub(crate) fn publishers(access: &Access) -> String {
    let has_key = access.tokens.publisher_key.is_some() || has_own_keys(access);
    clients(access.anonymous_publish, has_key)
}

/// The versions of Mercure whose tokens are accepted, if any are.
pub(crate) fn tokens(access: &Access) -> Option<&'static str> {
    if !access.tokens.has_keys() {
        return None;
    }
    let speaks_coming = access.dialects.has(Dialect::Coming) && !access.tokens.audience.is_empty();
    Some(match (access.dialects.has(Dialect::Deployed), speaks_coming) {
        (true, true) => "0.x and 1.0",
        (true, false) => "0.x (1.0 also requires --issuer and --audience)",
        (false, _) => "1.0",
    })
}

/// Where the journal is, and when it is synced.
pub(crate) fn journal(journal: &JournalConfig) -> String {
    match journal {
        JournalConfig::Memory(retention) => {
            let size = bytesize::ByteSize::b(retention.bytes);
            format!("in memory, up to {size}, and is lost when the hub stops")
        }
        JournalConfig::Disk { folder, options } => {
            let synced = match options.promise {
                Promise::Always => "before each acknowledgement".to_owned(),
                Promise::Interval(time) => format!("every {}", humantime::format_duration(time)),
                other => format!("{other:?}"),
            };
            format!("in {}, synced {synced}", folder.display())
        }
        #[cfg(feature = "nats")]
        JournalConfig::Nats(options) => {
            format!("the NATS stream {} at {}", options.stream, options.shown())
        }
    }
}

/// Whether an issuer has its own keys, which sign tokens of publishers and subscribers.
fn has_own_keys(access: &Access) -> bool {
    access.tokens.issuers.iter().any(|issuer| !matches!(issuer.keys, IssuerKeys::Shared))
}

fn clients(is_anonymous: bool, has_key: bool) -> String {
    match (is_anonymous, has_key) {
        (true, _) => "every client",
        (false, true) => "clients with a token",
        (false, false) => NO_CLIENT,
    }
    .to_owned()
}
