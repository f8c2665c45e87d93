//! How much memory the system lets this process have, and how many streams fit into it.
//!
//! A control group that has used up its memory loses its process: all streams at once, and a
//! journal in memory with them. A stream too many that is told when to come back loses nothing.

use std::fs;
use std::path::{Path, PathBuf};

use bytesize::ByteSize;

use crate::config::{Config, JournalConfig};

/// What a stream may take of the hub and the kernel together. An idle one takes a fourth to the
/// whole of it, by its lane (docs/performance.md); a reader that reads nothing takes more.
const STREAM_BYTES: u64 = 16 << 10;
/// The same over TLS, where each connection of HTTP/1.1 has keys and buffers of its own.
const STREAM_BYTES_TLS: u64 = 32 << 10;
/// What the hub takes by itself: its code, its threads, updates that wait for the journal.
const BASE_BYTES: u64 = 32 << 20;
/// What the journal on disk has in memory: the newest updates, and pages of its file. As much is
/// allowed for one on NATS.
const DISK_JOURNAL_BYTES: u64 = 64 << 20;
/// What a shard keeps for readers whose sockets are full, unless `limits.window` says otherwise.
const SHARD_WINDOW_BYTES: u64 = 8 << 20;
/// Streams that there is always room for: a limit that is too tight is to be seen in the log, and
/// not by every client.
const STREAMS_MIN: u64 = 128;

/// Lowers the bound on streams to what fits into the memory of this process's control group.
/// Whoever has set it knows better, and is told.
pub(super) fn bound(config: &mut Config) {
    let Some(limit) = limit(Path::new("/")) else { return };
    let room = room(limit, config);
    let (memory, fixed) = (ByteSize::b(limit), ByteSize::b(fixed(config)));
    if room <= STREAMS_MIN {
        tracing::warn!(
            %memory, needed = %fixed,
            "the control group has little memory for the journal and the windows; lower \
             `bytes` in [[journal.retention]] or limits.window, or allow more"
        );
    }
    let room = usize::try_from(room).unwrap_or(usize::MAX);
    if config.streams_are_set {
        if config.limits.streams > room {
            let streams = config.limits.streams;
            tracing::warn!(
                streams, room, %memory,
                "limits.streams is more than fit into the control group's memory, beyond which \
                 the kernel ends the hub"
            );
        }
    } else if config.limits.streams > room {
        tracing::info!(
            streams = room, %memory,
            "so many streams fit into the control group's memory; limits.streams sets another bound"
        );
        config.limits.streams = room;
    }
}

/// How many streams fit beside what the hub takes anyway.
fn room(limit: u64, config: &Config) -> u64 {
    let each = if config.tls.is_some() { STREAM_BYTES_TLS } else { STREAM_BYTES };
    (limit.saturating_sub(fixed(config)) / each).max(STREAMS_MIN)
}

/// What the hub may take, however many streams it has.
fn fixed(config: &Config) -> u64 {
    let journal = match &config.journal {
        JournalConfig::Memory(retention) => retention.bytes,
        JournalConfig::Disk { .. } => DISK_JOURNAL_BYTES,
        // The newest updates, what was read of the stream lately, and what is under way.
        #[cfg(feature = "nats")]
        JournalConfig::Nats(_) => DISK_JOURNAL_BYTES,
    };
    let shards = config.shards.or_else(|| Some(std::thread::available_parallelism().ok()?.get()));
    let windows = config
        .limits
        .window_bytes
        .map_or_else(|| shards.unwrap_or(1) as u64 * SHARD_WINDOW_BYTES, |bytes| bytes as u64);
    BASE_BYTES.saturating_add(journal).saturating_add(windows)
}

/// The memory that the control group of this process may have, or one that it is part of:
/// version 2 or 1, below `root`. `None` if there is no limit below what the machine has.
fn limit(root: &Path) -> Option<u64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let limits = groups.lines().filter_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        let path = path.trim_start_matches('/');
        let (mounts, file): (&[&str], _) = match controllers {
            "" => (&["sys/fs/cgroup", "sys/fs/cgroup/unified"], "memory.max"),
            _ if controllers.split(',').any(|one| one == "memory") => {
                (&["sys/fs/cgroup/memory"], "memory.limit_in_bytes")
            }
            _ => return None,
        };
        mounts.iter().filter_map(|mount| tightest(&root.join(mount), path, file)).min()
    });
    let limit = limits.min()?;
    let machine = machine(root).unwrap_or(u64::MAX);
    (limit < machine).then_some(limit)
}

/// The lowest limit of a group and of those that it is part of, up to where they are mounted. In
/// a container the path may be one of the machine outside; then the mount itself is the group.
fn tightest(mount: &Path, path: &str, file: &str) -> Option<u64> {
    let mut folder: PathBuf = mount.join(path);
    let mut lowest = None;
    while folder.starts_with(mount) {
        // The word `max` stands for none.
        let text = fs::read_to_string(folder.join(file)).unwrap_or_default();
        let here: Option<u64> = text.trim().parse().ok();
        lowest = lowest.into_iter().chain(here).min();
        if !folder.pop() {
            break;
        }
    }
    lowest
}

/// The machine's memory.
fn machine(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes << 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::ServeArgs;

    /// A system with these files.
    fn check(name: &str, files: &[(&str, &str)], expected: Option<u64>) {
        let root = std::env::temp_dir().join(format!("tidings-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let found = limit(&root);
        let _ = fs::remove_dir_all(&root);
        assert_eq!(found, expected, "{name}");
    }

    #[test]
    fn the_tightest_limit_of_all_groups_around_counts() {
        let machine = ("proc/meminfo", "MemTotal:       4000000 kB\nMemFree: 1 kB\n");
        let group = ("proc/self/cgroup", "0::/system.slice/tidings.service\n");
        check("no groups", &[machine], None);
        let own = "sys/fs/cgroup/system.slice/tidings.service/memory.max";
        check("own", &[machine, group, (own, "536870912\n")], Some(512 << 20));
        check("none", &[machine, group, (own, "max\n")], None);
        let slice = ("sys/fs/cgroup/system.slice/memory.max", "268435456\n");
        check("slice", &[machine, group, (own, "536870912\n"), slice], Some(256 << 20));
        check("above the machine", &[machine, group, (own, "5000000000\n")], None);
        let container = ("proc/self/cgroup", "0::/../../outside\n");
        let mount = ("sys/fs/cgroup/memory.max", "134217728\n");
        check("container", &[machine, container, mount], Some(128 << 20));
    }

    #[test]
    fn version_1_has_other_names() {
        let group = ("proc/self/cgroup", "4:cpu,cpuacct:/x\n3:memory:/a/b\n0::/\n");
        let limit = "sys/fs/cgroup/memory/a/b/memory.limit_in_bytes";
        check("v1", &[group, (limit, "104857600\n")], Some(100 << 20));
        check("v1-none", &[group, (limit, "9223372036854771712\n")], Some(9223372036854771712));
        let machine = ("proc/meminfo", "MemTotal:       4000000 kB\n");
        check("v1-unlimited", &[machine, group, (limit, "9223372036854771712\n")], None);
    }

    #[test]
    fn streams_have_what_the_journal_and_the_windows_leave() {
        let args = || ServeArgs {
            journal: Some(crate::args::JournalChoice::Memory),
            shards: Some(2),
            ..ServeArgs::default()
        };
        let config = Config::of(args()).unwrap();
        // 32 for itself, 64 for the journal, 8 for each shard.
        assert_eq!(fixed(&config), 112 << 20);
        assert_eq!(room(512 << 20, &config), (400 << 20) / (16 << 10));
        assert_eq!(room(100 << 20, &config), STREAMS_MIN);
    }
}
