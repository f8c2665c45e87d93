//! The `[access]` table and its flags: which clients may publish and subscribe. Settings that
//! contradict each other, or that exclude every client, are errors that say what to change.

pub(crate) mod secret;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use reqwest::Url;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use tidings_hub::{
    Access, Algorithm, CorsOrigins, Dialect, Dialects, HUB_PATH, Host, InvalidKey,
    InvalidKeySetUrl, Issuer, IssuerKeys, Key, KeySetUrl, Origin, Tokens,
};

use super::one_or_more::OneOrMore;
use crate::args::host::is_host;
use crate::args::{DialectChoice, ServeArgs};
use crate::outcome::Ended;

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct AccessFile {
    anonymous_publish: Option<bool>,
    anonymous_subscribe: Option<bool>,
    publisher_key: Option<String>,
    publisher_key_file: Option<PathBuf>,
    publisher_algorithm: Option<String>,
    subscriber_key: Option<String>,
    subscriber_key_file: Option<PathBuf>,
    subscriber_algorithm: Option<String>,
    #[serde(deserialize_with = "read_issuers")]
    issuers: Option<Vec<IssuerFile>>,
    audience: Option<OneOrMore>,
    dialect: Option<DialectChoice>,
    query_tokens: Option<bool>,
    cookie_name: Option<OneOrMore>,
    hub_url: Option<String>,
    allowed_hosts: Option<OneOrMore>,
    publish_origins: Option<OneOrMore>,
    cors_origins: Option<OneOrMore>,
}

impl AccessFile {
    /// A table with every key.
    pub(super) fn every() -> Self {
        let text = || Some(String::new());
        let path = || Some(PathBuf::new());
        Self {
            anonymous_publish: Some(true),
            anonymous_subscribe: Some(true),
            publisher_key: text(),
            publisher_key_file: path(),
            publisher_algorithm: text(),
            subscriber_key: text(),
            subscriber_key_file: path(),
            subscriber_algorithm: text(),
            issuers: Some(vec![IssuerFile::Table(IssuerTable {
                name: String::new(),
                key: text(),
                key_file: path(),
                algorithm: text(),
                jwks_url: text(),
                jwks_allow_internal: Some(true),
                authorization_server: Some(true),
            })]),
            audience: Some(OneOrMore::default()),
            dialect: Some(DialectChoice::All),
            query_tokens: Some(true),
            cookie_name: Some(OneOrMore::default()),
            hub_url: text(),
            allowed_hosts: Some(OneOrMore::default()),
            publish_origins: Some(OneOrMore::default()),
            cors_origins: Some(OneOrMore::default()),
        }
    }
}

/// An issuer whose tokens are verified with the hub's keys, or with its own.
#[derive(Debug, Deserialize, Serialize)]
#[serde(untagged)]
enum IssuerFile {
    Name(String),
    Table(IssuerTable),
}

/// A name, or a list of names and tables.
fn read_issuers<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<IssuerFile>>, D::Error> {
    struct Issuers;

    impl<'de> Visitor<'de> for Issuers {
        type Value = Vec<IssuerFile>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the name of an issuer, or a list of names and tables")
        }

        fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
            Ok(vec![IssuerFile::Name(name.to_owned())])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
            Deserialize::deserialize(SeqAccessDeserializer::new(list))
        }
    }

    deserializer.deserialize_any(Issuers).map(Some)
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct IssuerTable {
    name: String,
    key: Option<String>,
    key_file: Option<PathBuf>,
    algorithm: Option<String>,
    jwks_url: Option<String>,
    jwks_allow_internal: Option<bool>,
    authorization_server: Option<bool>,
}

/// Whether the flags configure access, which turns development mode off.
pub(super) fn is_said(args: &ServeArgs) -> bool {
    args.anonymous_publish.or(args.anonymous_subscribe).is_some()
        || args.access.publisher_key.is_some()
        || args.access.publisher_key_file.is_some()
        || args.access.subscriber_key.is_some()
        || args.access.subscriber_key_file.is_some()
        || args.access.jwks_url.is_some()
        || !args.access.issuer.is_empty()
        || !args.access.audience.is_empty()
        || Role::ALL.iter().any(|role| role.mercure_key().is_some())
}

/// The configured access, and warnings of probable mistakes.
pub(super) struct Read {
    pub(super) access: Access,
    pub(super) doubts: Vec<String>,
}

/// # Errors
/// If a setting is invalid, or settings contradict each other.
pub(super) fn read(args: &ServeArgs, file: AccessFile) -> anyhow::Result<Read> {
    let read = read_parts(args, file)?;
    check(&read.access)?;
    Ok(read)
}

/// # Errors
/// If a setting is invalid by itself.
pub(super) fn read_parts(args: &ServeArgs, file: AccessFile) -> anyhow::Result<Read> {
    let mut doubts = Vec::new();
    let publisher_key = Role::Publisher.key(
        Given {
            key: args.access.publisher_key.as_deref(),
            file: args.access.publisher_key_file.as_deref(),
            algorithm: args.access.publisher_algorithm.as_deref(),
        },
        Given {
            key: file.publisher_key.as_deref(),
            file: file.publisher_key_file.as_deref(),
            algorithm: file.publisher_algorithm.as_deref(),
        },
        &mut doubts,
    )?;
    let subscriber_key = Role::Subscriber.key(
        Given {
            key: args.access.subscriber_key.as_deref(),
            file: args.access.subscriber_key_file.as_deref(),
            algorithm: args.access.subscriber_algorithm.as_deref(),
        },
        Given {
            key: file.subscriber_key.as_deref(),
            file: file.subscriber_key_file.as_deref(),
            algorithm: file.subscriber_algorithm.as_deref(),
        },
        &mut doubts,
    )?;
    let audience = names("an audience", OneOrMore::or(&args.access.audience, file.audience))?;
    let hub_url = match args.access.hub_url.clone().or(file.hub_url) {
        Some(text) => Some(hub_url(&text).ok_or_else(|| {
            Ended::usage(format!(
                "--hub-url is {text:?}; it must be an http or https URL such as https://example.com"
            ))
        })?),
        None => audience.iter().find_map(|name| audience_url(name)),
    };
    let (issuers, authorization_servers) = issuers(args, file.issuers, &mut doubts)?;
    names("the name of an issuer", issuers.iter().map(|issuer| issuer.name.clone()).collect())?;
    let access = Access::default()
        .anonymous_publish(args.anonymous_publish.or(file.anonymous_publish).unwrap_or(false))
        .anonymous_subscribe(args.anonymous_subscribe.or(file.anonymous_subscribe).unwrap_or(false))
        .tokens(
            Tokens::default()
                .publisher_key(publisher_key)
                .subscriber_key(subscriber_key)
                .issuers(issuers)
                .audience(audience)
                .authorization_servers(authorization_servers)
                .cookies(cookies(OneOrMore::or(&args.cookie_name, file.cookie_name))?)
                .in_query(args.query_tokens.or(file.query_tokens).unwrap_or(false)),
        )
        .dialects(match args.access.dialect.or(file.dialect).unwrap_or(DialectChoice::All) {
            DialectChoice::All => Dialects::All,
            DialectChoice::Deployed => Dialects::Only(Dialect::Deployed),
            DialectChoice::Coming => Dialects::Only(Dialect::Coming),
        })
        .hub_url(hub_url)
        .allowed_hosts(allowed_hosts(&OneOrMore::or(&args.allowed_host, file.allowed_hosts))?)
        .publish_origins(publish_origins(&OneOrMore::or(
            &args.publish_origin,
            file.publish_origins,
        ))?)
        .cors_origins(cors_origins(&OneOrMore::or(&args.cors_origin, file.cors_origins))?);
    Ok(Read { access, doubts })
}

/// The settings of a key from one source: the flags, or the file.
#[derive(Clone, Copy)]
struct Given<'a> {
    key: Option<&'a str>,
    file: Option<&'a Path>,
    algorithm: Option<&'a str>,
}

#[derive(Clone, Copy)]
enum Role {
    Publisher,
    Subscriber,
}

impl Role {
    const ALL: [Self; 2] = [Self::Publisher, Self::Subscriber];

    fn word(self) -> &'static str {
        match self {
            Self::Publisher => "publisher",
            Self::Subscriber => "subscriber",
        }
    }

    /// The variable that Mercure's own hub reads.
    fn mercure_key(self) -> Option<String> {
        let name = format!("MERCURE_{}_JWT_KEY", self.word().to_ascii_uppercase());
        std::env::var(name).ok().filter(|key| !key.is_empty())
    }

    fn mercure_algorithm(self) -> Option<String> {
        let name = format!("MERCURE_{}_JWT_ALG", self.word().to_ascii_uppercase());
        std::env::var(name).ok().filter(|name| !name.is_empty())
    }

    /// Flags and Tidings' variables take precedence over Mercure's variables, and those over the
    /// file.
    fn key(
        self,
        flags: Given<'_>,
        file: Given<'_>,
        doubts: &mut Vec<String>,
    ) -> anyhow::Result<Option<Key>> {
        let word = self.word();
        let mercure = self.mercure_key();
        let given = match (flags.key.or(flags.file.and(Some(""))), mercure.as_deref()) {
            (Some(_), _) => flags,
            (None, Some(key)) => Given { key: Some(key), file: None, ..flags },
            (None, None) => file,
        };
        let named = flags.algorithm.map(str::to_owned).or_else(|| self.mercure_algorithm());
        let algorithm = named.or_else(|| file.algorithm.map(str::to_owned));
        let given = Given { algorithm: algorithm.as_deref(), ..given };
        key(&format!("the {word} key"), given, doubts)
    }
}

fn key(what: &str, given: Given<'_>, doubts: &mut Vec<String>) -> anyhow::Result<Option<Key>> {
    let text = match (given.key, given.file) {
        (Some(_), Some(_)) => {
            return Err(Ended::usage(format!(
                "{what} is set both by value and as a file; remove one of them"
            )));
        }
        (Some(key), None) => key.to_owned(),
        (None, Some(path)) => read_key_file(what, path)?,
        (None, None) if given.algorithm.is_some() => {
            return Err(Ended::usage(format!(
                "an algorithm is set for {what}, but no key; set the key, or remove the algorithm"
            )));
        }
        (None, None) => return Ok(None),
    };
    let refused = |error: InvalidKey| {
        let more = match &error {
            InvalidKey::IsJson => "; for a key set, use --jwks-url",
            _ => "",
        };
        Ended::usage(format!("{what}: {error}{more}"))
    };
    let algorithm: Option<Algorithm> =
        given.algorithm.map(str::parse).transpose().map_err(refused)?;
    let key = Key::read(&text, algorithm).map_err(refused)?;
    doubts.extend(secret::doubt(&text).map(|doubt| format!("{what} {doubt}")));
    Ok(Some(key))
}

fn read_key_file(what: &str, path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).map_err(|error| {
        Ended::usage(format!("cannot read {what} from {}: {error}", path.display()))
    })
}

/// The issuers, and the names of those that are authorization servers.
fn issuers(
    args: &ServeArgs,
    file: Option<Vec<IssuerFile>>,
    doubts: &mut Vec<String>,
) -> anyhow::Result<(Vec<Issuer>, Vec<String>)> {
    let from_url = |url: &str, allow_internal: Option<bool>| {
        KeySetUrl::new(url, allow_internal.unwrap_or(false)).map(IssuerKeys::Url).map_err(|error| {
            let more = match error {
                InvalidKeySetUrl::Internal => "; --jwks-allow-internal allows it",
                InvalidKeySetUrl::Cleartext => {
                    "; in a network of your own, --jwks-allow-internal allows http"
                }
                _ => "",
            };
            Ended::usage(format!("invalid URL of a key set {url:?}: {error}{more}"))
        })
    };
    if !args.access.issuer.is_empty() || args.access.jwks_url.is_some() {
        let keys = args
            .access
            .jwks_url
            .as_deref()
            .map(|url| from_url(url, args.access.jwks_allow_internal));
        let issuers = match (args.access.issuer.as_slice(), keys.transpose()?) {
            ([name], Some(keys)) => vec![Issuer::new(name, keys)],
            (_, Some(_)) => {
                return Err(Ended::usage(
                    "--jwks-url needs exactly one --issuer; for several issuers, use a table for \
                     each in a configuration file ([[access.issuers]])",
                ));
            }
            (names, None) => {
                names.iter().map(|name| Issuer::new(name, IssuerKeys::Shared)).collect()
            }
        };
        return Ok((issuers, Vec::new()));
    }
    let mut servers = Vec::new();
    let mut read = |issuer: IssuerFile| {
        let table = match issuer {
            IssuerFile::Name(name) => return Ok(Issuer::new(name, IssuerKeys::Shared)),
            IssuerFile::Table(table) => table,
        };
        let what = format!("the key of issuer {:?}", table.name);
        let given = Given {
            key: table.key.as_deref(),
            file: table.key_file.as_deref(),
            algorithm: table.algorithm.as_deref(),
        };
        let keys = match (&table.jwks_url, given.key.is_some() || given.file.is_some()) {
            (Some(_), true) => {
                return Err(Ended::usage(format!(
                    "{what} and jwks_url are both set; remove one of them"
                )));
            }
            (Some(url), false) => from_url(url, table.jwks_allow_internal)?,
            (None, _) => match key(&what, given, doubts)? {
                Some(key) => IssuerKeys::These(vec![key]),
                None => IssuerKeys::Shared,
            },
        };
        if table.authorization_server == Some(true) {
            // Clients derive the URL of its metadata from its name (RFC 8414 3.1).
            if !Url::parse(&table.name).is_ok_and(|url| url.scheme() == "https") {
                return Err(Ended::usage(format!(
                    "the issuer {:?} is marked as an authorization server, so its name must be an \
                     https URL",
                    table.name
                )));
            }
            servers.push(table.name.clone());
        }
        Ok(Issuer::new(table.name, keys))
    };
    let issuers = file.unwrap_or_default().into_iter().map(&mut read).collect::<Result<_, _>>()?;
    Ok((issuers, servers))
}

/// Appends the protocol's path to the URL `text`, unless it already ends with that path.
fn hub_url(text: &str) -> Option<Url> {
    let mut url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    url.host_str().filter(|host| is_host(host))?;
    let path = url.path().strip_suffix(HUB_PATH).unwrap_or(url.path());
    url.set_path(&format!("{}{HUB_PATH}", path.trim_end_matches('/')));
    url.set_query(None);
    url.set_fragment(None);
    Some(url)
}

/// The hub's URL that an audience implies. An audience may be any URL, so a path other than the
/// protocol's says nothing about the hub.
fn audience_url(name: &str) -> Option<Url> {
    let mut url = hub_url(name)?;
    if !Url::parse(name).is_ok_and(|name| name.path().ends_with(HUB_PATH)) {
        url.set_path(HUB_PATH);
    }
    Some(url)
}

fn cookies(names: Vec<String>) -> anyhow::Result<Vec<String>> {
    let is_token = |name: &str| {
        !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
    };
    match names.iter().find(|name| !is_token(name)) {
        Some(name) => Err(Ended::usage(format!(
            "{name:?} is not a cookie name; use letters, digits, \"-\" and \"_\""
        ))),
        None => Ok(names),
    }
}

/// Warnings of Mercure's settings in the environment that Tidings does not read, each with the
/// setting to use instead.
pub(crate) fn unread_settings(access: &Access) -> Vec<String> {
    let settings = [
        (
            "MERCURE_TRUSTED_ISSUERS",
            "set the issuers with --issuer (TIDINGS_ISSUER)",
            access.tokens.issuers.is_empty(),
        ),
        (
            "MERCURE_EXTRA_DIRECTIVES",
            "each directive has a flag or a key of the configuration file, see \
             docs/moving-from-mercure.md",
            true,
        ),
        (
            "MERCURE_TRANSPORT_URL",
            "set the journal with --journal (TIDINGS_JOURNAL) and --data-dir (TIDINGS_DATA_DIR)",
            true,
        ),
        ("MERCURE_LICENSE", "Tidings needs no license", true),
    ];
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let unread = settings.iter().filter(|(name, _, counts)| *counts && is_set(name));
    unread.map(|(name, instead, _)| format!("{name} is set but ignored: {instead}")).collect()
}

/// Refuses settings that contradict each other, or that exclude every client.
fn check(access: &Access) -> anyhow::Result<()> {
    let tokens = &access.tokens;
    let wrong = |text: &str| Err(Ended::usage(text.to_owned()));
    let mut names: Vec<_> = tokens.issuers.iter().map(|issuer| &issuer.name).collect();
    names.sort_unstable();
    if let Some(two) = names.windows(2).find(|two| two[0] == two[1]) {
        return Err(Ended::usage(format!("the issuer {:?} is listed twice", two[0])));
    }
    let has_own = |issuer: &Issuer| !matches!(issuer.keys, IssuerKeys::Shared);
    let own = tokens.issuers.iter().any(has_own);
    let is_without_keys = tokens.publisher_key.is_none() && tokens.subscriber_key.is_none();
    if is_without_keys && !tokens.issuers.iter().all(has_own) {
        return wrong(
            "an issuer has no keys: set --publisher-key and --subscriber-key, or its --jwks-url",
        );
    }
    let speaks_coming = access.dialects.has(Dialect::Coming);
    if !tokens.issuers.is_empty() && tokens.audience.is_empty() && speaks_coming {
        return wrong(
            "an --issuer needs an --audience, the name that its tokens use for this hub, usually \
             the URL of its /.well-known/mercure",
        );
    }
    if !tokens.audience.is_empty() && tokens.issuers.is_empty() {
        return wrong("--audience is for tokens of Mercure 1.0, which also need an --issuer");
    }
    if access.dialects == Dialects::Only(Dialect::Coming) {
        if tokens.has_keys() && tokens.issuers.is_empty() {
            return wrong("tokens of Mercure 1.0 need an --issuer and an --audience");
        }
        if tokens.in_query {
            return wrong(
                "Mercure 1.0 has no tokens in the query; remove --query-tokens, or set --dialect all",
            );
        }
    }
    if tokens.has_keys() {
        if tokens.publisher_key.is_none() && !own && !access.anonymous_publish {
            return wrong(
                "no client could publish: there is a subscriber key but no publisher key. Set \
                 --publisher-key, or --anonymous-publish to allow every client",
            );
        }
        if tokens.subscriber_key.is_none() && !own && !access.anonymous_subscribe {
            return wrong(
                "no client could subscribe: there is a publisher key but no subscriber key. Set \
                 --subscriber-key, or --anonymous-subscribe to allow every client to read public \
                 updates",
            );
        }
    }
    Ok(())
}

/// The origins whose pages may publish. `*` is not allowed.
fn publish_origins(origins: &[String]) -> anyhow::Result<Vec<Origin>> {
    if origins.iter().any(|origin| origin.trim() == "*") {
        return Err(Ended::usage(
            "\"*\" would allow every website to publish through its visitors; list the origins",
        ));
    }
    listed(origins)
}

/// The origins whose pages may subscribe; `*` allows all.
fn cors_origins(origins: &[String]) -> anyhow::Result<CorsOrigins> {
    let is_all = |origin: &String| origin.trim() == "*";
    match origins {
        [one] if is_all(one) => Ok(CorsOrigins::All),
        several if several.iter().any(is_all) => Err(Ended::usage(
            "\"*\" already allows all websites to subscribe, without credentials; remove the other \
             origins, or \"*\"",
        )),
        listed => self::listed(listed).map(CorsOrigins::These),
    }
}

fn listed(origins: &[String]) -> anyhow::Result<Vec<Origin>> {
    let origins = origins.iter().map(|origin| origin.parse::<Origin>());
    origins.collect::<Result<_, _>>().map_err(|error| Ended::usage(error.to_string()))
}

fn allowed_hosts(names: &[String]) -> anyhow::Result<Vec<Host>> {
    let read = |name: &String| {
        let name = name.trim();
        // The URL parser accepts characters that names of DNS cannot have.
        let host = Host::parse(name).ok().filter(|_| !name.contains(['%', ':']) && is_host(name));
        host.ok_or_else(|| {
            Ended::usage(format!(
                "{name:?} is not a host name; write it like hub.example.com, without scheme, port \
                 or wildcard"
            ))
        })
    };
    names.iter().map(read).collect()
}

/// Checks names that are compared exactly. An empty name, or one with a space at either end, would
/// never match a token.
fn names(what: &str, names: Vec<String>) -> anyhow::Result<Vec<String>> {
    match names.iter().find(|name| name.is_empty() || name.trim() != name.as_str()) {
        Some(name) => Err(Ended::usage(format!(
            "{what} is {name:?}; it must not be empty, nor begin or end with a space"
        ))),
        None => Ok(names),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_listed_as_browsers_send_them_or_refused() {
        let texts =
            |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let listed = publish_origins(&texts(&["https://A.test:443", " tauri://localhost"]));
        let listed: Vec<_> = listed.unwrap().iter().map(Origin::to_string).collect();
        assert_eq!(listed, ["https://a.test", "tauri://localhost"]);
        assert_eq!(cors_origins(&texts(&["*"])).unwrap(), CorsOrigins::All);
        for origins in
            [&["*", "https://a.test"][..], &["https://*.a.test"], &["http://a.test:*"], &[""]]
        {
            assert!(cors_origins(&texts(origins)).is_err(), "{origins:?}");
        }
        for origins in [&["*"][..], &["null"], &["https://a.test/"]] {
            assert!(publish_origins(&texts(origins)).is_err(), "{origins:?}");
        }
    }

    #[test]
    fn a_name_of_the_hub_has_no_scheme_port_or_wildcard() {
        let hosts = |name: &str| allowed_hosts(&[name.to_owned()]);
        assert_eq!(hosts("Hub.Test").unwrap()[0].to_string(), "hub.test");
        assert_eq!(hosts("hub_1.test.").unwrap()[0].to_string(), "hub_1.test.");
        assert_eq!(hosts("10.0.0.1").unwrap()[0].to_string(), "10.0.0.1");
        assert_eq!(hosts("b\u{fc}cher.test").unwrap()[0].to_string(), "xn--bcher-kva.test");
        for name in [
            "",
            "https://hub.test",
            "hub.test:443",
            "*.hub.test",
            "*",
            "a b",
            "hub.test/",
            "\"hub.test\"",
            "'hub.test'",
            ".hub.test",
            "hub..test",
            "-hub.test",
            "hub.test..",
            "h@hub.test",
            "a;b",
            "%68ub.test",
        ] {
            assert!(hosts(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_name_that_could_never_match_is_refused() {
        let check =
            |name: &str| names("an audience", vec!["a".to_owned(), name.to_owned()]).is_ok();
        assert!(check("https://hub.test/a b"));
        for name in ["", " ", " b", "b ", "b\r"] {
            assert!(!check(name), "{name:?}");
        }
    }

    #[test]
    fn the_hubs_url_keeps_the_path_of_the_proxy() {
        for (text, url) in [
            ("https://h.test", "https://h.test/.well-known/mercure"),
            ("https://h.test/", "https://h.test/.well-known/mercure"),
            ("https://h.test/.well-known/mercure", "https://h.test/.well-known/mercure"),
            ("https://h.test/events", "https://h.test/events/.well-known/mercure"),
            ("https://h.test/events/?x#y", "https://h.test/events/.well-known/mercure"),
            ("https://h.test/a/b/.well-known/mercure", "https://h.test/a/b/.well-known/mercure"),
        ] {
            assert_eq!(hub_url(text).unwrap().as_str(), url, "{text}");
        }
        let audience = |name| audience_url(name).unwrap().to_string();
        assert_eq!(audience("https://h.test/api"), "https://h.test/.well-known/mercure");
        let own = "https://h.test/events/.well-known/mercure";
        assert_eq!(audience(own), own);
    }
}
