//! Opens the journal on NATS. If that fails, the error says what to do.

use anyhow::Context as _;
use tidings_hub::{NatsError, NatsJournal, NatsOptions};

use super::signals::Stop;

pub(super) async fn open(options: NatsOptions) -> anyhow::Result<NatsJournal> {
    // The hub can be stopped while it waits for a server.
    let mut stop = Stop::listen().context("cannot listen for signals")?;
    let servers = options.shown();
    let opened = tokio::select! {
        opened = NatsJournal::open(options) => opened,
        () = stop.wait() => anyhow::bail!("stopped while waiting for NATS at {servers}"),
    };
    opened.map_err(|error| {
        let hint = match &error {
            NatsError::Unreachable { .. } => {
                format!(
                    "check that NATS runs at {servers} with JetStream enabled, or wait longer with \
                     --nats-start-wait"
                )
            }
            NatsError::Refused { .. } => {
                "give a user and password in the URL, or a file with --nats-credentials, \
                 --nats-nkey or --nats-token-file"
                    .to_owned()
            }
            NatsError::Version { .. } => "update the NATS server".to_owned(),
            NatsError::Stream { name, .. } => format!(
                "change these settings with `nats stream edit {name}`, or let the hub create \
                 another stream with --nats-stream"
            ),
            NatsError::NotCreated { .. } => {
                "check that the cluster has as many servers as --nats-replicas, and free storage"
                    .to_owned()
            }
            _ => "see `tidings serve --help`".to_owned(),
        };
        anyhow::Error::msg(format!("{:#}; {hint}", anyhow::Error::new(error)))
    })
}
