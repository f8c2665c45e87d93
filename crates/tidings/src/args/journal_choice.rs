//! Which journal a hub has, and how safely it stores updates.

use clap::ValueEnum;

use super::host;

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum JournalKind {
    /// On disk: acknowledged updates survive restarts and crashes
    Disk,
    /// In memory: updates are lost when the hub stops
    Memory,
    /// On NATS JetStream: hubs on several machines share it
    Nats,
}

/// Where the journal is, and for NATS its servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum JournalChoice {
    Disk,
    Memory,
    Nats(Vec<String>),
}

impl JournalChoice {
    pub(crate) fn kind(&self) -> JournalKind {
        match self {
            Self::Disk => JournalKind::Disk,
            Self::Memory => JournalKind::Memory,
            Self::Nats(_) => JournalKind::Nats,
        }
    }
}

impl std::str::FromStr for JournalChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_server = |text: &str| text.starts_with("nats://") || text.starts_with("tls://");
        match text {
            "disk" => Ok(Self::Disk),
            "memory" => Ok(Self::Memory),
            servers if is_server(servers) => {
                let servers: Vec<_> = servers.split(',').map(|one| one.trim().to_owned()).collect();
                servers.iter().try_for_each(|one| host::check_nats_server(one))?;
                Ok(Self::Nats(servers))
            }
            _ => Err("must be disk, memory, or NATS servers such as nats://host:4222".to_owned()),
        }
    }
}

#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, serde::Deserialize, serde::Serialize,
)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Sync {
    /// Before each acknowledgement: a power cut loses no acknowledged update
    #[default]
    Always,
    /// Every second, or every `sync_interval` of the configuration file: a power cut may lose
    /// updates acknowledged since the last sync; a crash of the hub loses none
    Interval,
}
