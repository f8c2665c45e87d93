//! Names that not every system has.

use anyhow::Result;

use super::cfg::Cfg;

/// A name, and the systems that have it.
#[derive(Clone, Debug)]
pub(super) struct Name {
    /// One part of a path, a method, or several parts of a path. After `file:`, the
    /// beginning of a file's path in a string.
    pub(super) text: String,
    pub(super) on: Cfg,
    pub(super) reason: &'static str,
}

const LINUX: &str = "target_os = \"linux\"";
const LINUX_AND_ANDROID: &str = "any(target_os = \"linux\", target_os = \"android\")";
const FREEBSD: &str = "target_os = \"freebsd\"";
const APPLE: &str = "target_os = \"macos\"";
const LINUX_AND_BSD: &str =
    "any(target_os = \"linux\", target_os = \"android\", target_os = \"freebsd\")";
const WINDOWS: &str = "windows";
const UNIX: &str = "unix";

/// The systems, the reason, and the names.
const TABLE: [(&str, &str, &[&str]); 14] = [
    (UNIX, "a module of Unix", &["os::unix", "os::fd", "signal::unix", "net::unix"]),
    (WINDOWS, "a module of Windows", &["os::windows", "signal::windows", "net::windows"]),
    (LINUX, "a module of Linux", &["os::linux"]),
    (LINUX_AND_ANDROID, "a module of Android", &["os::android"]),
    (UNIX, "a Unix socket", &["UnixStream", "UnixListener", "UnixDatagram"]),
    (UNIX, "calls of Unix", &["libc", "rustix", "nix", "rlimit"]),
    (UNIX, "a socket option of Unix", &["reuse_port", "set_reuse_port", "set_cloexec", "sendmsg"]),
    (
        LINUX_AND_ANDROID,
        "a socket option of Linux",
        &[
            "tcp_user_timeout",
            "set_tcp_user_timeout",
            "tcp_quickack",
            "set_tcp_quickack",
            "tcp_cork",
            "set_tcp_cork",
            "tcp_thin_linear_timeouts",
            "set_tcp_thin_linear_timeouts",
            "tcp_notsent_lowat",
            "set_tcp_notsent_lowat",
            "freebind_v4",
            "set_freebind_v4",
            "freebind_v6",
            "set_freebind_v6",
            "ip_transparent_v4",
            "set_ip_transparent_v4",
            "ip_transparent_v6",
            "set_ip_transparent_v6",
            "bind_device",
            "set_mark",
            "attach_filter",
            "detach_filter",
            "set_priority",
        ],
    ),
    (
        LINUX,
        "a socket option of Linux",
        &[
            "busy_poll",
            "set_busy_poll",
            "cpu_affinity",
            "set_cpu_affinity",
            "passcred",
            "set_passcred",
            "multicast_all_v4",
            "set_multicast_all_v4",
            "multicast_all_v6",
            "set_multicast_all_v6",
        ],
    ),
    (FREEBSD, "a socket option of FreeBSD", &["reuse_port_lb", "set_reuse_port_lb", "set_fib"]),
    (APPLE, "a socket option of macOS", &["set_nosigpipe"]),
    (LINUX_AND_BSD, "a call of Linux and the BSDs", &["accept4", "is_listener", "memfd_create"]),
    (
        LINUX,
        "a facility of Linux",
        &[
            "from_abstract_name",
            "as_abstract_name",
            "as_abstract_namespace",
            "epoll",
            "eventfd",
            "signalfd",
            "timerfd",
            "inotify",
            "io_uring",
            "fallocate",
            "O_TMPFILE",
            "sd_notify",
            "procfs",
        ],
    ),
    (
        LINUX,
        "a file of Linux",
        &[
            "file:/proc/",
            "file:proc/self",
            "file:/sys/fs/",
            "file:sys/fs/cgroup",
            "file:/run/systemd",
        ],
    ),
];

/// The names of the standard library, of tokio and socket2, and files.
///
/// # Errors
/// If a condition of the table is none.
pub(super) fn all() -> Result<Vec<Name>> {
    let mut names = Vec::new();
    for (on, reason, texts) in TABLE {
        let on = Cfg::parse(on)?;
        names.extend(texts.iter().map(|text| Name {
            text: (*text).to_owned(),
            on: on.clone(),
            reason,
        }));
    }
    Ok(names)
}
