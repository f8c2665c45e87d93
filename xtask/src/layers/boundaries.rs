//! The names of other crates that only some modules may use.

/// A name of another crate, and the modules that may use it.
pub(super) struct Boundary {
    /// The path, or its last names: `rusqlite`, or `Instant::now`. A method of any type is `.elapsed`.
    pub(super) name: &'static str,
    pub(super) modules: &'static [&'static str],
    /// A name below it that all modules may use.
    pub(super) except: Option<&'static str>,
}

pub(super) const fn only(name: &'static str, modules: &'static [&'static str]) -> Boundary {
    Boundary { name, modules, except: None }
}

pub(super) const fn none_but(name: &'static str, except: &'static str) -> Boundary {
    Boundary { name, modules: &[], except: Some(except) }
}

impl Boundary {
    pub(super) fn forbids(&self, module: &str, names: &[String]) -> bool {
        let parts: Vec<_> = self.name.split("::").collect();
        // A crate's name is first; an item of a crate may be in scope by its last names.
        let windows = if parts.len() == 1 { 1 } else { names.len() };
        let is_named = names.windows(parts.len()).take(windows).any(|window| window == parts);
        let is_excepted = self.except.is_some_and(|except| {
            let parts: Vec<_> = except.split("::").collect();
            names.windows(parts.len()).any(|window| window == parts)
        });
        is_named && !is_excepted && !self.modules.contains(&module)
    }
}

/// The rules of ARCHITECTURE.md for the hub's modules.
pub(super) const HUB_BOUNDARIES: &[Boundary] = &[
    // HTTP. The callback `Authorize` is given the head of a request; a stream may be a body.
    only("axum", &["http", "serve"]),
    only("httparse", &["serve"]),
    only("http", &["access"]),
    only("http_body", &["http", "serve", "shard"]),
    only("http_body_util", &["http"]),
    only("hyper", &["serve"]),
    only("hyper_util", &["serve"]),
    only("tower", &["http", "serve"]),
    only("tower_http", &["http"]),
    only("tower_service", &[]),
    // Sockets and TLS. Issuers' key sets are fetched from addresses that are looked up first.
    only("tokio::net", &["access", "serve", "transport"]),
    only("mio", &["transport"]),
    only("std::net::TcpListener", &["serve"]),
    only("std::net::TcpStream", &["serve", "transport"]),
    only("std::os::unix::net", &["serve", "transport"]),
    only("socket2", &["serve", "transport"]),
    only("rustls", &["serve"]),
    only("tokio_rustls", &["serve"]),
    only("webpki", &["serve"]),
    // Tokens.
    only("aws_lc_rs", &["access"]),
    only("base64", &["access"]),
    only("jsonwebtoken", &["access"]),
    only("reqwest", &["access"]),
    // Metrics.
    only("prometheus_client", &["metrics"]),
    // Clocks and threads, which a simulation replaces. Handshakes of TLS have a runtime of their own.
    only("Instant::now", &["clock"]),
    only("SystemTime::now", &["clock"]),
    only(".elapsed", &[]),
    only("task::spawn_blocking", &["beside"]),
    only("tokio::task::spawn_local", &["simulated", "task"]),
    only("std::thread", &["beside", "shard"]),
];

/// In `access/`, what is needed to read and verify tokens belongs to `tokens/`.
pub(super) const ACCESS_BOUNDARIES: &[Boundary] = &[
    only("http", &["authorize"]),
    only("tokio::net", &["tokens"]),
    only("aws_lc_rs", &["tokens"]),
    only("base64", &["tokens"]),
    only("jsonwebtoken", &["tokens"]),
    only("reqwest", &["tokens"]),
];

/// In `shard/`, one module starts threads, and one decides which subscribers are live and which are
/// behind, and counts both.
pub(super) const SHARD_BOUNDARIES: &[Boundary] = &[
    only("std::thread", &["handle"]),
    only(".note_behind", &["subscribers"]),
    only(".note_live", &["subscribers"]),
];

/// In `serve/`, few files know hyper, TLS and the kinds of sockets.
pub(super) const SERVE_BOUNDARIES: &[Boundary] = &[
    only("httparse", &["bad_head"]),
    only("hyper", &["bad_head", "body_lane", "direct_lane", "unread"]),
    only("hyper_util", &["body_lane", "direct_lane"]),
    only("tokio::net", &["handshake", "listen", "movable"]),
    only("std::net::TcpListener", &["listen"]),
    only("std::net::TcpStream", &["handshake", "movable"]),
    only("std::os::unix::net", &["listen"]),
    only("socket2", &["listen", "movable"]),
    only("rustls", &["tls"]),
    only("tokio_rustls", &["body_lane", "handshake"]),
    only("webpki", &["tls"]),
];

/// A library that does no I/O, reads no clock and starts no task.
pub(super) const NO_SYSTEM: &[Boundary] = &[
    only("std::fs", &[]),
    only("std::io", &[]),
    only("std::net", &[]),
    only("std::thread", &[]),
    only("Instant::now", &[]),
    only("SystemTime::now", &[]),
    only(".elapsed", &[]),
    only("tokio", &[]),
];

/// The same, but for wake-ups and locks that need no runtime, and for the slices of bytes that a
/// socket is given.
pub(super) const CORE_BOUNDARIES: &[Boundary] = &[
    only("std::fs", &[]),
    none_but("std::io", "std::io::IoSlice"),
    only("std::net", &[]),
    only("std::os", &[]),
    only("std::env", &[]),
    only("std::thread", &[]),
    only("std::process", &[]),
    only("Instant::now", &[]),
    only("SystemTime::now", &[]),
    only(".elapsed", &[]),
    none_but("tokio", "tokio::sync"),
];

/// The journal on disk: the bytes of updates, the state in memory and the queue know no SQL.
pub(super) const DISK_BOUNDARIES: &[Boundary] = &[
    only("rusqlite", SQL),
    only("crc32fast", &["group", "sum"]),
    only("parking_lot", &["damage", "queue", "readers", "threads"]),
    only("std::thread", &["threads"]),
    only("tokio::sync", &["journal", "queue", "readers"]),
    only("tokio::time", &["clock", "journal"]),
    only("std::fs", &["folder", "in_place", "inspect", "lock"]),
    only("std::os", &["in_place", "lock"]),
    // The journal's path is held with names of sockets.
    only("std::net", &[]),
    only("tokio::net", &["lock"]),
    only("tokio::runtime", &["lock"]),
    only("socket2", &["lock"]),
    only("siphasher", &["lock"]),
    // The writer has a schedule. The system's clock is a default of the options.
    only("Instant::now", &["clock"]),
    only("SystemTime::now", &["options"]),
    only(".elapsed", &[]),
];

const SQL: &[&str] = &[
    "sum",
    "table",
    "meta",
    "identity",
    "rows",
    "updates",
    "draft",
    "rewrite",
    "ids",
    "index",
    "keys",
    "revoked",
    "retain",
    "dropped",
    "layout",
    "upgrade",
    "open_error",
    "folder",
    "rebuild",
    "query",
    "readers",
    "writer",
    "start",
    "inspect",
];

/// The journal on NATS: the modules that speak to the servers, and those that read a clock.
pub(super) const NATS_BOUNDARIES: &[Boundary] = &[
    only(
        "async_nats",
        &[
            "connection",
            "read",
            "stream",
            "losses",
            "revocation_stream",
            "revocations",
            "other_hubs",
            "shared",
            "append",
            "revoke",
            "revocation_tail",
            "tail",
            "nodes",
        ],
    ),
    only("serde_json", &["connection", "message", "read", "stream", "revocation_stream"]),
    only("base64", &["read"]),
    only("chrono", &["read"]),
    only("percent_encoding", &["connection"]),
    only("url::Url", &["connection"]),
    only("std::fs", &["connection"]),
    only("std::net", &[]),
    // One thread, and one task for each answer to another hub.
    only("std::thread", &["journal"]),
    only("tokio::runtime", &["journal"]),
    only("tokio::spawn", &["nodes"]),
    only("Instant::now", NATS_CLOCKS),
    only("SystemTime::now", &["restore", "revocations", "revoke"]),
    only(".elapsed", &["strangers", "condition", "state", "revocations", "other_hubs", "restore"]),
];

const NATS_CLOCKS: &[&str] = &[
    "strangers",
    "condition",
    "connection",
    "state",
    "read",
    "stream",
    "revocations",
    "other_hubs",
    "append",
    "revoke",
    "restore",
    "nodes",
    "journal",
];
