//! Names that only some systems have must be behind a `cfg`: the hub and its command compile on
//! every system that Rust, tokio and SQLite support.
//!
//! The standard libraries of other systems are not available here, so names are searched in the
//! text. The compiler of such a system would report the same names.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::outcome::Outcome;
use crate::tree;

/// Names that only Linux has, as libraries spell them.
const LINUX: [&str; 15] = [
    "std::os::linux",
    "os::android",
    "tcp_user_timeout",
    "tcp_quickack",
    "set_cork",
    "set_freebind",
    "set_mark",
    "bind_device",
    "busy_poll",
    "incoming_cpu",
    "accept4",
    "epoll",
    "eventfd",
    "signalfd",
    "sd_notify::",
];

/// Names that exist on Unix and not on Windows.
const UNIX: [&str; 11] = [
    "std::os::unix",
    "std::os::fd",
    "tokio::signal::unix",
    "net::unix",
    "UnixStream",
    "UnixListener",
    "UnixDatagram",
    "libc::",
    "rustix::",
    "rlimit::",
    "set_reuse_port",
];

/// Files that are compiled on some systems only: their `mod` declaration is behind a `cfg`.
const FILES: [(&str, &str); 2] = [
    ("crates/tidings/src/commands/serve/unix.rs", "unix"),
    ("crates/tidings-disk/src/lock/path.rs", "target_os = \"linux\""),
];

/// Looks at the code of every crate that is shipped.
///
/// # Errors
/// If a name is used outside of a `cfg`, with every finding in the text.
pub(crate) fn check(root: &Path) -> Result<Outcome> {
    let Some(files) = tree::files(root)? else {
        return Ok(Outcome::Skipped("this is not a git checkout".to_owned()));
    };
    let is_code = |name: &&String| {
        name.starts_with("crates/")
            && name.contains("/src/")
            && name.ends_with(".rs")
            && !name.ends_with("tests.rs")
    };
    let mut findings = Vec::new();
    for name in files.iter().filter(is_code) {
        let text = fs::read_to_string(root.join(name)).with_context(|| name.clone())?;
        let whole = FILES.iter().find(|(file, _)| file == name).map(|(_, cfg)| *cfg);
        for (line, word) in unguarded(&text, whole.unwrap_or("")) {
            findings.push(format!("{name}:{line}: {word} is outside of a cfg"));
        }
    }
    if findings.is_empty() {
        return Ok(Outcome::Passed);
    }
    bail!("only some systems have:\n{}", findings.join("\n"))
}

/// The lines, counted from 1, with a name that is not behind the `cfg` that it needs.
fn unguarded(text: &str, whole: &str) -> Vec<(usize, &'static str)> {
    let mut findings = Vec::new();
    // The `cfg` of each open brace, and that of the next item.
    let mut open: Vec<String> = vec![whole.to_owned()];
    let mut next = String::new();
    for (number, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        if code.trim() == "#[cfg(test)]" {
            // Tests run on the system of the steps.
            break;
        }
        if let Some(cfg) = code.trim().strip_prefix("#[cfg(") {
            next.push_str(cfg);
            continue;
        }
        let behind = open.concat() + &next;
        let is_linux = behind.contains("target_os = \"linux\"");
        let is_unix = is_linux || has_unix(&behind);
        let found = |names: &[&'static str]| names.iter().copied().find(|name| code.contains(name));
        if !is_linux && let Some(name) = found(&LINUX) {
            findings.push((number + 1, name));
        } else if !is_unix && let Some(name) = found(&UNIX) {
            findings.push((number + 1, name));
        }
        let depth = open.len();
        for character in code.chars() {
            match character {
                // The first may be a pattern's, and the second the arm's.
                '{' => open.push(next.clone()),
                '}' if open.len() > 1 => drop(open.pop()),
                _ => {}
            }
        }
        let has_begun = open.len() > depth;
        if has_begun || matches!(code.trim_end().chars().last(), Some(';' | ',' | '}')) {
            next.clear();
        }
    }
    findings
}

/// Whether a `cfg` allows only Unix.
fn has_unix(cfg: &str) -> bool {
    cfg.replace("not(unix)", "").contains("unix")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[usize]) {
        let lines: Vec<_> = unguarded(text, "").into_iter().map(|(line, _)| line).collect();
        assert_eq!(lines, expected, "{text}");
    }

    #[test]
    fn names_of_some_systems_are_found_outside_of_their_cfg() {
        check("use std::os::unix::fs::MetadataExt;\n", &[1]);
        check("#[cfg(unix)]\nuse std::os::unix::fs::MetadataExt;\nuse std::os::fd::AsFd;\n", &[3]);
        check("use tokio::net::unix::pipe::Sender;\n", &[1]);
        check("#[cfg(not(unix))]\nfn f() { libc::getpid() }\n", &[2]);
        check(
            "#[cfg(unix)]\nmod a {\n    fn f() {\n        libc::x()\n    }\n}\nlibc::y();\n",
            &[7],
        );
        check("#[cfg(unix)]\nA::B { c, .. } => {\n    libc::x();\n}\nD => libc::y(),\n", &[5]);
        check("fn f() {\n    socket.set_tcp_user_timeout(None)\n}\n", &[2]);
        let linux = "#[cfg(any(target_os = \"android\", target_os = \"linux\"))]\n";
        check(&format!("{linux}return socket.set_tcp_user_timeout(None);\nepoll();\n"), &[3]);
        check("// std::os::unix\n#[cfg(test)]\nmod tests { use std::os::unix; }\n", &[]);
    }
}
