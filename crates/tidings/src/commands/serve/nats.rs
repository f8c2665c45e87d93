//! A journal on NATS: opened, or why not and what to do about it.

use anyhow::Context as _;
use tidings_hub::{NatsError, NatsJournal, NatsOptions};

use super::signals::Stop;

pub(super) async fn open(options: NatsOptions) -> anyhow::Result<NatsJournal> {
    // Whoever waits for a server that does not come can be stopped.
    let mut stop = Stop::listen().context("signals cannot be listened for")?;
    let servers = options.shown();
    let opened = tokio::select! {
        opened = NatsJournal::open(options) => opened,
        () = stop.wait() => anyhow::bail!("stopped while waiting for NATS at {servers}"),
    };
    opened.map_err(|error| {
        let hint = match &error {
            NatsError::Away { .. } => {
                format!(
                    "is it running at {servers}, with JetStream? --nats-start-wait waits longer"
                )
            }
            NatsError::Refused { .. } => {
                "a user and a password stand in the URL; --nats-credentials, --nats-nkey and \
                 --nats-token-file name files"
                    .to_owned()
            }
            NatsError::Version { .. } => "update it".to_owned(),
            NatsError::Stream { name, .. } => format!(
                "`nats stream edit {name}` changes it; --nats-stream names another, which is made"
            ),
            NatsError::Unmade { .. } => {
                "does the cluster have as many servers as --nats-replicas says, and room?"
                    .to_owned()
            }
            _ => "--help says how it is written".to_owned(),
        };
        anyhow::Error::msg(format!("{:#}; {hint}", anyhow::Error::new(error)))
    })
}
