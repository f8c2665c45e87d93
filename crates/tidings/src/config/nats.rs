//! The settings of a journal on NATS, from the flags and the file.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::journal::{JournalConfig, JournalFile};
use super::time::Time;
use crate::args::{NatsStorageChoice, ServeArgs};
use crate::outcome::Ended;

/// The table `[journal.nats]`, with the names of the flags.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct NatsFile {
    stream: Option<String>,
    replicas: Option<u8>,
    storage: Option<NatsStorageChoice>,
    publish_wait: Option<Time>,
    start_wait: Option<Time>,
    credentials: Option<PathBuf>,
    nkey: Option<PathBuf>,
    token_file: Option<PathBuf>,
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
}

impl NatsFile {
    /// A table with every key.
    pub(super) fn every() -> Self {
        let time = || Some(Time(std::time::Duration::ZERO));
        let path = || Some(PathBuf::new());
        Self {
            stream: Some(String::new()),
            replicas: Some(1),
            storage: Some(NatsStorageChoice::File),
            publish_wait: time(),
            start_wait: time(),
            credentials: path(),
            nkey: path(),
            token_file: path(),
            ca: path(),
            cert: path(),
            key: path(),
        }
    }

    /// The flags, and the file for those that are not set.
    fn of(args: &ServeArgs, file: &Self) -> Self {
        let args = args.nats.clone();
        let file = file.clone();
        Self {
            stream: args.nats_stream.or(file.stream),
            replicas: args.nats_replicas.or(file.replicas),
            storage: args.nats_storage.or(file.storage),
            publish_wait: args.nats_publish_wait.map(Time).or(file.publish_wait),
            start_wait: args.nats_start_wait.map(Time).or(file.start_wait),
            credentials: args.nats_credentials.or(file.credentials),
            nkey: args.nats_nkey.or(file.nkey),
            token_file: args.nats_token_file.or(file.token_file),
            ca: args.nats_ca.or(file.ca),
            cert: args.nats_cert.or(file.cert),
            key: args.nats_key.or(file.key),
        }
    }

    fn is_said(&self) -> bool {
        self.stream.is_some()
            || self.replicas.is_some()
            || self.storage.is_some()
            || self.publish_wait.is_some()
            || self.start_wait.is_some()
            || [&self.credentials, &self.nkey, &self.token_file, &self.ca, &self.cert, &self.key]
                .iter()
                .any(|path| path.is_some())
    }
}

/// Refuses settings of NATS with another journal.
pub(super) fn refuse_elsewhere(args: &ServeArgs, file: &JournalFile) -> anyhow::Result<()> {
    let said = NatsFile::of(args, &NatsFile::default());
    // If a flag chooses another journal, the file may keep its settings for NATS.
    let is_said = said.is_said()
        || (args.journal.is_none() && (file.nats.is_said() || file.servers.is_some()));
    if !is_said {
        return Ok(());
    }
    Err(Ended::usage(
        "settings of NATS are set, but the journal is not on NATS; set --journal nats://HOST:PORT, \
         or kind = \"nats\" and servers in [journal]",
    ))
}

#[cfg(not(feature = "nats"))]
pub(super) fn read(_: &ServeArgs, _: &JournalFile) -> anyhow::Result<JournalConfig> {
    Err(Ended::usage("this build has no journal on NATS; build it with the feature `nats`"))
}

#[cfg(feature = "nats")]
pub(super) use options::read;

#[cfg(feature = "nats")]
mod options {
    use std::fs;
    use std::path::Path;
    use std::time::Duration;

    use tidings_hub::{NatsLogin, NatsOptions, NatsRetention, NatsStorage};

    use super::{Ended, JournalConfig, JournalFile, NatsFile, NatsStorageChoice, ServeArgs, Time};
    use crate::args::{JournalChoice, host};
    use crate::config::journal::{KeepFile, RetentionFile};
    use crate::config::one_or_more::OneOrMore;
    use crate::config::size::Size;
    use crate::config::time::{HOUR, between};

    pub(in super::super) fn read(
        args: &ServeArgs,
        file: &JournalFile,
    ) -> anyhow::Result<JournalConfig> {
        if args.data_dir.is_some() {
            return Err(Ended::usage(
                "--data-dir is for the journal on disk; remove it, or use --journal disk",
            ));
        }
        if args.sync.or(file.sync).is_some() {
            return Err(Ended::usage(
                "--sync is for the journal on disk; NATS servers have sync_interval in their own \
                 configuration",
            ));
        }
        let servers = match &args.journal {
            Some(JournalChoice::Nats(servers)) => servers.clone(),
            _ => OneOrMore::or(&[], file.servers.clone()),
        };
        if servers.is_empty() {
            return Err(Ended::usage(
                "the journal on NATS needs servers: set servers = [\"nats://host:4222\"] in \
                 [journal]",
            ));
        }
        for server in &servers {
            host::check_nats_server(server)
                .map_err(|wrong| Ended::usage(format!("journal.servers: {wrong}")))?;
        }
        let said = NatsFile::of(args, &file.nats);
        let default = NatsOptions::default();
        let wait = |time: Option<Time>, default: Duration| time.map_or(default, |time| time.0);
        let publish_wait = between(
            "journal.nats.publish_wait",
            wait(said.publish_wait, default.publish_wait),
            Duration::from_millis(100),
            Duration::from_secs(60),
        )?;
        let start_wait = between(
            "journal.nats.start_wait",
            wait(said.start_wait, default.start_wait),
            Duration::ZERO,
            HOUR,
        )?;
        if let Some(replicas) = said.replicas.filter(|replicas| !(1..=5).contains(replicas)) {
            return Err(Ended::usage(format!(
                "journal.nats.replicas is {replicas}; it must be 1 to 5"
            )));
        }
        let certificate = match (said.cert.clone(), said.key.clone()) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (Some(_), None) => {
                return Err(Ended::usage("a certificate for NATS needs its key: set --nats-key"));
            }
            (None, Some(_)) => {
                return Err(Ended::usage("a key for NATS needs its certificate: set --nats-cert"));
            }
        };
        Ok(JournalConfig::Nats(
            NatsOptions::default()
                .login(login(&said)?)
                .ca(said.ca)
                .certificate(certificate)
                .stream(said.stream.unwrap_or(default.stream))
                .replicas(said.replicas.map(usize::from))
                .storage(said.storage.map(|storage| match storage {
                    NatsStorageChoice::File => NatsStorage::File,
                    NatsStorageChoice::Memory => NatsStorage::Memory,
                }))
                .retention(retention(&file.retention)?)
                .publish_wait(publish_wait)
                .start_wait(start_wait)
                .servers(servers),
        ))
    }

    fn login(said: &NatsFile) -> anyhow::Result<NatsLogin> {
        let secret = |path: &Path, what: &str| {
            let read = fs::read_to_string(path).map(|text| text.trim().to_owned());
            read.map_err(|error| {
                Ended::usage(format!("cannot read the {what} from {}: {error}", path.display()))
            })
        };
        match (&said.credentials, &said.nkey, &said.token_file) {
            (None, None, None) => Ok(NatsLogin::None),
            (Some(path), None, None) => Ok(NatsLogin::Credentials(path.clone())),
            (None, Some(path), None) => Ok(NatsLogin::Nkey(secret(path, "seed")?)),
            (None, None, Some(path)) => Ok(NatsLogin::Token(secret(path, "token")?)),
            _ => Err(Ended::usage(
                "--nats-credentials, --nats-nkey and --nats-token-file exclude each other; set one",
            )),
        }
    }

    fn retention(rules: &[RetentionFile]) -> anyhow::Result<NatsRetention> {
        match rules {
            [] => Ok(NatsRetention::default()),
            [rule]
                if rule.topics.as_deref().unwrap_or("*") == "*"
                    && rule.keep.unwrap_or_default() == KeepFile::All =>
            {
                Ok(NatsRetention::default()
                    .count(rule.count)
                    .bytes(rule.bytes.map(Size::bytes))
                    .age(rule.age.map(|time| time.0)))
            }
            _ => Err(Ended::usage(
                "the journal on NATS allows one [[journal.retention]] rule, with topics = \"*\" and \
                 keep = \"all\", because JetStream deletes the oldest updates regardless of topic",
            )),
        }
    }
}
