//! Tips for mistakes on the command line: flags of other programs, and flags of `serve` without
//! `serve`.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, Error};

/// The arguments with `serve` in front, if the user gave flags and no command. Plain `tidings` runs
/// a hub, so `tidings --listen …` means `tidings serve --listen …`.
pub(super) fn with_serve(
    error: &Error,
    arguments: &[OsString],
    command: &Command,
) -> Option<Vec<OsString>> {
    let (program, rest) = arguments.split_first()?;
    let is_flag = rest.first()?.to_str()?.starts_with('-');
    if error.kind() != ErrorKind::UnknownArgument || !is_flag || named(rest, command).is_some() {
        return None;
    }
    let mut with = vec![program.clone(), "serve".into()];
    with.extend(rest.iter().cloned());
    Some(with)
}

/// Adds a tip to the error about an unknown flag.
pub(super) fn add(mut error: Error, arguments: &[OsString], command: &Command) -> Error {
    if error.kind() != ErrorKind::UnknownArgument {
        return error;
    }
    let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg) else { return error };
    let rest = arguments.get(1..).unwrap_or_default();
    let tip = tip(flag, rest, named(rest, command).unwrap_or("serve"));
    if let Some(tip) = tip {
        // The similar flag that the parser suggests is a worse guess.
        error.remove(ContextKind::SuggestedArg);
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    error
}

fn tip(flag: &str, arguments: &[OsString], command: &str) -> Option<String> {
    let name = flag.split('=').next().unwrap_or(flag);
    match (command, name) {
        ("serve" | "check", "--port" | "-p" | "--http-port" | "-P") => {
            let port = value(name, arguments).filter(|port| port.parse::<u16>().is_ok());
            let port = port.unwrap_or_else(|| "9000".to_owned());
            Some(format!(
                "the port is part of --listen: `--listen localhost:{port}` for this machine only, \
                 `--listen 0.0.0.0:{port}` for the network"
            ))
        }
        ("serve" | "check", "--host" | "--bind" | "--addr" | "--address" | "-b" | "-l") => Some(
            "use --listen HOST:PORT, such as `--listen localhost:8081`, or 0.0.0.0:8081 for the \
             network"
                .to_owned(),
        ),
        ("publish" | "subscribe", "--url" | "--server" | "-u" | "-s" | "--host") => {
            Some("use --hub URL".to_owned())
        }
        ("publish", "--topic" | "-t" | "--data" | "-d" | "--message" | "-m") => {
            Some("topic and data need no flags: `tidings publish TOPIC DATA`".to_owned())
        }
        ("subscribe", "--topic" | "-t") => {
            Some("topics need no flag: `tidings subscribe TOPIC…`".to_owned())
        }
        _ => None,
    }
}

/// The value after a flag, in one of the forms `-p9000`, `--port=9000` and `--port 9000`.
fn value(name: &str, arguments: &[OsString]) -> Option<String> {
    let texts: Vec<_> = arguments.iter().map(|one| one.to_string_lossy()).collect();
    let index = texts.iter().position(|text| text.starts_with(name))?;
    let rest = texts[index].strip_prefix(name)?.trim_start_matches('=');
    match rest {
        "" => texts.get(index + 1).map(|next| next.clone().into_owned()),
        rest => Some(rest.to_owned()),
    }
}

/// The command that the arguments name. The value of a flag is none, even if it is a command's name,
/// as in `--data-dir journal`.
fn named<'a>(arguments: &[OsString], command: &'a Command) -> Option<&'a str> {
    let mut arguments = arguments.iter().filter_map(|one| one.to_str());
    while let Some(one) = arguments.next() {
        if one == "help" {
            return Some("help");
        }
        if let Some(flag) = one.strip_prefix("--") {
            if has_value(flag, command) {
                arguments.next();
            }
            continue;
        }
        if let Some(found) = command.find_subcommand(one) {
            return Some(found.get_name());
        }
    }
    None
}

/// Whether the argument after this flag of any command, or of `serve`, is its value.
fn has_value(flag: &str, command: &Command) -> bool {
    let of = |command: &Command| {
        command.get_arguments().any(|arg| {
            let takes = arg.get_action().takes_values() && !arg.is_require_equals_set();
            takes && arg.get_long() == Some(flag)
        })
    };
    of(command) || command.find_subcommand("serve").is_some_and(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_found_in_each_form() {
        let port = |name: &str, arguments: &[&str]| {
            let arguments: Vec<_> = arguments.iter().map(OsString::from).collect();
            value(name, &arguments)
        };
        for arguments in [&["--port", "9000"][..], &["serve", "--port=9000"]] {
            assert_eq!(port("--port", arguments).as_deref(), Some("9000"));
        }
        assert_eq!(port("-p", &["-p9000"]).as_deref(), Some("9000"));
        assert_eq!(port("-p", &["-p"]), None);
    }
}
