//! The command: `tidings serve`, `publish`, `subscribe`, `tail`, `inspect`, `journal`, `token`,
//! `check`, `bench`.

mod args;
mod commands;
mod config;
mod outcome;

use std::pin::Pin;

use clap::Parser;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
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
    // In a box, so that the code of all commands is there once: `block_on` is compiled for each
    // kind of runtime, with the future that it is given.
    let command: Pin<Box<dyn Future<Output = _>>> = Box::pin(async {
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
    match runtime.block_on(command) {
        Ok(outcome) => outcome.into(),
        Err(error) => {
            eprintln!("tidings: {error:#}");
            Outcome::of(&error).into()
        }
    }
}

fn start_log(global: &args::Global) -> anyhow::Result<()> {
    // Libraries have much to say of each frame and connection, in which ours would drown.
    let levels = match global.verbose {
        // What the client of NATS says matters where one looks for more than the hub says of it.
        0 => Targets::new()
            .with_default(LevelFilter::INFO)
            .with_target("async_nats", LevelFilter::ERROR),
        1 => Targets::new()
            .with_default(LevelFilter::INFO)
            .with_target("tidings", LevelFilter::DEBUG),
        _ => Targets::new().with_default(LevelFilter::TRACE),
    };
    let log = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    let log = match global.log_format {
        args::LogFormat::Text => log.with_target(false).boxed(),
        args::LogFormat::Json => log.json().boxed(),
    };
    let started = tracing_subscriber::registry().with(log.with_filter(levels)).try_init();
    started.map_err(|error| anyhow::anyhow!("the log cannot be started: {error}"))
}
