//! Sets of keys that issuers publish (JWKS, RFC 7517 5): fetched when they are needed, kept,
//! and fetched again at a bounded rate.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use jsonwebtoken as jwt;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use parking_lot::RwLock;
use serde::Deserialize;
use tokio::sync::Mutex;

use url::{Host, Url};

use super::key::{Algorithm, InvalidKey, Key};
use super::{Issuer, IssuerKeys};
use crate::clock;
use crate::limits::{
    KEY_SET_AGE, KEY_SET_BYTES, KEY_SET_KEYS, KEY_SET_PAUSE, KEY_SET_STALE, KEY_SET_TIME,
};

/// Where an issuer's keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySetUrl {
    url: Url,
    allow_internal: bool,
}

impl KeySetUrl {
    /// The set at `url`: https, or http where `allow_internal` is given. Without it the hub fetches
    /// from public addresses only, so that the owner of a host name cannot direct it into the
    /// internal network.
    ///
    /// # Errors
    /// If the URL is invalid or not allowed.
    pub fn new(url: &str, allow_internal: bool) -> Result<Self, InvalidKeySetUrl> {
        let url = Url::parse(url).map_err(|_| InvalidKeySetUrl::NoUrl)?;
        match url.scheme() {
            "https" if cfg!(feature = "tls") => {}
            "https" => return Err(InvalidKeySetUrl::NoTls),
            "http" if allow_internal => {}
            "http" => return Err(InvalidKeySetUrl::Cleartext),
            _ => return Err(InvalidKeySetUrl::NoUrl),
        }
        let address = match url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            Some(Host::Domain(_)) => None,
            None => return Err(InvalidKeySetUrl::NoUrl),
        };
        if address.is_some_and(is_internal) && !allow_internal {
            return Err(InvalidKeySetUrl::Internal);
        }
        Ok(Self { url, allow_internal })
    }

    /// The URL for the log: without a login and a query, which may hold a secret.
    fn shown(&self) -> String {
        let origin = self.url.origin().ascii_serialization();
        format!("{origin}{}", self.url.path())
    }
}

/// Why a set of keys cannot be fetched from a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidKeySetUrl {
    /// It is not an http or https URL with a host.
    NoUrl,
    /// It is https, and this build has no TLS.
    NoTls,
    /// It is http: an attacker on the network could replace the keys.
    Cleartext,
    /// The address is not a public one.
    Internal,
}

impl fmt::Display for InvalidKeySetUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoUrl => "the URL of a key set must be https",
            Self::NoTls => "this build speaks http only; build it with the feature `tls`",
            Self::Cleartext => "a key set must come over https; over http it could be forged",
            Self::Internal => "the address is in a private network",
        })
    }
}

impl std::error::Error for InvalidKeySetUrl {}

/// The sets of keys that are fetched, by their issuers' names.
#[derive(Debug)]
pub(crate) struct KeySets(HashMap<String, Arc<KeySet>>);

impl KeySets {
    /// The key sets of these issuers. A set that `before` fetched from the same URL is kept.
    ///
    /// # Errors
    /// If the HTTP client cannot be set up.
    pub(crate) fn new(issuers: &[Issuer], before: Option<&Self>) -> io::Result<Self> {
        let mut sets = HashMap::new();
        for issuer in issuers {
            if let IssuerKeys::Url(url) = &issuer.keys {
                let known = before.and_then(|before| before.0.get(&issuer.name));
                let set = match known.filter(|set| set.source == *url) {
                    Some(set) => Arc::clone(set),
                    None => Arc::new(KeySet::new(url.clone())?),
                };
                sets.insert(issuer.name.clone(), set);
            }
        }
        Ok(Self(sets))
    }

    /// The keys of an issuer, fetched again if none has this name. `None` if there are no keys now.
    pub(crate) async fn keys(
        &self,
        issuer: Option<&str>,
        name: Option<&str>,
    ) -> Option<Arc<[Key]>> {
        self.0.get(issuer?)?.keys(name).await
    }
}

/// An issuer's keys, as far as they are known.
#[derive(Debug)]
struct KeySet {
    source: KeySetUrl,
    client: reqwest::Client,
    known: RwLock<Option<FetchedKeys>>,
    /// The time of the last attempt. Locked during an attempt.
    tried: Mutex<Option<Instant>>,
}

#[derive(Clone, Debug)]
struct FetchedKeys {
    keys: Arc<[Key]>,
    since: Instant,
}

impl FetchedKeys {
    fn has(&self, name: Option<&str>) -> bool {
        name.is_none_or(|name| self.keys.iter().any(|key| key.name() == Some(name)))
    }
}

impl KeySet {
    fn new(source: KeySetUrl) -> io::Result<Self> {
        let allow_internal = source.allow_internal;
        let client = reqwest::Client::builder()
            // The target of a redirect was not configured.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(KEY_SET_TIME)
            .pool_max_idle_per_host(0)
            .dns_resolver(Arc::new(Resolver { allow_internal }))
            .build()
            .map_err(io::Error::other)?;
        Ok(Self { source, client, known: RwLock::default(), tried: Mutex::default() })
    }

    /// The keys, fetched again if none has this name. `None` if there are no keys now.
    async fn keys(self: &Arc<Self>, name: Option<&str>) -> Option<Arc<[Key]>> {
        let known = self.known.read().clone();
        if let Some(known) = known {
            let age = clock::since(known.since);
            if known.has(name) && age < KEY_SET_AGE {
                return Some(known.keys);
            }
            if known.has(name) && age < KEY_SET_STALE {
                // The known keys are good enough for now, so this request does not wait. One task
                // fetches for all.
                if self.tried.try_lock().is_ok() {
                    let this = Arc::clone(self);
                    tokio::spawn(async move { this.refresh(None).await });
                }
                return Some(known.keys);
            }
        }
        self.refresh(name).await;
        let known = self.known.read().clone()?;
        (clock::since(known.since) < KEY_SET_STALE).then_some(known.keys)
    }

    /// Fetches the keys, unless they were just fetched. Concurrent callers wait for the same
    /// answer.
    async fn refresh(&self, name: Option<&str>) {
        let mut tried = self.tried.lock().await;
        let is_fresh = self
            .known
            .read()
            .as_ref()
            .is_some_and(|known| known.has(name) && clock::since(known.since) < KEY_SET_AGE);
        if is_fresh || tried.is_some_and(|at| clock::since(at) < KEY_SET_PAUSE) {
            return;
        }
        *tried = Some(clock::now());
        let url = self.source.shown();
        match self.fetch().await {
            Ok(keys) => {
                tracing::info!(url, keys = keys.len(), "fetched an issuer's keys");
                *self.known.write() = Some(FetchedKeys { keys: keys.into(), since: clock::now() });
            }
            Err(error) => {
                tracing::warn!(
                    url,
                    error = &error as &dyn std::error::Error,
                    "cannot fetch an issuer's keys"
                );
            }
        }
    }

    async fn fetch(&self) -> Result<Vec<Key>, FetchError> {
        let request = self.client.get(self.source.url.clone()).header("accept", "application/json");
        let mut response = request.send().await.map_err(FetchError::http)?;
        if response.status() != reqwest::StatusCode::OK {
            return Err(FetchError::Status(response.status().as_u16()));
        }
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(FetchError::http)? {
            if body.len() + piece.len() > KEY_SET_BYTES {
                return Err(FetchError::TooLong);
            }
            body.extend_from_slice(&piece);
        }
        read(&body)
    }
}

fn read(body: &[u8]) -> Result<Vec<Key>, FetchError> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<serde_json::Value>,
    }
    let set: Set = serde_json::from_slice(body).map_err(|_| FetchError::NoSet)?;
    if set.keys.len() > KEY_SET_KEYS {
        return Err(FetchError::TooMany);
    }
    // Unknown kinds of keys are ignored (RFC 7517 5).
    let keys: Vec<_> = set
        .keys
        .into_iter()
        .filter_map(|key| serde_json::from_value::<Jwk>(key).ok())
        .filter_map(|jwk| key(&jwk).ok())
        .collect();
    if keys.is_empty() { Err(FetchError::NoKeys) } else { Ok(keys) }
}

/// Reads one of a set of keys (RFC 7517). Only public keys are taken, for signatures.
fn key(jwk: &Jwk) -> Result<Key, InvalidKey> {
    let common = &jwk.common;
    if !matches!(&common.public_key_use, None | Some(PublicKeyUse::Signature)) {
        return Err(InvalidKey::NotForSignatures);
    }
    let fitting = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => jwt::Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            jwt::Algorithm::ES256
        }
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P384 => {
            jwt::Algorithm::ES384
        }
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            jwt::Algorithm::EdDSA
        }
        // A published secret is not a secret.
        _ => return Err(InvalidKey::Unreadable),
    };
    let named = common.key_algorithm.as_ref().map(KeyAlgorithm::to_string);
    let named = named.as_deref().map(str::parse).transpose()?;
    let decoding = jwt::DecodingKey::from_jwk(jwk).map_err(|_| InvalidKey::Unreadable)?;
    Key::fitting(decoding, Algorithm(fitting), named, common.key_id.clone())
}

#[derive(Debug)]
enum FetchError {
    Http(reqwest::Error),
    Status(u16),
    TooLong,
    TooMany,
    NoSet,
    NoKeys,
}

impl FetchError {
    fn http(error: reqwest::Error) -> Self {
        Self::Http(error.without_url())
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(_) => write!(f, "no complete response within {} s", KEY_SET_TIME.as_secs()),
            Self::Status(status @ 300..=399) => {
                write!(f, "the response is a redirect ({status}); redirects are not followed")
            }
            Self::Status(status) => write!(f, "the response has the status {status}"),
            Self::TooLong => write!(f, "the response has more than {} KiB", KEY_SET_BYTES >> 10),
            Self::TooMany => write!(f, "the set has more than {KEY_SET_KEYS} keys"),
            Self::NoSet => f.write_str("the response is not a JSON key set"),
            Self::NoKeys => f.write_str("the set has no public key of a supported kind"),
        }
    }
}

impl std::error::Error for FetchError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Http(cause) => Some(cause),
            _ => None,
        }
    }
}

/// Resolves names to the allowed ones of their addresses. The client connects to exactly these, so
/// a name cannot change in between.
#[derive(Debug)]
struct Resolver {
    allow_internal: bool,
}

impl reqwest::dns::Resolve for Resolver {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let allow_internal = self.allow_internal;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> =
                found.filter(|address| allow_internal || !is_internal(address.ip())).collect();
            if allowed.is_empty() {
                return Err("the name resolves to an address in a private network".into());
            }
            Ok(Box::new(allowed.into_iter()) as reqwest::dns::Addrs)
        })
    }
}

/// Whether an address is not one of the public internet (the special-purpose registries of
/// RFC 6890).
fn is_internal(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_internal_v4(address),
        IpAddr::V6(address) => is_internal_v6(address),
    }
}

fn is_internal_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation()
        || a == 0
        || a >= 240
        || (a == 100 && b & 0xc0 == 64)
        || (a == 198 && b & 0xfe == 18)
        || (a == 192 && b == 0 && c == 0)
}

fn is_internal_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    // An IPv4 address inside an IPv6 address: mapped, compatible, NAT64, 6to4.
    let [.., high, low] = segments;
    let [a, b] = high.to_be_bytes();
    let [c, d] = low.to_be_bytes();
    let embedded = Ipv4Addr::new(a, b, c, d);
    let six_to_four = {
        let [a, b] = segments[1].to_be_bytes();
        let [c, d] = segments[2].to_be_bytes();
        Ipv4Addr::new(a, b, c, d)
    };
    match segments {
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] => is_internal_v4(embedded),
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => is_internal_v4(embedded),
        [0x2002, ..] => is_internal_v4(six_to_four),
        // Global unicast is 2000::/3, but for documentation and benchmarks.
        [0x2001, 0x0db8, ..] | [0x2001, 0x0002, ..] => true,
        [first, ..] => first & 0xe000 != 0x2000,
    }
}

#[cfg(test)]
mod tests;
