//! The configuration of `tidings serve`. Flags take precedence over variables, those over the file,
//! and that over the defaults.

mod access;
mod file;
mod journal;
mod limits;
mod nats;
mod one_or_more;
pub(crate) mod place;
mod size;
mod socket;
pub(crate) mod template;
mod time;
mod unknown_key;

use std::path::PathBuf;
use std::time::Duration;

use tidings_hub::{Access, CorsOrigins, Limits};

use crate::args::{SHARDS, ServeArgs};
use crate::outcome::Ended;
pub(crate) use access::{secret, unread_settings};
use file::File;
pub(crate) use journal::{JournalConfig, data_dir};
use limits::limits;
pub(crate) use limits::requests_min;
use one_or_more::OneOrMore;
use place::Place;
pub(crate) use socket::SocketOptions;
use time::{DAY, between};

/// The settings of a hub.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) listen: Vec<Place>,
    pub(crate) admin_listen: Option<Place>,
    /// IPv6 addresses accept no IPv4 connections.
    pub(crate) ipv6_only: bool,
    /// Mode, owner and group of Unix sockets.
    pub(crate) socket: SocketOptions,
    pub(crate) demo: Option<bool>,
    pub(crate) shards: Option<usize>,
    pub(crate) journal: JournalConfig,
    pub(crate) access: Access,
    /// Warnings of probable mistakes.
    pub(crate) doubts: Vec<String>,
    /// Something was configured, so clients may do only what the configuration allows.
    pub(crate) is_configured: bool,
    pub(crate) presence_events: bool,
    pub(crate) heartbeat: Duration,
    pub(crate) limits: Limits,
    /// `limits.requests` is in the file, so it is not lowered to the system's memory.
    pub(crate) requests_are_set: bool,
    /// `limits.streams` is in the file, so it is not lowered to the system's memory.
    pub(crate) streams_are_set: bool,
    /// `limits.selectors` is in the file, so it is not lowered to the system's memory.
    pub(crate) are_selectors_set: bool,
    /// `limits.body` is in the file, so it is not lowered to the journal's limit.
    pub(crate) is_body_said: bool,
    /// The files of the certificate and of its key.
    pub(crate) tls: Option<(PathBuf, PathBuf)>,
    /// The duration over which a drain closes the streams.
    pub(crate) drain: Duration,
}

impl Config {
    /// The settings that differ in `other` and cannot change while the hub runs.
    pub(crate) fn needs_restart(&self, other: &Self) -> Vec<&'static str> {
        let allows_all = |config: &Self| config.access.cors_origins == CorsOrigins::All;
        let settings = [
            ("access.cors_origins = [\"*\"]", allows_all(self) == allows_all(other)),
            ("listen", self.listen == other.listen),
            ("admin_listen", self.admin_listen == other.admin_listen),
            ("ipv6_only", self.ipv6_only == other.ipv6_only),
            ("socket", self.socket == other.socket),
            ("demo", self.demo == other.demo),
            ("shards", self.shards == other.shards),
            ("journal", self.journal.is_like(&other.journal)),
            ("presence.events", self.presence_events == other.presence_events),
            ("streams.heartbeat", self.heartbeat == other.heartbeat),
            ("limits.requests", self.limits.request_bytes == other.limits.request_bytes),
            ("limits.window", self.limits.window_bytes == other.limits.window_bytes),
            ("limits.selectors", self.limits.selector_bytes == other.limits.selector_bytes),
            ("tls", self.tls == other.tls),
        ];
        settings.iter().filter(|(_, is_same)| !is_same).map(|(name, _)| *name).collect()
    }

    /// # Errors
    /// If the file cannot be read, or a setting is invalid.
    pub(crate) fn of(args: ServeArgs) -> anyhow::Result<Self> {
        let file = args.config.as_deref().map(File::read).transpose();
        let file = file.map_err(|error| Ended::usage(format!("{error:#}")))?;
        let is_configured = file.is_some() || access::is_said(&args);
        let file = file.unwrap_or_default();
        let journal = JournalConfig::of(&args, &file.journal)?;
        let access::Read { access, doubts } = access::read(&args, file.access)?;
        if args.presence_events.or(file.presence.events) == Some(true) && !access.tokens.has_keys()
        {
            return Err(Ended::usage(
                "--presence-events needs tokens, because only they grant reading the events; add \
                 --subscriber-key, or remove --presence-events",
            ));
        }
        let socket = socket::read(&args, file.socket)?;
        let place =
            |text: &String| text.parse::<Place>().map_err(|error| Ended::usage(error.to_string()));
        let mut listen = OneOrMore::or(&args.listen, file.listen);
        if listen.is_empty() {
            listen.push("localhost:8081".to_owned());
        }
        let listen = listen.iter().map(place).collect::<anyhow::Result<_>>()?;
        let admin_listen = args.admin_listen.or(file.admin_listen);
        let heartbeat = args
            .heartbeat
            .or(file.streams.heartbeat.map(|time| time.0))
            .unwrap_or(Duration::from_secs(15));
        if !(Duration::from_secs(1)..=Duration::from_secs(3600)).contains(&heartbeat) {
            return Err(Ended::usage(format!(
                "the heartbeat is {}; it must be 1s to 1h",
                humantime::format_duration(heartbeat)
            )));
        }
        let shards = args.shards.or(file.shards);
        if let Some(count) = shards.filter(|count| !SHARDS.contains(&i64::from(*count))) {
            return Err(Ended::usage(format!("shards is {count}; it must be 1 to 1024")));
        }
        Ok(Self {
            listen,
            admin_listen: admin_listen.as_ref().map(place).transpose()?,
            ipv6_only: args.ipv6_only.or(file.ipv6_only).unwrap_or(false),
            socket,
            demo: args.demo.or(file.demo),
            shards: shards.map(usize::from),
            journal,
            access,
            doubts,
            presence_events: args.presence_events.or(file.presence.events).unwrap_or(false),
            is_configured,
            heartbeat,
            requests_are_set: file.limits.requests.is_some(),
            streams_are_set: file.limits.streams.is_some(),
            are_selectors_set: file.limits.selectors.is_some(),
            is_body_said: file.limits.body.is_some(),
            limits: limits(&file.limits, file.streams.age_max)?,
            tls: tls(args.tls_cert.or(file.tls.cert), args.tls_key.or(file.tls.key))?,
            drain: between(
                "drain",
                args.drain.or(file.drain.map(|time| time.0)).unwrap_or_default(),
                Duration::ZERO,
                DAY,
            )?,
        })
    }
}

impl Config {
    /// The address with /healthz of a hub with these settings, and whether it has TLS there. It is
    /// read without the other settings, which may be readable for the hub only.
    pub(crate) fn health_place(args: &ServeArgs) -> anyhow::Result<(Place, bool)> {
        let file = args.config.as_deref().map(File::read).transpose();
        let file = file.map_err(|error| Ended::usage(format!("{error:#}")))?.unwrap_or_default();
        let listen = OneOrMore::or(&args.listen, file.listen);
        let admin = args.admin_listen.clone().or(file.admin_listen);
        let has_tls = admin.is_none() && (args.tls_cert.is_some() || file.tls.cert.is_some());
        let text = admin.or_else(|| listen.first().cloned());
        let text = text.unwrap_or_else(|| "localhost:8081".to_owned());
        let place = text.parse::<Place>().map_err(|error| Ended::usage(error.to_string()))?;
        Ok((place, has_tls))
    }

    /// The access that a hub with these settings would grant. Unlike [`Config::of`], it does not
    /// check whether publishers and subscribers can use the hub.
    pub(crate) fn access_to_inspect(args: ServeArgs) -> anyhow::Result<(Access, Vec<String>)> {
        let file = args.config.as_deref().map(File::read).transpose();
        let file = file.map_err(|error| Ended::usage(format!("{error:#}")))?.unwrap_or_default();
        let access::Read { access, doubts } = access::read_parts(&args, file.access)?;
        Ok((access, doubts))
    }
}

fn tls(cert: Option<PathBuf>, key: Option<PathBuf>) -> anyhow::Result<Option<(PathBuf, PathBuf)>> {
    match (cert, key) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) if !cfg!(feature = "tls") => {
            Err(Ended::usage("this build has no TLS; build it with the feature `tls`"))
        }
        (Some(cert), Some(key)) => Ok(Some((cert, key))),
        (Some(_), None) => Err(Ended::usage("a certificate needs its key: set --tls-key")),
        (None, Some(_)) => Err(Ended::usage("a key needs its certificate: set --tls-cert")),
    }
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::journal::{memory_retention, promise};
    use super::*;

    #[test]
    fn a_value_out_of_bounds_is_an_error_that_names_the_bounds() {
        let error = |args: ServeArgs| Config::of(args).unwrap_err().to_string();
        for heartbeat in [Duration::from_millis(999), Duration::from_secs(3601), Duration::MAX] {
            let args = ServeArgs { heartbeat: Some(heartbeat), ..ServeArgs::default() };
            assert!(error(args).contains("1s to 1h"));
        }
        let args = ServeArgs { drain: Some(Duration::MAX), ..ServeArgs::default() };
        assert!(error(args).contains("at most 1day"));
        for (text, says) in [
            ("[limits]\nhead_time = \"500000000y\"", "limits.head_time is 500000000years"),
            ("[limits]\nbody_time = \"2h\"", "at most 1h"),
            ("[streams]\nage_max = \"2y\"", "at most 1year"),
        ] {
            let file = File::parse(text).unwrap();
            let error = limits(&file.limits, file.streams.age_max).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        for interval in ["1ms", "500000000y"] {
            let file = format!("[journal]\nsync_interval = \"{interval}\"");
            let file = File::parse(&file).unwrap();
            assert!(promise(None, file.journal.sync_interval).is_err(), "{interval}");
        }
        for shards in [0, 1025] {
            let args = ServeArgs { shards: Some(shards), ..ServeArgs::default() };
            assert!(error(args).contains("1 to 1024"));
        }
    }

    #[test]
    fn a_whole_file_is_read() {
        let file = File::parse(
            "listen = [\"localhost:1\"]\nadmin_listen = \"127.0.0.1:9081\"\ndemo = true\n\
             [journal]\nkind = \"memory\"\n\
             dir = \"/var/lib/tidings\"\nsync = \"interval\"\nsync_interval = \"2s\"\n\
             [[journal.retention]]\ntopics = \"*\"\nage = \"24h\"\nbytes = \"1GiB\"\ncount = 1_000_000\nkeep = \"all\"\n\
             [access]\nanonymous_subscribe = true\npublish_origins = [\"https://a.test\"]\n\
             [streams]\nheartbeat = \"15s\"\n[limits]\nbody = \"1MiB\"\n",
        )
        .unwrap();
        let kept = memory_retention(&file.journal.retention).unwrap();
        assert_eq!(kept.bytes, 1 << 30);
        assert_eq!(kept.age, Duration::from_secs(24 * 3600));
        assert_eq!(file.limits.body.map(|size| size.bytes()), Some(1 << 20));
    }

    #[test]
    fn flags_take_precedence_over_the_file() {
        let path = std::env::temp_dir().join(format!("tidings-config-{}.toml", std::process::id()));
        fs::write(&path, "listen = [\"localhost:1\"]\n[streams]\nheartbeat = \"20s\"").unwrap();
        let args = ServeArgs {
            config: Some(path.clone()),
            listen: vec!["localhost:2".to_owned()],
            ..ServeArgs::default()
        };
        let config = Config::of(args).unwrap();
        fs::remove_file(path).unwrap();
        assert_eq!(config.listen, [Place::Localhost { port: 2 }]);
        assert_eq!(config.heartbeat, Duration::from_secs(20));
        assert!(config.is_configured);
    }
}
