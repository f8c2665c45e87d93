//! The headings under which help lists flags, by what users look for.

pub(super) const CONFIGURATION: &str = "Configuration";
pub(super) const LISTENING: &str = "Listening";
pub(super) const TLS: &str = "TLS";
pub(super) const JOURNAL: &str = "Journal";
pub(super) const NATS: &str = "Journal on NATS (with --journal nats://…)";
pub(super) const ACCESS: &str = "Who may publish and subscribe";
pub(super) const TOKENS: &str = "Tokens";
pub(super) const STREAMS: &str = "Streams and threads";
pub(super) const DEMO: &str = "Trying it";
pub(super) const REQUEST: &str = "Requests";
pub(super) const LOG: &str = "Log";

/// The headings of the flags of `serve`.
#[cfg(test)]
pub(super) const OF_SERVE: [&str; 10] =
    [CONFIGURATION, LISTENING, TLS, ACCESS, TOKENS, JOURNAL, NATS, STREAMS, DEMO, LOG];
