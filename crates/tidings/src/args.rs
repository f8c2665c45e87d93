//! The command line: every command and its flags. Each flag of `serve` also has a `TIDINGS_…`
//! variable.

// Doc comments on flags are their help texts, which show URLs as users type them.
#![allow(rustdoc::bare_urls)]

mod about;
mod access;
mod advice;
mod bench;
mod doctor;
mod environment;
mod format;
mod heading;
mod health;
pub(crate) mod host;
mod hubs;
mod init;
mod inspect;
mod journal;
mod journal_choice;
mod key;
mod nats;
mod publish;
mod request;
mod serve;
mod subscribe;
mod subscriptions;
mod tail;
mod token;
pub(crate) mod units;
pub(crate) mod unusable;
mod yes_or_no;

use std::ffi::OsString;

use clap::{Args, CommandFactory as _, Error, FromArgMatches as _, Parser, Subcommand, ValueEnum};

use crate::console::say;
use crate::outcome::EXIT_CODES;
pub(crate) use about::{CompletionsArgs, ManArgs, VersionArgs};
pub(crate) use access::DialectChoice;
pub(crate) use bench::BenchArgs;
pub(crate) use doctor::DoctorArgs;
pub(crate) use environment::OF_EXEC;
pub(crate) use format::Format;
pub(crate) use health::HealthArgs;
pub(crate) use hubs::{HubsArgs, HubsCommand};
pub(crate) use init::InitArgs;
pub(crate) use inspect::InspectArgs;
pub(crate) use journal::{JournalArgs, JournalCommand, TrimArgs};
pub(crate) use journal_choice::{JournalChoice, JournalKind, Sync};
pub(crate) use key::{KeyAlgorithm, KeyArgs};
pub(crate) use nats::NatsStorageChoice;
pub(crate) use publish::PublishArgs;
pub(crate) use request::{HubArgs, HubRequestArgs, RequestArgs};
pub(crate) use serve::{SHARDS, ServeArgs};
pub(crate) use subscribe::SubscribeArgs;
pub(crate) use subscriptions::{SubscriptionsArgs, SubscriptionsCommand};
pub(crate) use tail::TailArgs;
pub(crate) use token::{TokenArgs, TokenCommand, TokenDialect, TokenInspectArgs};

/// A hub for server-sent events: publishers send updates over HTTP, and every subscriber receives
/// them, including those that it missed while it was disconnected.
///
/// Without a command, `tidings` runs a hub for development on http://localhost:8081/.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

impl Cli {
    /// Reads the command line and the environment. Ends the process if they are invalid, or after
    /// it has printed a text such as that of `--help`.
    pub(crate) fn read() -> Self {
        Self::of(std::env::args_os())
    }

    fn of(arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
        let mut command = Self::tree();
        Self::parse_with(&mut command, &arguments).unwrap_or_else(|error| {
            let error = error.format(&mut command);
            let variable = environment::variable_of(&error, &command);
            let code = error.exit_code();
            // The exit code is the same even if the text cannot be written.
            let _ = error.print();
            if let Some(variable) = variable {
                say!("note: the value comes from the environment variable {variable}");
            }
            std::process::exit(code)
        })
    }

    fn parse_with(command: &mut clap::Command, arguments: &[OsString]) -> Result<Self, Error> {
        let mut matches = command.try_get_matches_from_mut(arguments);
        if let Err(error) = &matches
            && let Some(with_serve) = advice::with_serve(error, arguments, command)
        {
            *command = Self::tree();
            matches = command.try_get_matches_from_mut(with_serve);
        }
        let checked = matches.and_then(|matches| {
            // With every variable, even if it is empty: its flag may be set too.
            unusable::refuse(&matches, &Self::command()).map(|()| matches)
        });
        let read = checked.and_then(|mut matches| Self::from_arg_matches_mut(&mut matches));
        read.map_err(|error| advice::add(error, arguments, command))
    }

    /// All commands. Variables that are set but empty set no flag.
    fn tree() -> clap::Command {
        environment::without_empty(Self::described())
    }

    /// All commands and their help.
    pub(crate) fn described() -> clap::Command {
        let command = Self::command();
        let global = command.get_arguments().filter(|arg| arg.is_global_set());
        let hidden: Vec<_> = global.map(|arg| arg.clone().hide(true)).collect();
        command.mut_subcommands(|command| match LOG_NOTHING.contains(&command.get_name()) {
            true => command.args(hidden.clone()),
            false => command,
        })
    }

    /// A warning for each variable `TIDINGS_…` that no command reads.
    pub(crate) fn unknown_variables() -> Vec<String> {
        environment::unknown(&Self::command())
    }
}

/// Follows the flags of `serve`. Those of `check` and `doctor` are the same, with other examples.
const SERVE_EXAMPLES: &str = "\
Examples:
  tidings serve
  tidings serve --config tidings.toml
  tidings serve --listen 0.0.0.0:8081 --anonymous-subscribe --publisher-key-file hub.key

Limits, and what the journal keeps, are settings of the configuration file. `tidings init` writes
one in which every setting is explained.";

/// Commands without a log, so that their help does not list its flags.
const LOG_NOTHING: [&str; 6] = ["init", "key", "hubs", "completions", "man", "version"];

/// Follows the list of commands, before the exit codes.
const EXAMPLES: &str = "\
Try it, with one terminal for each command:
  tidings
  tidings subscribe https://example.com/books/1
  tidings publish https://example.com/books/1 'hello'

Requests use the proxies named in the environment (http_proxy, https_proxy, all_proxy, no_proxy),
except requests to this machine. A login in a URL is sent as Basic authentication.";

/// Options of every command.
#[derive(Args, Debug)]
#[command(next_help_heading = heading::LOG)]
pub(crate) struct Global {
    /// The format of the log
    #[arg(
        long,
        global = true,
        env = "TIDINGS_LOG_FORMAT",
        value_enum,
        value_name = "FORMAT",
        default_value_t
    )]
    pub(crate) log_format: LogFormat,
    /// Log debug messages; -vv also logs trace messages
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines to read
    #[default]
    Text,
    /// One JSON object per line
    Json,
}

// A doc comment on a variant would replace the help text of its arguments.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(after_help = SERVE_EXAMPLES)]
    Serve(Box<ServeArgs>),
    Publish(PublishArgs),
    Subscribe(SubscribeArgs),
    Tail(TailArgs),
    Inspect(InspectArgs),
    Init(InitArgs),
    /// Validate a configuration, and show which access it grants, without running a hub
    ///
    /// Takes the flags and variables of `serve`. Prints the addresses, which clients may publish
    /// and subscribe, the limits, and warnings. Exits with code 2 if the configuration is invalid.
    Check(Box<ServeArgs>),
    Health(HealthArgs),
    Doctor(Box<DoctorArgs>),
    Key(KeyArgs),
    Token(Box<TokenArgs>),
    Subscriptions(SubscriptionsArgs),
    Hubs(HubsArgs),
    Journal(JournalArgs),
    Bench(BenchArgs),
    Completions(CompletionsArgs),
    Man(ManArgs),
    Version(VersionArgs),
}

impl Default for Command {
    /// `tidings` without a command is `tidings serve` without flags.
    fn default() -> Self {
        match Cli::of(["tidings", "serve"]).command {
            Some(command) => command,
            None => Self::Serve(Box::default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_of_serve_is_listed_under_one_of_the_headings() {
        let mut cli = Cli::command();
        cli.build();
        let serve = cli.find_subcommand("serve").unwrap();
        for arg in serve.get_arguments().filter(|arg| arg.get_id() != "help") {
            let heading = arg.get_help_heading();
            assert!(
                heading.is_some_and(|one| heading::OF_SERVE.contains(&one)),
                "{arg}: {heading:?}"
            );
        }
    }

    /// Walks the whole tree: `COMMAND SUBCOMMAND --flag` for each of these flags.
    fn commands_with(flag: &str, command: &clap::Command, path: &str, found: &mut Vec<String>) {
        if command.get_arguments().any(|arg| arg.get_long() == Some(flag)) {
            found.push(path.trim().to_owned());
        }
        for command in command.get_subcommands().filter(|command| command.get_name() != "help") {
            commands_with(flag, command, &format!("{path} {}", command.get_name()), found);
        }
    }

    #[test]
    fn options_of_requests_are_only_on_commands_that_send_such_requests() {
        let mut cli = Cli::command();
        cli.build();
        let of_hubs =
            ["publish", "subscribe", "subscriptions list", "subscriptions end", "token revoke"];
        for (flag, others) in [
            ("hub", &[][..]),
            ("token", &["bench", "doctor", "hubs save"]),
            ("header", &["bench", "doctor", "inspect", "tail"]),
            ("timeout", &["bench", "doctor", "health", "inspect", "tail"]),
        ] {
            let mut found = Vec::new();
            commands_with(flag, &cli, "", &mut found);
            found.sort_unstable();
            let mut expected: Vec<_> = of_hubs.iter().chain(others).copied().collect();
            expected.sort_unstable();
            assert_eq!(found, expected, "--{flag}");
        }
    }

    #[test]
    fn no_command_is_serve() {
        assert!(matches!(Command::default(), Command::Serve(_)));
    }
}
