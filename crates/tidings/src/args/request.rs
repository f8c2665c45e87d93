//! Options of commands that send requests.

use std::time::Duration;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command, Error, FromArgMatches};

use super::heading::REQUEST;
use super::units;

/// Options of the commands that send requests to a server.
#[derive(Args, Debug)]
#[command(next_help_heading = REQUEST)]
pub(crate) struct RequestArgs {
    /// An additional header for every request; repeatable
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub(crate) headers: Vec<String>,
    /// How long to wait for a response
    #[arg(long, value_name = "TIME", default_value = "30s",
          value_parser = units::duration)]
    pub(crate) timeout: Duration,
}

/// Options of the commands that send requests to a hub.
#[derive(Args, Debug)]
#[command(next_help_heading = REQUEST)]
pub(crate) struct HubRequestArgs {
    #[command(flatten)]
    pub(crate) token: TokenArg,
    #[command(flatten)]
    pub(crate) common: RequestArgs,
}

/// `--token`, and whether it was on the command line.
#[derive(Debug, Default)]
pub(crate) struct TokenArg {
    text: Option<String>,
    is_from_variable: bool,
}

impl TokenArg {
    /// The token for a hub that is named by its URL.
    pub(crate) fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }

    /// The token for a hub that was saved with this one. The variable may hold another hub's token,
    /// so it comes last.
    pub(crate) fn or_saved<'a>(&'a self, saved: Option<&'a str>) -> Option<&'a str> {
        match (self.text(), saved) {
            (Some(_), Some(saved)) if self.is_from_variable => Some(saved),
            (token, saved) => token.or(saved),
        }
    }
}

// By hand, because a derived one does not know where a value comes from.
impl FromArgMatches for TokenArg {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut token = Self::default();
        token.update_from_arg_matches(matches)?;
        Ok(token)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        self.text = matches.try_get_one::<String>("token").ok().flatten().cloned();
        let source = self.text.as_ref().and_then(|_| matches.value_source("token"));
        self.is_from_variable = source == Some(ValueSource::EnvVariable);
        Ok(())
    }
}

impl Args for TokenArg {
    fn augment_args(command: Command) -> Command {
        command.arg(
            Arg::new("token")
                .long("token")
                .env("TIDINGS_TOKEN")
                .hide_env_values(true)
                .value_name("TOKEN")
                .help_heading(REQUEST)
                .help(
                    "The token for the hub, sent as `Authorization: Bearer`. The token of a saved \
                     hub takes precedence over the variable, and --token over both",
                ),
        )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// The hub of `publish` and `subscribe`, and their requests to it.
#[derive(Args, Debug)]
#[command(next_help_heading = REQUEST)]
pub(crate) struct HubArgs {
    /// The hub's URL: its origin, or the URL under which a proxy serves it. /.well-known/mercure is
    /// appended if it is missing. Or @NAME, a hub that `tidings hubs save` has saved
    #[arg(
        long,
        env = "TIDINGS_HUB",
        value_name = "URL|@NAME",
        default_value = "http://localhost:8081",
        hide_env_values = true
    )]
    pub(crate) hub: String,
    #[command(flatten)]
    pub(crate) request: HubRequestArgs,
}
