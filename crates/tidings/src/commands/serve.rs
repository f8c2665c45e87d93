//! `tidings serve`: runs the hub from its start to the end of its drain.

mod greet;
mod listen;
mod memory;
#[cfg(feature = "nats")]
mod nats;
pub(crate) mod openness;
mod panics;
pub(crate) mod reload;
mod signals;
mod supervisor;
#[cfg(unix)]
mod unix;

use std::io;
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::http::StatusCode;
use tidings_hub::{DiskJournal, Hub, HubBuilder, MemoryJournal, OpenError};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::args::{Cli, LogFormat, ServeArgs};
use crate::config::{Config, JournalConfig, unread_settings};
use crate::log;
use crate::outcome::{Ended, Outcome};
use greet::{Greeting, greet};
use listen::{Listener, Listeners};
#[cfg(unix)]
pub(super) use signals::is_hangup_ignored;
use signals::{Cause, Hangup, Stop};

/// File descriptors for files, event queues, listeners, and requests that are being answered.
const DESCRIPTORS_RESERVED: usize = 64;
/// The minimum of connections per shard that may wait for a request, whatever is configured.
const WAITING_MIN: usize = 16;
/// The minimum time over which the clients of a draining hub are told to reconnect.
const DRAIN_SPREAD_MIN: Duration = Duration::from_secs(5);

pub(crate) async fn run(args: ServeArgs, format: LogFormat) -> anyhow::Result<Outcome> {
    panics::log_locations();
    let mut config = Config::of(args.clone())?;
    let bounds = Bounds::of_system()?;
    let tls = Tls::of(&config)?;
    // Clients can connect as soon as there is a listener. A signal must not kill the hub from then
    // on.
    let mut stop = Stop::listen().context("cannot listen for signals")?;
    let mut hangup = Hangup::listen().context("cannot listen for signals")?;
    let listeners = Listeners::of(&config)?;
    let is_local = listeners.are_loopback();
    let mode = Mode::of(&config, is_local);
    check_open(mode, &config)?;
    let access = reload::access(mode, &config);
    let demo = config.demo.unwrap_or(mode == Mode::Development);
    let (builder, body) = tokio::select! {
        biased;
        () = stop.wait() => {
            tracing::info!("stopped before the journal was open");
            return Ok(Outcome::Done);
        }
        opened = journal(&config.journal) => opened?,
    };
    let bounds = Bounds { body, ..bounds };
    bounds.apply(&mut config)?;
    let mut builder = builder
        .heartbeat(config.heartbeat)
        .limits(config.limits.clone())
        .page(true)
        .demo(demo)
        .presence_events(config.presence_events)
        .admin(listeners.admin.is_empty() && is_local)
        .access(access.clone());
    if let Some(shards) = config.shards {
        builder = builder.shards(shards);
    }
    builder = builder.log_lines_dropped(log::dropped());
    let hub = builder.build().await.context("cannot start the hub's threads")?;

    let mut serving = JoinSet::new();
    let greeting = Greeting { listeners: &listeners, mode, access: &access, demo, config: &config };
    greet(&greeting, format);
    // The socket files are removed when this function ends, also with an error.
    let mut _files = Vec::new();
    for listener in listeners.main {
        match listener {
            Listener::Tcp { listener, .. } => {
                serving.spawn(tls.serve(listener, hub.clone()));
            }
            // A Unix socket never leaves the machine, and proxies use no TLS on one.
            #[cfg(unix)]
            Listener::Unix { listener, file, .. } => {
                _files.extend(file);
                serving.spawn(tidings_hub::serve(listener, hub.clone(), elsewhere(&hub)));
            }
        }
    }
    for listener in listeners.admin {
        let router = tidings_hub::admin_router(&hub);
        match listener {
            Listener::Tcp { listener, .. } => {
                listener.set_nonblocking(true)?;
                let listener = tokio::net::TcpListener::from_std(listener)?;
                serving.spawn(async move { axum::serve(listener, router).await });
            }
            #[cfg(unix)]
            Listener::Unix { listener, file, .. } => {
                _files.extend(file);
                listener.set_nonblocking(true)?;
                let listener = tokio::net::UnixListener::from_std(listener)?;
                serving.spawn(async move { axum::serve(listener, router).await });
            }
        }
    }
    let unread = [unread_settings(&config.access), Cli::unknown_variables()].concat();
    for doubt in config.doubts.iter().chain(&unread) {
        tracing::warn!("{doubt}");
    }
    let mut certificate = tls.watch();
    let mut readings = reload::Readings::new(args, mode, bounds);
    supervisor::ready();

    loop {
        tokio::select! {
            () = stop.wait() => break,
            () = certificate.changes() => {}
            cause = hangup.wait() => {
                if cause == Cause::TerminalLost {
                    tracing::info!("draining, because the terminal was closed");
                    break;
                }
                supervisor::reloading();
                readings.begin(&hub);
            }
            is_last = readings.end(&hub, &mut config) => {
                if is_last {
                    certificate.reload();
                    supervisor::ready();
                }
            }
            failed = hub.failed() => {
                return Err(anyhow::Error::new(failed).context("the hub failed"));
            }
            Some(ended) = serving.join_next() => {
                ended.context("a listener's task failed")?.context("a listener failed")?;
                anyhow::bail!("a listener stopped unexpectedly");
            }
        }
    }
    let streams = hub.subscribers();
    supervisor::stopping(streams);
    tracing::info!(streams, "draining: closing every stream with a time to reconnect");
    let gone = async {
        hub.drain_over(config.drain, config.drain.max(DRAIN_SPREAD_MIN)).await;
        hub.idle().await;
        serving.shutdown().await;
        hub.close().await;
    };
    tokio::select! {
        () = gone => tracing::info!("drained"),
        () = stop.wait() => {
            tracing::warn!("stopped before the end of the drain by a second signal");
            return Ok(Outcome::Interrupted);
        }
    }
    Ok(Outcome::Done)
}

/// Opens the journal. Returns the builder of its hub, and the largest body that the journal allows.
async fn journal(config: &JournalConfig) -> anyhow::Result<(HubBuilder, Option<usize>)> {
    match config {
        JournalConfig::Memory(retention) => {
            Ok((Hub::builder().journal(MemoryJournal::new(*retention)), None))
        }
        JournalConfig::Disk { folder, options } => {
            let (folder, options) = (folder.clone(), options.clone());
            // On a separate thread, so that a signal ends a start that waits for the disk. The
            // end of the process ends the thread.
            let (send, opened) = oneshot::channel();
            thread::Builder::new()
                .name("open".to_owned())
                .spawn(move || {
                    // A start that was stopped does not receive it.
                    let _ = send.send(DiskJournal::open(folder, options));
                })
                .context("cannot start the journal's thread")?;
            let journal = opened.await.context("the journal's thread failed")?;
            Ok((Hub::builder().journal(journal.map_err(unopened)?), None))
        }
        #[cfg(feature = "nats")]
        JournalConfig::Nats(options) => {
            let journal = nats::open(options.clone()).await?;
            let body = tidings_hub::Log::update_bytes_max(&journal);
            Ok((Hub::builder().journal(journal), body))
        }
    }
}

/// Adds advice to the error of a journal that cannot be opened.
fn unopened(error: OpenError) -> anyhow::Error {
    let hint = match &error {
        OpenError::InUse { .. } => {
            "stop that hub, or use another folder (--data-dir) or no folder (--journal memory)"
        }
        OpenError::Unusable { .. } => {
            "use another folder (--data-dir) or no folder (--journal memory)"
        }
        OpenError::Foreign { .. } => "use another folder (--data-dir)",
        OpenError::Format { .. } | OpenError::Needs { .. } => {
            "run that version, or use another folder (--data-dir)"
        }
        OpenError::Corrupt { .. } => {
            "see `tidings journal check`; to start with an empty journal, move the folder away"
        }
        _ => "check that the disk is not full",
    };
    let hint = format!("{:#}; {hint}", anyhow::Error::new(error));
    anyhow::Error::msg(hint)
}

/// The answer for a path that does not exist.
fn elsewhere(hub: &Hub) -> Router {
    const WORDS: &str = "not found; publish and subscribe at /.well-known/mercure\n";
    hub.guard_names(Router::new().fallback(async || (StatusCode::NOT_FOUND, WORDS)))
}

/// Which access the hub grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Nothing was configured: every user of this machine may publish and subscribe.
    Development,
    /// Clients may do only what the configuration allows.
    Configured,
}

impl Mode {
    pub(crate) fn of(config: &Config, is_local: bool) -> Self {
        if config.is_configured || !is_local { Self::Configured } else { Self::Development }
    }
}

/// # Errors
/// If no client could use the hub.
pub(crate) fn check_open(mode: Mode, config: &Config) -> anyhow::Result<()> {
    let is_closed = openness::subscribers(&config.access) == openness::NO_CLIENT
        && openness::publishers(&config.access) == openness::NO_CLIENT;
    if mode == Mode::Development || !is_closed {
        return Ok(());
    }
    Err(Ended::usage(
        "no client could publish or subscribe: a hub with a configuration file, or with an address \
         beyond loopback, grants access only where configured. Set keys for tokens \
         (--publisher-key-file, --subscriber-key-file), or allow clients without a token \
         (--anonymous-subscribe, --anonymous-publish); the file has the same settings in [access]",
    ))
}

/// Limits of the system and the journal, which no configuration can exceed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// The number of files that this process may open, including sockets.
    files: usize,
    /// The largest body of a publish that the journal accepts.
    body: Option<usize>,
}

impl Bounds {
    /// Those of this system, without a journal.
    ///
    /// # Errors
    /// If the limit of open files cannot be read.
    pub(crate) fn of_system() -> anyhow::Result<Self> {
        let files = files_max().context("cannot read the limit of open files")?;
        Ok(Self { files, body: None })
    }

    /// Lowers the configured limits to these.
    ///
    /// # Errors
    /// If a limit was configured that the journal does not allow, or no file is left for streams.
    pub(crate) fn apply(self, config: &mut Config) -> anyhow::Result<()> {
        self.share_files(config)?;
        memory::bound(config);
        let limits = &mut config.limits;
        let Some(body) = self.body.filter(|body| *body < limits.body_bytes) else { return Ok(()) };
        if config.is_body_said {
            anyhow::bail!(
                "limits.body is {} bytes, but the NATS servers accept updates of at most {body} \
                 bytes; lower limits.body, or raise max_payload on the servers",
                limits.body_bytes
            );
        }
        tracing::info!(
            bytes = body,
            "max_payload of the NATS servers limits the body of a publish"
        );
        limits.body_bytes = body;
        Ok(())
    }

    /// Divides the files among streams and other connections. Connections in a TLS handshake,
    /// waiting for a request, and lingering after their last answer get at most a sixteenth each.
    fn share_files(self, config: &mut Config) -> anyhow::Result<()> {
        let waiting_min = WAITING_MIN * shards(config);
        let limits = &mut config.limits;
        let sixteenth = self.files / 16;
        limits.waiting_connections = limits.waiting_connections.min(sixteenth).max(waiting_min);
        limits.lingering_connections = limits.lingering_connections.min(sixteenth);
        let shake = if config.tls.is_some() { limits.waiting_connections } else { 0 };
        let others = DESCRIPTORS_RESERVED
            .saturating_add(limits.waiting_connections)
            .saturating_add(shake)
            .saturating_add(limits.lingering_connections);
        let streams = self.files.saturating_sub(others);
        if streams == 0 {
            anyhow::bail!(
                "this process may open {} files, but {others} are needed for connections other \
                 than streams; raise the limit (ulimit -n)",
                self.files
            );
        }
        limits.streams = limits.streams.min(streams);
        Ok(())
    }
}

/// The number of shards of the hub.
fn shards(config: &Config) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    config.shards.unwrap_or_else(cores)
}

/// The number of files that the system lets this process open.
#[cfg(unix)]
fn files_max() -> io::Result<usize> {
    Ok(usize::try_from(rlimit::increase_nofile_limit(u64::MAX)?).unwrap_or(usize::MAX))
}

/// On other systems sockets are not files.
#[cfg(not(unix))]
fn files_max() -> io::Result<usize> {
    Ok(usize::MAX)
}

/// The certificate, if one is configured.
struct Tls(#[cfg(feature = "tls")] Option<tidings_hub::Tls>);

/// Reloads the certificate while the hub runs.
struct Watch(#[cfg(feature = "tls")] Option<reload::Certificate>);

#[cfg(feature = "tls")]
impl Tls {
    fn of(config: &Config) -> anyhow::Result<Self> {
        let Some((certificate, key)) = &config.tls else { return Ok(Self(None)) };
        let tls = tidings_hub::Tls::of_files(certificate, key);
        Ok(Self(Some(tls.context("cannot set up TLS")?)))
    }

    fn serve(
        &self,
        listener: TcpListener,
        hub: Hub,
    ) -> impl Future<Output = io::Result<()>> + use<> {
        let tls = self.0.clone();
        async move {
            let elsewhere = elsewhere(&hub);
            match tls {
                Some(tls) => tidings_hub::serve_tls(listener, hub, elsewhere, &tls).await,
                None => tidings_hub::serve(listener, hub, elsewhere).await,
            }
        }
    }

    fn watch(&self) -> Watch {
        Watch(self.0.clone().map(reload::Certificate::new))
    }
}

#[cfg(feature = "tls")]
impl Watch {
    /// Waits until the next check of the files is due, and reloads them if they changed.
    async fn changes(&mut self) {
        match &mut self.0 {
            Some(certificate) => {
                tokio::time::sleep(reload::CERTIFICATE_INTERVAL).await;
                certificate.reload();
            }
            None => std::future::pending().await,
        }
    }

    fn reload(&mut self) {
        self.0.iter_mut().for_each(reload::Certificate::reload);
    }
}

#[cfg(not(feature = "tls"))]
impl Tls {
    fn of(_: &Config) -> anyhow::Result<Self> {
        Ok(Self())
    }

    fn serve(
        &self,
        listener: TcpListener,
        hub: Hub,
    ) -> impl Future<Output = io::Result<()>> + use<> {
        let elsewhere = elsewhere(&hub);
        tidings_hub::serve(listener, hub, elsewhere)
    }

    fn watch(&self) -> Watch {
        Watch()
    }
}

#[cfg(not(feature = "tls"))]
impl Watch {
    async fn changes(&mut self) {
        std::future::pending().await
    }

    fn reload(&mut self) {}
}
