//! Checks this machine for a hub with these settings.

use std::path::Path;

use bytesize::ByteSize;

use super::Finding;
use crate::args::{Cli, ServeArgs};
use crate::commands::check::Report;
use crate::config::{Config, JournalConfig};

/// Fewer streams than this at a time are probably not what the machine was chosen for.
const STREAMS_MIN: usize = 10_000;
/// With less space than this on the disk, the hub soon refuses updates.
const SPACE_MIN: u64 = 64 << 20;
/// Connections that wait to be accepted, while all clients reconnect at once.
#[cfg(target_os = "linux")]
const BACKLOG_MIN: u64 = 1024;

pub(super) fn check(args: ServeArgs) -> Vec<Finding> {
    let read = Config::of(args.clone()).and_then(|config| Ok((config, Report::of(args)?)));
    let (config, report) = match read {
        Ok(read) => read,
        Err(error) => {
            let mut findings = vec![Finding::problem("configuration", format!("{error:#}"))];
            let unknown = Cli::unknown_variables();
            findings.extend(unknown.iter().map(|text| Finding::advice("configuration", text)));
            return findings;
        }
    };
    let mut findings = Vec::new();
    findings.extend(report.warnings.iter().map(|text| Finding::advice("configuration", text)));
    if findings.is_empty() {
        findings
            .push(Finding::good("configuration", "valid; `tidings check` shows what it allows"));
    }
    // Warnings about it are among those above.
    let certificate = report.lines.iter().find_map(|line| line.strip_prefix("certificate "));
    findings.extend(certificate.map(|text| Finding::good("certificate", text)));
    findings.push(streams(report.streams));
    findings.extend(disk(&config.journal));
    findings.extend(backlog());
    findings
}

fn streams(streams: usize) -> Finding {
    let count = match streams {
        usize::MAX => return Finding::good("streams", "no limit of the system"),
        count => count,
    };
    if count >= STREAMS_MIN {
        let text = format!("{count} at a time, with the limit of open files of this shell");
        return Finding::good("streams", text);
    }
    Finding::advice(
        "streams",
        format!(
            "{count} at a time, limited by open files, memory or limits.streams; the limit of open \
             files is this shell's, and a service may have another; raise it with `ulimit -n 100000`, \
             LimitNOFILE=100000 (systemd) or --ulimit nofile=100000 (Docker)"
        ),
    )
}

fn disk(journal: &JournalConfig) -> Option<Finding> {
    let JournalConfig::Disk { folder, options } = journal else { return None };
    let default = 1 << 30;
    let kept = options.retention.iter().map(|rule| rule.bounds.bytes);
    let kept = kept.reduce(u64::saturating_add).unwrap_or(default);
    let existing = folder.ancestors().find(|path| path.exists())?;
    let shown = folder.display();
    if !is_writable(existing) {
        return Some(Finding::problem(
            "disk",
            format!(
                "this user may not write to {}; change its owner, or set --data-dir",
                existing.display()
            ),
        ));
    }
    let Some(free) = free_bytes(existing) else {
        return Some(Finding::good("disk", format!("{shown} can be written")));
    };
    let (free_shown, kept_shown) = (ByteSize::b(free), ByteSize::b(kept));
    Some(if free < SPACE_MIN {
        Finding::problem("disk", format!("{free_shown} are free for {shown}; free some space"))
    } else if free.saturating_add(existing_bytes(folder)) < kept {
        Finding::advice(
            "disk",
            format!(
                "{free_shown} are free for {shown}, but the journal may grow to {kept_shown}; free \
                 some space, or lower bytes in [[journal.retention]]"
            ),
        )
    } else {
        Finding::good(
            "disk",
            format!("{free_shown} are free for {shown}, which may keep {kept_shown}"),
        )
    })
}

/// The size of the journal in this folder, if there is one.
fn existing_bytes(folder: &Path) -> u64 {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = files.filter_map(|file| Some(file.metadata().ok()?.len()));
    sizes.fold(0, u64::saturating_add)
}

#[cfg(unix)]
fn is_writable(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok()
}

#[cfg(not(unix))]
fn is_writable(_: &Path) -> bool {
    true
}

#[cfg(unix)]
fn free_bytes(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(not(unix))]
fn free_bytes(_: &Path) -> Option<u64> {
    None
}

#[cfg(target_os = "linux")]
fn backlog() -> Option<Finding> {
    let text = std::fs::read_to_string("/proc/sys/net/core/somaxconn").ok()?;
    let count: u64 = text.trim().parse().ok()?;
    Some(if count >= BACKLOG_MIN {
        Finding::good("connections", format!("{count} may wait to be accepted"))
    } else {
        Finding::advice(
            "connections",
            format!(
                "only {count} may wait to be accepted, so some are refused when all clients \
                 reconnect at once; set sysctl net.core.somaxconn=4096"
            ),
        )
    })
}

#[cfg(not(target_os = "linux"))]
fn backlog() -> Option<Finding> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_existing_journal_counts_as_space() {
        let folder = std::env::temp_dir().join(format!("tidings-space-{}", std::process::id()));
        assert_eq!(existing_bytes(&folder), 0);
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("journal.db"), [0; 100]).unwrap();
        std::fs::write(folder.join("journal.db-wal"), [0; 23]).unwrap();
        assert_eq!(existing_bytes(&folder), 123);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
