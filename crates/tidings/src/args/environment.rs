//! Environment variables that set flags.

use std::env;
use std::ffi::OsStr;

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue};
use clap::{Arg, Command, Error};

/// Makes `command` ignore variables that are set but empty: unit files, Compose files and shells
/// write a variable without a value that way.
pub(super) fn without_empty(command: Command) -> Command {
    let without = |arg: Arg| {
        let is_empty = value(&arg).is_some_and(|value| value.is_empty());
        if is_empty { arg.env(Resettable::<clap::builder::OsStr>::Reset) } else { arg }
    };
    command.mut_args(without).mut_subcommands(without_empty)
}

/// The variable whose value caused an error. clap's own text names the flag only.
pub(super) fn variable_of(error: &Error, command: &Command) -> Option<String> {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let (flag, wrong) = (text(ContextKind::InvalidArg)?, text(ContextKind::InvalidValue)?);
    // As clap writes it: "--shards <N>", "--demo[=<DEMO>]".
    let flag = flag.split([' ', '[', '=']).next()?.strip_prefix("--")?;
    find(command, &|arg| {
        let holds = |value: &OsStr| {
            let value = value.to_str().unwrap_or_default();
            value == wrong || value.split(',').any(|one| one == wrong)
        };
        arg.get_long() == Some(flag) && value(arg).as_deref().is_some_and(holds)
    })
}

/// The variables that `subscribe --exec` sets for its command.
pub(crate) const OF_EXEC: [&str; 4] =
    ["TIDINGS_TOPIC", "TIDINGS_TYPE", "TIDINGS_ID", "TIDINGS_TIME"];

/// A warning for each variable `TIDINGS_…` in the environment that no command reads.
pub(super) fn unknown(command: &Command) -> Vec<String> {
    let mut known = Vec::new();
    collect(command, &mut known);
    let set = env::vars_os().filter_map(|(name, value)| {
        let name = name.into_string().ok()?;
        let is_known = known.contains(&name) || OF_EXEC.contains(&name.as_str());
        let is_ours = name.starts_with("TIDINGS_") && !is_known && !value.is_empty();
        (is_ours && !is_of_kubernetes(&name, &value.to_string_lossy())).then_some(name)
    });
    let mut unknown: Vec<_> = set.collect();
    unknown.sort_unstable();
    unknown.iter().map(|name| warning(name, &known)).collect()
}

fn warning(name: &str, known: &[String]) -> String {
    if name == "TIDINGS_PORT" {
        return format!("{name} is set but ignored: the port is part of TIDINGS_LISTEN");
    }
    let nearest = known
        .iter()
        .map(|known| {
            (strsim::jaro_winkler(&name["TIDINGS_".len()..], &known["TIDINGS_".len()..]), known)
        })
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .filter(|(likeness, _)| *likeness > 0.75);
    match nearest {
        Some((_, nearest)) => format!("{name} is set but ignored: did you mean {nearest}?"),
        None => {
            format!("{name} is set but ignored: no such setting; `tidings serve --help` lists them")
        }
    }
}

/// Whether Kubernetes sets this variable, as it does in every pod beside a service `tidings` or
/// `tidings-…`.
fn is_of_kubernetes(name: &str, value: &str) -> bool {
    let of_port = |rest: &str| rest.starts_with(|first: char| first.is_ascii_digit());
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || name.split_once("_PORT_").is_some_and(|(_, rest)| of_port(rest))
        || (name.ends_with("_PORT") && value.contains("://"))
}

fn collect(command: &Command, names: &mut Vec<String>) {
    let own = command.get_arguments().filter_map(|arg| arg.get_env()?.to_str());
    names.extend(own.filter(|name| name.starts_with("TIDINGS_")).map(str::to_owned));
    command.get_subcommands().for_each(|command| collect(command, names));
}

fn find(command: &Command, is_meant: &dyn Fn(&Arg) -> bool) -> Option<String> {
    let own = command.get_arguments().find(|arg| is_meant(arg)).and_then(Arg::get_env);
    let own = own.and_then(OsStr::to_str).map(str::to_owned);
    own.or_else(|| command.get_subcommands().find_map(|command| find(command, is_meant)))
}

fn value(arg: &Arg) -> Option<std::ffi::OsString> {
    arg.get_env().and_then(env::var_os)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_names_the_nearest_variable() {
        let known = ["TIDINGS_LISTEN", "TIDINGS_TLS_CERT"].map(str::to_owned);
        for (name, says) in [
            ("TIDINGS_LISTN", "did you mean TIDINGS_LISTEN?"),
            ("TIDINGS_TLS_CERTIFICATE", "did you mean TIDINGS_TLS_CERT?"),
            ("TIDINGS_PORT", "TIDINGS_LISTEN"),
            ("TIDINGS_", "no such setting"),
            ("TIDINGS_QUUX", "no such setting"),
        ] {
            let warning = warning(name, &known);
            assert!(warning.contains(says), "{warning}");
        }
    }

    #[test]
    fn variables_that_kubernetes_sets_are_no_mistakes() {
        assert!(is_of_kubernetes("TIDINGS_SERVICE_HOST", "10.0.0.1"));
        assert!(is_of_kubernetes("TIDINGS_PORT_8081_TCP_ADDR", "10.0.0.1"));
        assert!(is_of_kubernetes("TIDINGS_PORT", "tcp://10.0.0.1:8081"));
        assert!(is_of_kubernetes("TIDINGS_HUB_SERVICE_HOST", "10.0.0.1"));
        assert!(is_of_kubernetes("TIDINGS_HUB_SERVICE_PORT", "8081"));
        assert!(is_of_kubernetes("TIDINGS_HUB_SERVICE_PORT_HTTP", "8081"));
        assert!(is_of_kubernetes("TIDINGS_HUB_PORT_8081_TCP_PROTO", "tcp"));
        assert!(is_of_kubernetes("TIDINGS_HUB_PORT", "tcp://10.0.0.1:8081"));
        assert!(!is_of_kubernetes("TIDINGS_PORT", "9000"));
        assert!(!is_of_kubernetes("TIDINGS_HUB_PORT", "9000"));
        assert!(!is_of_kubernetes("TIDINGS_PORT_NUMBER", "9000"));
    }
}
