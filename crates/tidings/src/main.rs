//! The `tidings` command. `args` has its subcommands and flags, `commands` what they do.

mod args;
mod commands;
mod config;
mod console;
mod log;
mod outcome;

use std::pin::Pin;

use anyhow::Context as _;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use args::{Cli, Command};
use console::say;
use outcome::Outcome;

/// Chosen by measurement: `cargo xtask bench allocators`, and docs/performance.md.
#[cfg(all(feature = "jemalloc", target_os = "linux", target_env = "gnu"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    let cli = Cli::read();
    let ended = run(cli);
    log::finish();
    ended
}

fn run(cli: Cli) -> std::process::ExitCode {
    let Cli { global, command } = cli;
    let command = command.unwrap_or_default();
    if let Err(error) = start_log(&global, &command) {
        say!("tidings: {error:#}");
        return Outcome::Failed.into();
    }
    // Every line of a log in JSON is JSON, also the last one.
    let is_logged =
        matches!(command, Command::Serve(_)) && global.log_format == args::LogFormat::Json;
    // These have warnings of their own.
    if !matches!(command, Command::Serve(_) | Command::Check(_) | Command::Doctor(_)) {
        for warning in Cli::unknown_variables() {
            say!("warning: {warning}");
        }
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            say!("tidings: cannot start the async runtime: {error}");
            return Outcome::Failed.into();
        }
    };
    // Boxed, so that the code of all commands is compiled once: `block_on` is compiled for each
    // kind of runtime, together with its future.
    let running: Pin<Box<dyn Future<Output = _>>> = Box::pin(async {
        outlive_full_files();
        match command {
            Command::Serve(args) => commands::serve::run(*args, global.log_format).await,
            Command::Publish(args) => commands::publish::run(args).await,
            Command::Subscribe(args) => commands::subscribe::run(args).await,
            Command::Tail(args) => commands::tail::run(args).await,
            Command::Inspect(args) => commands::inspect::run(args).await,
            Command::Journal(args) => commands::journal::run(args).await,
            Command::Token(args) => commands::token::run(*args).await,
            Command::Check(args) => commands::check::run(*args),
            Command::Init(args) => commands::init::run(&args),
            Command::Key(args) => commands::key::run(&args),
            Command::Health(args) => commands::health::run(args).await,
            Command::Doctor(args) => commands::doctor::run(*args).await,
            Command::Subscriptions(args) => commands::subscriptions::run(args).await,
            Command::Hubs(args) => commands::saved::run(args),
            Command::Bench(args) => commands::bench::run(args).await,
            Command::Completions(args) => commands::about::completions(&args),
            Command::Man(args) => commands::about::man(&args),
            Command::Version(args) => commands::about::version(&args),
        }
    });
    let ended = runtime.block_on(running);
    match ended.and_then(|outcome| console::finish().map(|()| outcome).map_err(Into::into)) {
        Ok(outcome) => outcome.into(),
        Err(error) => {
            let outcome = Outcome::of(&error);
            // A closed pipe, as in `… | head`, is not reported.
            if outcome != Outcome::Unread && is_logged {
                tracing::error!(error = format!("{error:#}"), "the hub stopped");
            } else if outcome != Outcome::Unread {
                say!("tidings: {error:#}");
            }
            outcome.into()
        }
    }
}

/// Makes a write beyond the maximum file size (`ulimit -f`) an error, as on a full disk. By default
/// the signal kills the process silently.
fn outlive_full_files() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        // A handler replaces the signal's default action, which is to kill the process.
        let _ = signal(SignalKind::from_raw(libc::SIGXFSZ));
    }
}

fn start_log(global: &args::Global, command: &Command) -> anyhow::Result<()> {
    // Only our own lines are known to contain no topic, no data and no token. Debug lines of
    // libraries contain whole frames and messages, so `-v` does not affect them.
    let own = match global.verbose {
        0 => LevelFilter::INFO,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let levels = Targets::new()
        .with_default(LevelFilter::WARN)
        // The hub logs what matters about NATS itself.
        .with_target("async_nats", LevelFilter::ERROR)
        .with_target("tidings", own)
        // The commands print what the client reports.
        .with_target("tidings_client", if global.verbose < 2 { LevelFilter::OFF } else { own });
    let writer = match command {
        // The hub must continue if the reader of its log stalls.
        Command::Serve(_) => {
            log::start().context("cannot start the thread of the log")?;
            BoxMakeWriter::new(|| log::Lines)
        }
        _ => BoxMakeWriter::new(std::io::stderr),
    };
    let log = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_ansi(console::is_coloured(&std::io::stderr()))
        // Errors of the log would be printed on standard error, which has failed.
        .log_internal_errors(false);
    let log = match global.log_format {
        args::LogFormat::Text => log.with_target(false).boxed(),
        args::LogFormat::Json => log.json().boxed(),
    };
    let started = tracing_subscriber::registry().with(log.with_filter(levels)).try_init();
    started.map_err(|error| anyhow::anyhow!("cannot start the log: {error}"))
}
