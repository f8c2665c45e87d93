//! What is open to whom, in words: for the greeting, and for `tidings check`.

use tidings_hub::{Access, Dialect, IssuerKeys, Promise};

use crate::config::JournalConfig;

/// Nobody may do it.
pub(crate) const NOBODY: &str = "nobody";

/// Who may subscribe.
pub(crate) fn subscribers(access: &Access) -> String {
    let has_key = access.tokens.subscriber_key.is_some() || has_own_keys(access);
    who(access.anonymous_subscribe, has_key, "private updates:")
}

/// Who may publish.
pub(crate) fn publishers(access: &Access) -> String {
    let has_key = access.tokens.publisher_key.is_some() || has_own_keys(access);
    who(access.anonymous_publish, has_key, "also")
}

/// Of which dialects of Mercure tokens are taken, if any are.
pub(crate) fn tokens(access: &Access) -> Option<&'static str> {
    if !access.tokens.has_keys() {
        return None;
    }
    let speaks_coming = access.dialects.has(Dialect::Coming) && !access.tokens.audience.is_empty();
    Some(match (access.dialects.has(Dialect::Deployed), speaks_coming) {
        (true, true) => "0.x and 1.0",
        (true, false) => "0.x; those of 1.0 need --issuer and --audience",
        (false, _) => "1.0",
    })
}

/// Where the journal is, and what it promises.
pub(crate) fn journal(journal: &JournalConfig) -> String {
    match journal {
        JournalConfig::Memory(retention) => {
            format!("in memory, {}, and ends with the hub", bytesize::ByteSize::b(retention.bytes))
        }
        JournalConfig::Disk { folder, options } => {
            let synced = match options.promise {
                Promise::Always => "before each acknowledgement".to_owned(),
                Promise::Interval(time) => format!("every {}", humantime::format_duration(time)),
            };
            format!("in {}, synced {synced}", folder.display())
        }
        #[cfg(feature = "nats")]
        JournalConfig::Nats(options) => {
            format!("the stream {} of NATS at {}", options.stream, options.shown())
        }
    }
}

/// Whether an issuer has keys of its own, with which it signs for both.
fn has_own_keys(access: &Access) -> bool {
    access.tokens.issuers.iter().any(|issuer| !matches!(issuer.keys, IssuerKeys::Shared))
}

fn who(everybody: bool, has_key: bool, adds: &str) -> String {
    match (everybody, has_key) {
        (true, true) => format!("everybody who reaches it; {adds} whoever has a token"),
        (true, false) => "everybody who reaches it".to_owned(),
        (false, true) => "whoever has a token".to_owned(),
        (false, false) => NOBODY.to_owned(),
    }
}
