//! The command: `tidings serve`, `publish`, `subscribe`, `tail`, `inspect`, `journal`, `token`,
//! `check`, `bench`.

mod args;
mod commands;
mod config;
mod outcome;

use clap::Parser;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use args::{Cli, Command};
use outcome::Outcome;

fn main() -> std::process::ExitCode {
    let cli = Cli::parse();
    if let Err(error) = start_log(&cli.global) {
        eprintln!("tidings: {error:#}");
        return Outcome::Failed.into();
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("tidings: the system has no event queue: {error}");
            return Outcome::Failed.into();
        }
    };
    let done = runtime.block_on(async {
        match cli.command.unwrap_or_default() {
            Command::Serve(args) => commands::serve::run(*args).await,
            Command::Publish(args) => commands::publish::run(args, &cli.global).await,
            Command::Subscribe(args) => commands::subscribe::run(args, &cli.global).await,
            Command::Tail(args) => commands::tail::run(args, &cli.global).await,
            Command::Inspect(args) => commands::inspect::run(args, &cli.global).await,
            Command::Journal(args) => commands::journal::run(args).await,
            Command::Token(args) => commands::token::run(*args).await,
            Command::Check(args) => commands::check::run(*args),
            Command::Bench(args) => commands::bench::run(args, &cli.global).await,
        }
    });
    match done {
        Ok(outcome) => outcome.into(),
        Err(error) => {
            eprintln!("tidings: {error:#}");
            Outcome::of(&error).into()
        }
    }
}

fn start_log(global: &args::Global) -> anyhow::Result<()> {
    let level = match global.verbose {
        0 => tracing::Level::INFO,
        1 => tracing::Level::DEBUG,
        _ => tracing::Level::TRACE,
    };
    // What the client of NATS says matters where one looks for more than the hub says of it.
    let of_client = if global.verbose == 0 { tracing::Level::ERROR } else { level };
    let targets = Targets::new().with_default(level).with_target("async_nats", of_client);
    let log = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    let started = match global.log_format {
        args::LogFormat::Text => log.with_target(false).finish().with(targets).try_init(),
        args::LogFormat::Json => log.json().finish().with(targets).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("the log cannot be started: {error}"))
}
