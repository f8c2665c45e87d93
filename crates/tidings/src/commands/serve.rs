//! `tidings serve`: the hub, from its start-up to the end of its drain.

mod greet;
pub(crate) mod listen;
mod memory;
#[cfg(feature = "nats")]
mod nats;
pub(crate) mod openness;
mod reload;
mod signals;
mod supervisor;

use std::io;
use std::net::TcpListener;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::http::StatusCode;
use tidings_hub::{DiskJournal, Hub, MemoryJournal, OpenError};
use tokio::task::JoinSet;

use crate::args::ServeArgs;
use crate::config::{Config, JournalConfig};
use crate::outcome::Outcome;
use greet::{Greeting, greet};
use signals::{Hangup, Stop};

/// Descriptors that no stream may use: for publishers, probes, refusals and files.
const DESCRIPTORS_RESERVED: u64 = 128;
/// Within which time the clients of a hub that goes are to come back, at least.
const DRAIN_SPREAD_MIN: Duration = Duration::from_secs(5);

pub(crate) async fn run(args: ServeArgs) -> anyhow::Result<Outcome> {
    let mut config = Config::of(args.clone())?;
    let streams_max = streams_max().context("the limit of open files cannot be read")?;
    if streams_max == 0 {
        anyhow::bail!(
            "the system allows this process no more than {DESCRIPTORS_RESERVED} open files, which \
             leaves none for streams; raise the limit (ulimit -n)"
        );
    }
    let tls = Tls::of(&config)?;
    let mut listeners = listen::inherited()?;
    if listeners.is_empty() {
        listeners = listen::listeners(&config.listen)?;
    }
    let admin = config.admin_listen.map(listen::bind).transpose()?;
    let is_local = listeners.iter().chain(&admin).all(|(_, address)| address.ip().is_loopback());
    let mode = Mode::of(&config, is_local);
    let access = reload::access(mode, &config);
    let demo = config.demo.unwrap_or(mode == Mode::Development);
    let (builder, body) = match &config.journal {
        JournalConfig::Memory(retention) => {
            (Hub::builder().journal(MemoryJournal::new(*retention)), None)
        }
        JournalConfig::Disk { folder, options } => {
            let journal = DiskJournal::open(folder, options.clone());
            (Hub::builder().journal(journal.map_err(unopened)?), None)
        }
        #[cfg(feature = "nats")]
        JournalConfig::Nats(options) => {
            let journal = nats::open(options.clone()).await?;
            let body = tidings_hub::Journal::update_bytes_max(&journal);
            (Hub::builder().journal(journal), body)
        }
    };
    let bounds = Bounds { streams: streams_max, body };
    bounds.apply(&mut config)?;
    let mut builder = builder
        .heartbeat(config.heartbeat)
        .limits(config.limits.clone())
        .page(true)
        .demo(demo)
        .presence_events(config.presence_events)
        .admin(admin.is_none() && is_local)
        .access(access.clone());
    if let Some(shards) = config.shards {
        builder = builder.shards(shards);
    }
    let hub = builder.build().await.context("the hub's threads cannot be started")?;

    // Signals that come from here on find somebody who listens for them.
    let mut stop = Stop::listen().context("signals cannot be listened for")?;
    let mut hangup = Hangup::listen().context("signals cannot be listened for")?;
    let mut serving = JoinSet::new();
    let addresses: Vec<_> = listeners.iter().map(|(_, address)| *address).collect();
    for (listener, _) in listeners {
        serving.spawn(tls.serve(listener, hub.clone()));
    }
    let admin_address = admin.as_ref().map(|(_, address)| *address);
    if let Some((listener, _)) = admin {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let router = tidings_hub::admin_router(&hub);
        serving.spawn(async move { axum::serve(listener, router).await });
    }
    greet(&Greeting {
        addresses: &addresses,
        admin_address,
        mode,
        access: &access,
        demo,
        config: &config,
    });
    let mut certificate = tls.watch();
    supervisor::ready();

    loop {
        tokio::select! {
            () = stop.wait() => break,
            () = certificate.changes() => {}
            () = hangup.wait() => {
                supervisor::reloading();
                reload::configuration(&hub, &args, &mut config, mode, bounds);
                certificate.reload();
                supervisor::ready();
            }
            Some(ended) = serving.join_next() => {
                ended.context("a listener's task failed")?.context("a listener failed")?;
                anyhow::bail!("a listener ended by itself");
            }
        }
    }
    let streams = hub.subscribers();
    supervisor::stopping(streams);
    tracing::info!(streams, "draining: every stream is told when to come back");
    let gone = async {
        hub.drain_over(config.drain, config.drain.max(DRAIN_SPREAD_MIN)).await;
        hub.idle().await;
        hub.stop().await;
    };
    tokio::select! {
        () = gone => tracing::info!("drained"),
        () = stop.wait() => {
            tracing::warn!("stopped at once, by a second signal");
            return Ok(Outcome::Interrupted);
        }
    }
    Ok(Outcome::Done)
}

/// What to do about a journal that cannot be opened.
fn unopened(error: OpenError) -> anyhow::Error {
    let hint = match &error {
        OpenError::InUse { .. } => {
            "stop it first; --data-dir names another folder, --journal memory needs none"
        }
        OpenError::Unusable { .. } => {
            "--data-dir names another folder, --journal memory needs none"
        }
        OpenError::Foreign { .. } => "--data-dir names another folder",
        OpenError::Format { .. } => "run that version, or name another folder with --data-dir",
        OpenError::Corrupt { .. } => {
            "`tidings journal check` says more; move the folder away to begin anew"
        }
        _ => "is the disk full?",
    };
    let hint = format!("{:#}; {hint}", anyhow::Error::new(error));
    anyhow::Error::msg(hint)
}

/// What the hub answers where it has nothing.
fn elsewhere() -> Router {
    const WORDS: &str = "there is nothing here; publish and subscribe at /.well-known/mercure\n";
    Router::new().fallback(async || (StatusCode::NOT_FOUND, WORDS))
}

/// Whether anything was configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Nothing: open to all on this machine, and to nobody else.
    Development,
    /// Nothing is open that was not opened by name.
    Configured,
}

impl Mode {
    pub(crate) fn of(config: &Config, is_local: bool) -> Self {
        if config.is_configured || !is_local { Self::Configured } else { Self::Development }
    }
}

/// What the system and the journal allow, whatever is configured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    streams: usize,
    body: Option<usize>,
}

impl Bounds {
    /// Brings the limits within the bounds.
    ///
    /// # Errors
    /// If a limit was said that the journal does not allow.
    fn apply(self, config: &mut Config) -> anyhow::Result<()> {
        let limits = &mut config.limits;
        limits.streams = limits.streams.min(self.streams);
        memory::bound(config);
        let limits = &mut config.limits;
        let Some(body) = self.body.filter(|body| *body < limits.body_bytes) else { return Ok(()) };
        if config.is_body_said {
            anyhow::bail!(
                "limits.body is {} bytes, but the NATS servers take no more than {body} of an \
                 update: make it smaller, or their max_payload larger",
                limits.body_bytes
            );
        }
        tracing::info!(bytes = body, "a publish's body is limited by the servers' max_payload");
        limits.body_bytes = body;
        Ok(())
    }
}

/// How many streams fit into the open files that the system allows.
fn streams_max() -> io::Result<usize> {
    let wanted = u64::MAX;
    let allowed = rlimit::increase_nofile_limit(wanted)?;
    Ok(usize::try_from(allowed.saturating_sub(DESCRIPTORS_RESERVED)).unwrap_or(usize::MAX))
}

/// The certificate, where there is one.
struct Tls(#[cfg(feature = "tls")] Option<tidings_hub::Tls>);

/// What looks after the certificate while the hub runs.
struct Watch(#[cfg(feature = "tls")] Option<reload::Certificate>);

#[cfg(feature = "tls")]
impl Tls {
    fn of(config: &Config) -> anyhow::Result<Self> {
        let Some((certificate, key)) = &config.tls else { return Ok(Self(None)) };
        let tls = tidings_hub::Tls::of_files(certificate, key);
        Ok(Self(Some(tls.context("TLS cannot be had")?)))
    }

    fn serve(
        &self,
        listener: TcpListener,
        hub: Hub,
    ) -> impl Future<Output = io::Result<()>> + use<> {
        let tls = self.0.clone();
        async move {
            match tls {
                Some(tls) => tidings_hub::serve_tls(listener, hub, elsewhere(), &tls).await,
                None => tidings_hub::serve(listener, hub, elsewhere()).await,
            }
        }
    }

    fn watch(&self) -> Watch {
        Watch(self.0.clone().map(reload::Certificate::new))
    }
}

#[cfg(feature = "tls")]
impl Watch {
    /// Waits until it is time to look at the files, and looks.
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
        tidings_hub::serve(listener, hub, elsewhere())
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
