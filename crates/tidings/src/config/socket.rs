//! Mode, owner and group of the hub's Unix sockets.

use std::fs;

use serde::{Deserialize, Serialize};

use crate::args::ServeArgs;
use crate::outcome::Ended;

/// The table `[socket]`, with the names of the flags.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct SocketFile {
    mode: Option<String>,
    owner: Option<String>,
    group: Option<String>,
}

impl SocketFile {
    /// A table with every key.
    pub(super) fn every() -> Self {
        let text = || Some(String::new());
        Self { mode: text(), owner: text(), group: text() }
    }
}

/// Mode, owner and group of the socket's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SocketOptions {
    pub(crate) mode: u32,
    pub(crate) owner: Option<u32>,
    pub(crate) group: Option<u32>,
}

impl Default for SocketOptions {
    /// Access for the hub's own user and group.
    fn default() -> Self {
        Self { mode: 0o660, owner: None, group: None }
    }
}

/// # Errors
/// If the mode is invalid, or no user or group has the name.
pub(super) fn read(args: &ServeArgs, file: SocketFile) -> anyhow::Result<SocketOptions> {
    let mut options = SocketOptions::default();
    if let Some(text) = args.socket_mode.clone().or(file.mode) {
        options.mode = mode(&text).ok_or_else(|| {
            Ended::usage(format!(
                "--socket-mode is {text:?}; it must be octal, such as 0660, and at most 0777"
            ))
        })?;
    }
    if let Some(name) = args.socket_owner.clone().or(file.owner) {
        options.owner = Some(id(&name, "/etc/passwd", "--socket-owner", "user")?);
    }
    if let Some(name) = args.socket_group.clone().or(file.group) {
        options.group = Some(id(&name, "/etc/group", "--socket-group", "group")?);
    }
    Ok(options)
}

fn mode(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let is_octal = !digits.is_empty() && digits.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    u32::from_str_radix(digits, 8).ok().filter(|mode| is_octal && *mode <= 0o777)
}

/// The number of a user or group. Names are looked up in the system's own file only; users of a
/// directory service are given as a number.
fn id(name: &str, path: &str, flag: &str, what: &str) -> anyhow::Result<u32> {
    if let Ok(id) = name.parse() {
        return Ok(id);
    }
    let known = fs::read_to_string(path).unwrap_or_default();
    let found = known.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    });
    found.ok_or_else(|| {
        Ended::usage(format!("{flag} is {name:?}, but {path} has no such {what}; use its number"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_octal() {
        assert_eq!(mode("0660"), Some(0o660));
        assert_eq!(mode("660"), Some(0o660));
        assert_eq!(mode("0o777"), Some(0o777));
        for text in ["", "0o", "0888", "+660", "1777", "rw-rw----", "0x1ff"] {
            assert_eq!(mode(text), None, "{text}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn users_and_groups_have_names_or_numbers() {
        let user = |name| id(name, "/etc/passwd", "--socket-owner", "user");
        assert_eq!(user("root").unwrap(), 0);
        assert_eq!(user("4711").unwrap(), 4711);
        let error = user("nobody-has-this-name").unwrap_err().to_string();
        assert!(error.contains("/etc/passwd has no such user"), "{error}");
    }
}
