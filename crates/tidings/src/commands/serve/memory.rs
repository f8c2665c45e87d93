//! Limits the number of streams to the memory that this process may use.
//!
//! If a control group runs out of memory, the kernel kills the hub: all streams end at once, and a
//! journal in memory is lost. A stream beyond the limit is told when to reconnect and loses
//! nothing.

#[cfg(target_os = "linux")]
mod control_group;

use bytesize::ByteSize;

use crate::config::{Config, JournalConfig, requests_min};

/// The assumed memory of a stream in the hub and the kernel. An idle stream uses a quarter to all
/// of it, depending on its lane (docs/performance.md); one whose client does not read uses more.
const STREAM_BYTES: u64 = 16 << 10;
/// The same over TLS, where each connection of HTTP/1.1 has its own keys and buffers.
const STREAM_BYTES_TLS: u64 = 32 << 10;
/// The memory of the hub itself: code, threads, and updates that wait for the journal.
const BASE_BYTES: u64 = 32 << 20;
/// The memory of a journal on disk or NATS: the newest updates, and pages of its file.
const DISK_JOURNAL_BYTES: u64 = 64 << 20;
/// The default of `limits.window` per shard, for readers whose sockets are full.
const SHARD_WINDOW_BYTES: u64 = 8 << 20;
/// The default of `limits.requests` is the memory divided by this.
const REQUESTS_PART: u64 = 32;
/// For this many streams, one connection may wait for a request.
const STREAMS_FOR_ONE_WAITING: u64 = 4;
/// The default of `limits.selectors` is the memory divided by this.
const SELECTORS_PART: u64 = 8;
/// The minimum of that default.
const SELECTOR_BYTES_MIN: usize = 4 << 20;
/// The memory of presence events: those that wait to be published, and those in the journal.
const PRESENCE_BYTES: u64 = 32 << 20;
/// The minimum of streams, so that a memory limit that is too tight shows in the log rather than as
/// a failure for every client.
const STREAMS_MIN: u64 = 128;

/// Lowers the limit on streams to what fits into the memory of this process's control group. A
/// configured limit is kept, with a warning if it is too high.
pub(super) fn bound(config: &mut Config) {
    let limits = [control_group_limit(), data_limit()];
    let Some(limit) = limits.into_iter().flatten().min() else { return };
    if !config.are_selectors_set {
        config.limits.selector_bytes = config.limits.selector_bytes.min(selectors(limit));
    }
    if !config.requests_are_set {
        let requests = usize::try_from(limit / REQUESTS_PART).unwrap_or(usize::MAX);
        let limits = &mut config.limits;
        limits.request_bytes = limits.request_bytes.min(requests.max(requests_min(limits)));
    }
    let room = room(limit, config);
    let (memory, fixed) = (ByteSize::b(limit), ByteSize::b(fixed(config)));
    if room <= STREAMS_MIN {
        tracing::warn!(
            %memory, needed = %fixed,
            "the control group has too little memory for the journal and the windows; lower \
             `bytes` in [[journal.retention]] or limits.window, or raise the memory limit"
        );
    }
    let room = usize::try_from(room).unwrap_or(usize::MAX);
    if config.streams_are_set {
        if config.limits.streams > room {
            let streams = config.limits.streams;
            tracing::warn!(
                streams, room, %memory,
                "limits.streams is more than the control group's memory can hold; if the memory \
                 runs out, the kernel kills the hub"
            );
        }
    } else if config.limits.streams > room {
        tracing::info!(
            streams = room, %memory,
            "limiting streams to what fits into the control group's memory; limits.streams sets \
             another limit"
        );
        config.limits.streams = room;
    }
    // `room` counts one of these for every four streams.
    let waiting = usize::try_from(room as u64 / STREAMS_FOR_ONE_WAITING).unwrap_or(usize::MAX);
    config.limits.waiting_connections = config.limits.waiting_connections.min(waiting);
}

/// The limit of this process's control group.
#[cfg(target_os = "linux")]
fn control_group_limit() -> Option<u64> {
    control_group::limit(std::path::Path::new("/"))
}

/// Only Linux has control groups.
#[cfg(not(target_os = "linux"))]
fn control_group_limit() -> Option<u64> {
    None
}

/// The limit on this process's private memory (`ulimit -d`).
#[cfg(unix)]
fn data_limit() -> Option<u64> {
    let (soft, _) = rlimit::Resource::DATA.get().ok()?;
    (soft != rlimit::INFINITY).then_some(soft)
}

#[cfg(not(unix))]
fn data_limit() -> Option<u64> {
    None
}

/// The default of `limits.selectors` with this much memory.
fn selectors(limit: u64) -> usize {
    usize::try_from(limit / SELECTORS_PART).unwrap_or(usize::MAX).max(SELECTOR_BYTES_MIN)
}

/// The number of streams that fit in addition to the hub's fixed memory.
fn room(limit: u64, config: &Config) -> u64 {
    let each = if config.tls.is_some() { STREAM_BYTES_TLS } else { STREAM_BYTES };
    // For every four streams one connection waits for a request, or is in a handshake.
    let with_waiting = each + each / STREAMS_FOR_ONE_WAITING;
    (limit.saturating_sub(fixed(config)) / with_waiting).max(STREAMS_MIN)
}

/// The memory that the hub may use apart from its streams.
fn fixed(config: &Config) -> u64 {
    let journal = match &config.journal {
        JournalConfig::Memory(retention) => retention.bytes,
        JournalConfig::Disk { .. } => DISK_JOURNAL_BYTES,
        // Also lists of subscriptions that hubs exchange, whose buffers have up to twice their size.
        #[cfg(feature = "nats")]
        JournalConfig::Nats(_) => DISK_JOURNAL_BYTES + 2 * config.limits.request_bytes as u64,
    };
    let shards = config.shards.or_else(|| Some(std::thread::available_parallelism().ok()?.get()));
    let windows = config
        .limits
        .window_bytes
        .map_or_else(|| shards.unwrap_or(1) as u64 * SHARD_WINDOW_BYTES, |bytes| bytes as u64);
    // Bodies are in memory twice: as received, and as parsed updates.
    let requests = 2 * config.limits.request_bytes as u64;
    let selectors = config.limits.selector_bytes as u64;
    let presence = if config.presence_events { PRESENCE_BYTES } else { 0 };
    let parts = [journal, windows, requests, selectors, presence];
    parts.into_iter().fold(BASE_BYTES, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::ServeArgs;

    #[test]
    fn streams_get_the_memory_that_the_journal_and_the_windows_leave() {
        let args = || ServeArgs {
            journal: Some(crate::args::JournalChoice::Memory),
            shards: Some(2),
            ..ServeArgs::default()
        };
        let mut config = Config::of(args()).unwrap();
        config.limits.selector_bytes = selectors(512 << 20);
        config.limits.request_bytes = 16 << 20;
        // MiB: 32 for the hub, 64 for the journal, 8 per shard, 64 for selectors, 32 for requests.
        assert_eq!(fixed(&config), 208 << 20);
        assert_eq!(room(512 << 20, &config), (304 << 20) / (20 << 10));
        #[cfg(feature = "nats")]
        {
            // The same 64 MiB for the journal, and 32 for lists that hubs exchange.
            let options = tidings_hub::NatsOptions::of_servers(["nats://localhost"]);
            config.journal = JournalConfig::Nats(options);
            assert_eq!(fixed(&config), 240 << 20);
        }
        assert_eq!(room(100 << 20, &config), STREAMS_MIN);
        assert_eq!(selectors(1 << 20), SELECTOR_BYTES_MIN);
    }
}
