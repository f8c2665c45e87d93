//! The `[access]` table and its flags: who may do what. It is checked as a whole: what
//! contradicts itself, or could let nobody in, is an error that says what to do about it.

use std::fs;
use std::path::{Path, PathBuf};

use reqwest::Url;
use serde::{Deserialize, Serialize};
use tidings_hub::{
    Access, Algorithm, Dialect, Dialects, HUB_PATH, Issuer, IssuerKeys, Key, KeySetUrl, Tokens,
};

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
    issuers: Option<Vec<IssuerFile>>,
    audience: Option<OneOrMore>,
    dialect: Option<DialectChoice>,
    query_tokens: Option<bool>,
    cookie_name: Option<String>,
    hub_url: Option<String>,
    publish_origins: Option<Vec<String>>,
    cors_origins: Option<Vec<String>>,
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
            })]),
            audience: Some(OneOrMore::More(Vec::new())),
            dialect: Some(DialectChoice::All),
            query_tokens: Some(true),
            cookie_name: text(),
            hub_url: text(),
            publish_origins: Some(Vec::new()),
            cors_origins: Some(Vec::new()),
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

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct IssuerTable {
    name: String,
    key: Option<String>,
    key_file: Option<PathBuf>,
    algorithm: Option<String>,
    jwks_url: Option<String>,
    jwks_allow_internal: Option<bool>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

/// Whether the flags say anything by which more than nothing would be open, or less than
/// everything.
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

/// # Errors
/// If anything makes no sense, by itself or together.
pub(super) fn read(args: &ServeArgs, file: AccessFile) -> anyhow::Result<Access> {
    let access = read_parts(args, file)?;
    check(&access)?;
    Ok(access)
}

/// # Errors
/// If any part makes no sense by itself.
pub(super) fn read_parts(args: &ServeArgs, file: AccessFile) -> anyhow::Result<Access> {
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
    )?;
    let audience = match file.audience {
        _ if !args.access.audience.is_empty() => args.access.audience.clone(),
        None => Vec::new(),
        Some(OneOrMore::One(one)) => vec![one],
        Some(OneOrMore::More(several)) => several,
    };
    let hub_url = match args.access.hub_url.clone().or(file.hub_url) {
        Some(text) => Some(hub_url(&text).ok_or_else(|| {
            Ended::usage(format!(
                "--hub-url is {text:?}; it has to be an http or https URL, like https://example.com"
            ))
        })?),
        None => audience.iter().find_map(|name| hub_url(name)),
    };
    let or = |flags: &[String], file: Option<Vec<String>>| {
        if flags.is_empty() { file.unwrap_or_default() } else { flags.to_vec() }
    };
    Ok(Access {
        anonymous_publish: args.anonymous_publish.or(file.anonymous_publish).unwrap_or(false),
        anonymous_subscribe: args.anonymous_subscribe.or(file.anonymous_subscribe).unwrap_or(false),
        tokens: Tokens {
            publisher_key,
            subscriber_key,
            issuers: issuers(args, file.issuers)?,
            audience,
            cookie: cookie(args.access.cookie_name.clone().or(file.cookie_name))?,
            in_query: args.access.query_tokens.or(file.query_tokens).unwrap_or(false),
        },
        dialects: match args.access.dialect.or(file.dialect).unwrap_or(DialectChoice::All) {
            DialectChoice::All => Dialects::All,
            DialectChoice::Deployed => Dialects::Only(Dialect::Deployed),
            DialectChoice::Coming => Dialects::Only(Dialect::Coming),
        },
        hub_url,
        publish_origins: publish_origins(or(&args.publish_origin, file.publish_origins))?,
        cors_origins: cors_origins(or(&args.cors_origin, file.cors_origins))?,
        local_only: false,
    })
}

/// What of a key is said in one place.
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

    /// What hubs of Mercure have read since long.
    fn mercure_key(self) -> Option<String> {
        let name = format!("MERCURE_{}_JWT_KEY", self.word().to_ascii_uppercase());
        std::env::var(name).ok().filter(|key| !key.is_empty())
    }

    fn mercure_algorithm(self) -> Option<String> {
        let name = format!("MERCURE_{}_JWT_ALG", self.word().to_ascii_uppercase());
        std::env::var(name).ok().filter(|name| !name.is_empty())
    }

    /// Flags and environment go before Mercure's environment, and that before the file.
    fn key(self, flags: Given<'_>, file: Given<'_>) -> anyhow::Result<Option<Key>> {
        let word = self.word();
        let mercure = self.mercure_key();
        let given = match (flags.key.or(flags.file.and(Some(""))), mercure.as_deref()) {
            (Some(_), _) => flags,
            (None, Some(key)) => Given { key: Some(key), file: None, ..flags },
            (None, None) => file,
        };
        let named = flags.algorithm.map(str::to_owned).or_else(|| self.mercure_algorithm());
        let algorithm = named.or_else(|| file.algorithm.map(str::to_owned));
        key(&format!("the {word} key"), Given { algorithm: algorithm.as_deref(), ..given })
    }
}

fn key(what: &str, given: Given<'_>) -> anyhow::Result<Option<Key>> {
    let text = match (given.key, given.file) {
        (Some(_), Some(_)) => {
            return Err(Ended::usage(format!(
                "{what} is given by value and in a file; leave one of them out"
            )));
        }
        (Some(key), None) => key.to_owned(),
        (None, Some(path)) => read_key_file(what, path)?,
        (None, None) if given.algorithm.is_some() => {
            return Err(Ended::usage(format!("there is an algorithm for {what}, but no key")));
        }
        (None, None) => return Ok(None),
    };
    let refused = |error| Ended::usage(format!("{what}: {error}"));
    let algorithm: Option<Algorithm> =
        given.algorithm.map(str::parse).transpose().map_err(refused)?;
    Key::read(&text, algorithm).map(Some).map_err(refused)
}

fn read_key_file(what: &str, path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).map_err(|error| {
        Ended::usage(format!("{what} cannot be read from {}: {error}", path.display()))
    })
}

fn issuers(args: &ServeArgs, file: Option<Vec<IssuerFile>>) -> anyhow::Result<Vec<Issuer>> {
    let from_url = |url: &str, allow_internal: Option<bool>| {
        KeySetUrl::new(url, allow_internal.unwrap_or(false))
            .map(IssuerKeys::Url)
            .map_err(|error| Ended::usage(format!("the key set {url:?}: {error}")))
    };
    if !args.access.issuer.is_empty() || args.access.jwks_url.is_some() {
        let keys = args
            .access
            .jwks_url
            .as_deref()
            .map(|url| from_url(url, args.access.jwks_allow_internal));
        return match (args.access.issuer.as_slice(), keys.transpose()?) {
            ([name], Some(keys)) => Ok(vec![Issuer { name: name.clone(), keys }]),
            (_, Some(_)) => Err(Ended::usage(
                "--jwks-url has the keys of one issuer, so it needs one --issuer; for several, \
                 write a table for each in a configuration file ([[access.issuers]])",
            )),
            (names, None) => Ok(names
                .iter()
                .map(|name| Issuer { name: name.clone(), keys: IssuerKeys::Shared })
                .collect()),
        };
    }
    let read = |issuer: IssuerFile| {
        let table = match issuer {
            IssuerFile::Name(name) => return Ok(Issuer { name, keys: IssuerKeys::Shared }),
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
                    "{what} is given, and a jwks_url as well; leave one of them out"
                )));
            }
            (Some(url), false) => from_url(url, table.jwks_allow_internal)?,
            (None, _) => match key(&what, given)? {
                Some(key) => IssuerKeys::These(vec![key]),
                None => IssuerKeys::Shared,
            },
        };
        Ok(Issuer { name: table.name, keys })
    };
    file.unwrap_or_default().into_iter().map(read).collect()
}

/// The protocol's URL at the place that `text` names.
fn hub_url(text: &str) -> Option<Url> {
    let mut url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    url.set_path(HUB_PATH);
    url.set_query(None);
    url.set_fragment(None);
    Some(url)
}

fn cookie(name: Option<String>) -> anyhow::Result<Option<String>> {
    let is_token = |name: &str| {
        !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
    };
    match name {
        Some(name) if !is_token(&name) => Err(Ended::usage(format!(
            "{name:?} is no name of a cookie; letters, digits, \"-\" and \"_\" are"
        ))),
        name => Ok(name),
    }
}

/// Refuses what contradicts itself.
fn check(access: &Access) -> anyhow::Result<()> {
    let tokens = &access.tokens;
    let wrong = |text: &str| Err(Ended::usage(text.to_owned()));
    let mut names: Vec<_> = tokens.issuers.iter().map(|issuer| &issuer.name).collect();
    names.sort_unstable();
    if let Some(two) = names.windows(2).find(|two| two[0] == two[1]) {
        return Err(Ended::usage(format!("the issuer {:?} is given twice", two[0])));
    }
    let has_own = |issuer: &Issuer| !matches!(issuer.keys, IssuerKeys::Shared);
    let own = tokens.issuers.iter().any(has_own);
    let is_without_keys = tokens.publisher_key.is_none() && tokens.subscriber_key.is_none();
    if is_without_keys && !tokens.issuers.iter().all(has_own) {
        return wrong(
            "an issuer has no keys: give --publisher-key and --subscriber-key, or its --jwks-url",
        );
    }
    let speaks_coming = access.dialects.has(Dialect::Coming);
    if !tokens.issuers.is_empty() && tokens.audience.is_empty() && speaks_coming {
        return wrong(
            "tokens of an issuer have to be for this hub: --audience says what they call it, as a \
             rule the URL of its /.well-known/mercure",
        );
    }
    if !tokens.audience.is_empty() && tokens.issuers.is_empty() {
        return wrong("--audience is for tokens of Mercure 1.0, which need an --issuer as well");
    }
    if access.dialects == Dialects::Only(Dialect::Coming) {
        if tokens.has_keys() && tokens.issuers.is_empty() {
            return wrong("tokens of Mercure 1.0 need an --issuer and an --audience");
        }
        if tokens.in_query {
            return wrong(
                "Mercure 1.0 takes no tokens from the query; leave out --query-tokens, or choose \
                 --dialect all",
            );
        }
    }
    if tokens.has_keys() {
        if tokens.publisher_key.is_none() && !own && !access.anonymous_publish {
            return wrong(
                "there is a key for subscribers and none for publishers, so that nobody could \
                 publish: add --publisher-key, or --anonymous-publish to let everybody do so",
            );
        }
        if tokens.subscriber_key.is_none() && !own && !access.anonymous_subscribe {
            return wrong(
                "there is a key for publishers and none for subscribers, so that nobody could \
                 subscribe: add --subscriber-key, or --anonymous-subscribe to let everybody read \
                 public updates",
            );
        }
    }
    Ok(())
}

/// Origins whose pages may publish: each is named.
fn publish_origins(origins: Vec<String>) -> anyhow::Result<Vec<String>> {
    if origins.iter().any(|origin| origin == "*") {
        return Err(Ended::usage(
            "\"*\" would let every website publish through its visitors; name the origins",
        ));
    }
    checked(origins)
}

/// Origins whose pages may read: each is named, or `*` is all of them.
fn cors_origins(origins: Vec<String>) -> anyhow::Result<Vec<String>> {
    if origins.len() > 1 && origins.iter().any(|origin| origin == "*") {
        return Err(Ended::usage(
            "\"*\" lets all websites read, without credentials; other origins beside it would \
             change nothing",
        ));
    }
    checked(origins)
}

fn checked(origins: Vec<String>) -> anyhow::Result<Vec<String>> {
    for origin in &origins {
        let is_origin = origin.split_once("://").is_some_and(|(scheme, rest)| {
            matches!(scheme, "http" | "https") && !rest.is_empty() && !rest.contains('/')
        });
        if !is_origin && origin != "*" {
            return Err(Ended::usage(format!(
                "{origin:?} is no origin; write it as https://app.example.com, without a path"
            )));
        }
    }
    Ok(origins)
}
