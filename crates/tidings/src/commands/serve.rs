//! `tidings serve`: the hub, from its start-up to the end of its drain.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::http::StatusCode;
use tidings_hub::{
    Access, Dialect, DiskJournal, Hub, IssuerKeys, MemoryJournal, OpenError, Promise, Tokens,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use crate::args::ServeArgs;
use crate::config::{Config, JournalConfig};
use crate::outcome::{Ended, Outcome};

/// Descriptors that no stream may use: for publishers, probes, refusals and files.
const DESCRIPTORS_RESERVED: u64 = 128;
/// Within which time the clients of a hub that goes are to come back.
const DRAIN_SPREAD: Duration = Duration::from_secs(5);

pub(crate) async fn run(args: ServeArgs) -> anyhow::Result<Outcome> {
    let config = Config::of(args)?;
    let streams_max = streams_max().context("the limit of open files cannot be read")?;
    if streams_max == 0 {
        anyhow::bail!(
            "the system allows this process no more than {DESCRIPTORS_RESERVED} open files, which \
             leaves none for streams; raise the limit (ulimit -n)"
        );
    }
    let listeners = listeners(&config.listen)?;
    let admin = config.admin_listen.map(bind).transpose()?;
    let is_local = listeners.iter().chain(&admin).all(|(_, address)| address.ip().is_loopback());
    let mode = Mode::of(&config, is_local);
    let access = match mode {
        Mode::Development => Access {
            publish_origins: config.access.publish_origins.clone(),
            cors_origins: config.access.cors_origins.clone(),
            ..Access::development()
        },
        Mode::Configured => config.access.clone(),
    };
    let demo = config.demo.unwrap_or(mode == Mode::Development);
    let builder = match &config.journal {
        JournalConfig::Memory(retention) => Hub::builder().journal(MemoryJournal::new(*retention)),
        JournalConfig::Disk { folder, options } => {
            let journal = DiskJournal::open(folder, options.clone());
            Hub::builder().journal(journal.map_err(unopened)?)
        }
    };
    let mut builder = builder
        .heartbeat(config.heartbeat)
        .streams_max(streams_max)
        .body_bytes_max(config.body_bytes_max)
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
    let mut serving = JoinSet::new();
    let addresses: Vec<_> = listeners.iter().map(|(_, address)| *address).collect();
    for (listener, _) in listeners {
        serving.spawn(tidings_hub::serve(listener, hub.clone(), elsewhere()));
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

    tokio::select! {
        () = stop.wait() => {}
        Some(ended) = serving.join_next() => {
            ended.context("a listener's task failed")?.context("a listener failed")?;
            anyhow::bail!("a listener ended by itself");
        }
    }
    let streams = hub.subscribers();
    tracing::info!(streams, "draining: every stream is told when to come back");
    let gone = async {
        hub.drain(DRAIN_SPREAD).await;
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
enum Mode {
    /// Nothing: open to all on this machine, and to nobody else.
    Development,
    /// Nothing is open that was not opened by name.
    Configured,
}

impl Mode {
    fn of(config: &Config, is_local: bool) -> Self {
        if config.is_configured || !is_local { Self::Configured } else { Self::Development }
    }
}

/// How many streams fit into the open files that the system allows.
fn streams_max() -> io::Result<usize> {
    let wanted = u64::MAX;
    let allowed = rlimit::increase_nofile_limit(wanted)?;
    Ok(usize::try_from(allowed.saturating_sub(DESCRIPTORS_RESERVED)).unwrap_or(usize::MAX))
}

fn listeners(addresses: &[String]) -> anyhow::Result<Vec<(TcpListener, SocketAddr)>> {
    let mut listeners = Vec::new();
    for address in addresses {
        let (host, port) = address.rsplit_once(':').ok_or_else(|| {
            Ended::usage(format!("{address:?} is no address; write it as HOST:PORT"))
        })?;
        let port: u16 = port
            .parse()
            .map_err(|_| Ended::usage(format!("{port:?} is no port; it is 0 to 65535")))?;
        if host == "localhost" {
            let first = bind((Ipv4Addr::LOCALHOST, port).into())?;
            let port = first.1.port();
            listeners.push(first);
            match tidings_hub::listen((Ipv6Addr::LOCALHOST, port).into()) {
                Ok(listener) => listeners.push(with_address(listener)?),
                // A machine without IPv6 has one loopback.
                Err(error) if is_without_ipv6(&error) => {}
                Err(error) => return Err(taken(error, (Ipv6Addr::LOCALHOST, port).into())),
            }
            continue;
        }
        let ip = host.trim_start_matches('[').trim_end_matches(']').parse().map_err(|_| {
            Ended::usage(format!("{host:?} is neither localhost nor an IP address"))
        })?;
        listeners.push(bind(SocketAddr::new(ip, port))?);
    }
    Ok(listeners)
}

fn bind(address: SocketAddr) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = tidings_hub::listen(address).map_err(|error| taken(error, address))?;
    with_address(listener)
}

fn with_address(listener: TcpListener) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let address = listener.local_addr().context("a listener has no address")?;
    Ok((listener, address))
}

fn is_without_ipv6(error: &io::Error) -> bool {
    const EAFNOSUPPORT: i32 = 97;
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(EAFNOSUPPORT)
}

fn taken(error: io::Error, address: SocketAddr) -> anyhow::Error {
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => "somebody else listens there; --listen chooses another address",
        io::ErrorKind::PermissionDenied => "ports below 1024 need a privilege",
        io::ErrorKind::AddrNotAvailable => "the address is none of this machine's",
        _ => "the system refuses",
    };
    anyhow::Error::new(error).context(format!("cannot listen on {address}: {hint}"))
}

/// The signals that end the hub.
struct Stop {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Stop {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// What is on, where, and what is open to whom.
struct Greeting<'a> {
    addresses: &'a [SocketAddr],
    admin_address: Option<SocketAddr>,
    mode: Mode,
    access: &'a Access,
    demo: bool,
    config: &'a Config,
}

/// The start-up text, on standard error beside the log. Its first address is one to open.
fn greet(greeting: &Greeting<'_>) {
    let Greeting { addresses, admin_address, mode, access, demo, config } = greeting;
    let origin = addresses.first().map_or_else(String::new, origin);
    eprintln!("Tidings {}\n", env!("CARGO_PKG_VERSION"));
    eprintln!("  {origin}/  the page: open it and press Open");
    eprintln!("  {origin}/.well-known/mercure  publish (POST) and subscribe (GET)");
    if *demo {
        eprintln!("  {origin}/sse  a clock, as a first stream to look at");
    }
    let admin = admin_address.map(|address| self::origin(&address)).unwrap_or(origin.clone());
    let is_admin_on = admin_address.is_some() || addresses.iter().all(|a| a.ip().is_loopback());
    if is_admin_on {
        eprintln!("  {admin}/metrics  /healthz  /readyz");
    }
    // `localhost` names both loopbacks.
    let is_named = |other: &&SocketAddr| self::origin(other) != origin;
    for other in addresses.iter().skip(1).filter(is_named) {
        eprintln!("  also on {}", self::origin(other));
    }
    eprintln!();
    match mode {
        Mode::Development => eprintln!(
            "Open to everybody on this machine, for development: anyone here may publish and\n\
             subscribe; other websites may not. A configuration or another address closes it."
        ),
        Mode::Configured => {
            let own = access
                .tokens
                .issuers
                .iter()
                .any(|issuer| !matches!(issuer.keys, IssuerKeys::Shared));
            let who = |everybody: bool, has_key: bool, adds: &str| match (everybody, has_key || own)
            {
                (true, true) => format!("everybody who reaches it; {adds} whoever has a token"),
                (true, false) => "everybody who reaches it".to_owned(),
                (false, true) => "whoever has a token".to_owned(),
                (false, false) => "nobody".to_owned(),
            };
            let Tokens { publisher_key, subscriber_key, .. } = &access.tokens;
            let subscribe =
                who(access.anonymous_subscribe, subscriber_key.is_some(), "private updates:");
            eprintln!("Open to subscribe: {subscribe}.");
            eprintln!(
                "Open to publish: {}.",
                who(access.anonymous_publish, publisher_key.is_some(), "also")
            );
            if access.tokens.has_keys() {
                let speaks_coming =
                    access.dialects.has(Dialect::Coming) && !access.tokens.audience.is_empty();
                let dialects = match (access.dialects.has(Dialect::Deployed), speaks_coming) {
                    (true, true) => "0.x and 1.0",
                    (true, false) => "0.x; those of 1.0 need --issuer and --audience",
                    (false, _) => "1.0",
                };
                eprintln!("Tokens taken: of Mercure {dialects}.");
            }
        }
    }
    match &config.journal {
        JournalConfig::Memory(retention) => eprintln!(
            "The journal is in memory, {}, and ends with the hub.\n",
            bytesize::ByteSize::b(retention.bytes)
        ),
        JournalConfig::Disk { folder, options } => {
            let synced = match options.promise {
                Promise::Always => "before each acknowledgement".to_owned(),
                Promise::Interval(time) => format!("every {}", humantime::format_duration(time)),
            };
            eprintln!("The journal is in {}, synced {synced}.\n", folder.display());
        }
    }
}

/// The origin of a hub on this address, in a form that a browser opens.
fn origin(address: &SocketAddr) -> String {
    let port = address.port();
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => format!("http://localhost:{port}"),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => format!("http://localhost:{port}"),
        SocketAddr::V6(v6) if v6.ip().is_loopback() => format!("http://localhost:{port}"),
        _ => format!("http://{address}"),
    }
}
