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

fn find(command: &Command, is_meant: &dyn Fn(&Arg) -> bool) -> Option<String> {
    let own = command.get_arguments().find(|arg| is_meant(arg)).and_then(Arg::get_env);
    let own = own.and_then(OsStr::to_str).map(str::to_owned);
    own.or_else(|| command.get_subcommands().find_map(|command| find(command, is_meant)))
}

fn value(arg: &Arg) -> Option<std::ffi::OsString> {
    arg.get_env().and_then(env::var_os)
}
