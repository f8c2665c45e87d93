//! The certificate of the hub's TLS connections, and how it is replaced while the hub runs.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::RwLock;
use rustls::crypto::{self, CryptoProvider};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, ServerConfig};
use webpki::{EndEntityCert, KeyUsage};

use crate::clock;
use crate::http::certificate::{Certificate, ConnectionCertificate};

/// HTTP/2 first: a browser opens no more than six connections to a server of HTTP/1.1, and so
/// no more than six streams over all its tabs. A client of HTTP/1.0 may name nothing else, and
/// would be refused.
const PROTOCOLS: [&[u8]; 3] = [b"h2", b"http/1.1", b"http/1.0"];

/// A certificate and its key, from files in PEM. Cheap to clone; all clones are the same.
///
/// Open connections keep their certificate; [`Tls::reload`] applies to new ones.
#[derive(Clone)]
pub struct Tls(Arc<TlsInner>);

struct TlsInner {
    certificate: PathBuf,
    key: PathBuf,
    shown: Arc<Shown>,
    config: Arc<ServerConfig>,
}

/// The certificate of the next handshake.
struct Shown(RwLock<LoadedCertificate>);

#[derive(Clone)]
struct LoadedCertificate {
    /// The content of the files, to detect a change.
    files: Files,
    certified: Arc<CertifiedKey>,
    validity: Option<Validity>,
}

#[derive(Clone, PartialEq, Eq)]
struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

/// The validity period of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Validity {
    not_before: SystemTime,
    not_after: SystemTime,
}

/// The result of [`Tls::reload`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reload {
    /// The files have not changed.
    Unchanged,
    /// Handshakes use the new certificate from now on.
    Changed,
}

impl Tls {
    /// Reads a certificate with its chain, and its key. A certificate that has expired is taken
    /// here: clients refuse it, and say so, which a hub that does not start cannot.
    ///
    /// # Errors
    /// If a file cannot be read or parsed, or the key does not match the certificate.
    pub fn of_files(
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Result<Self, TlsError> {
        let (certificate, key) = (certificate.into(), key.into());
        let provider = Arc::new(crypto::aws_lc_rs::default_provider());
        let loaded = LoadedCertificate::read(&certificate, &key, &provider)?;
        let shown = Arc::new(Shown(RwLock::new(loaded)));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Refused)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&shown) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        // Clients that reconnect, as all do after a restart of a proxy, then need no signature. The
        // server stores nothing for their tickets.
        config.ticketer = crypto::aws_lc_rs::Ticketer::new().map_err(TlsError::Refused)?;
        config.send_tls13_tickets = 1;
        Ok(Self(Arc::new(TlsInner { certificate, key, shown, config: Arc::new(config) })))
    }

    /// Reads the files again. An invalid file changes nothing. Nor does a certificate that has
    /// expired or is not valid yet, as long as the present one is valid.
    ///
    /// # Errors
    /// As [`Tls::of_files`], and if the new certificate has expired or is not valid yet.
    pub fn reload(&self) -> Result<Reload, TlsError> {
        let TlsInner { certificate, key, shown, config } = &*self.0;
        if Files::read(certificate, key)? == shown.0.read().files {
            return Ok(Reload::Unchanged);
        }
        let loaded = LoadedCertificate::read(certificate, key, config.crypto_provider())?;
        let now = clock::time();
        let old = shown.0.read().validity;
        if let Some(error) = not_good(certificate, loaded.validity, now)
            && not_good(certificate, old, now).is_none()
        {
            return Err(error);
        }
        *shown.0.write() = loaded;
        Ok(Reload::Changed)
    }

    /// The end of the certificate's validity, if it can be read.
    pub fn expires(&self) -> Option<SystemTime> {
        self.0.shown.0.read().validity.map(|validity| validity.not_after)
    }

    /// Why clients refuse the certificate now, if they do.
    pub fn problem(&self) -> Option<TlsError> {
        let validity = self.0.shown.0.read().validity;
        not_good(&self.0.certificate, validity, clock::time())
    }

    /// The certificate, for the requests of a connection.
    pub(super) fn of_connection(&self) -> ConnectionCertificate {
        ConnectionCertificate(Arc::clone(&self.0) as Arc<dyn Certificate>)
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0.config)
    }
}

impl Certificate for TlsInner {
    fn is_for(&self, host: &str) -> bool {
        let certified = Arc::clone(&self.shown.0.read().certified);
        let own =
            certified.end_entity_cert().ok().and_then(|own| EndEntityCert::try_from(own).ok());
        let name = ServerName::try_from(host.trim_matches(['[', ']'])).ok();
        own.zip(name).is_some_and(|(own, name)| own.verify_is_valid_for_subject_name(&name).is_ok())
    }
}

impl fmt::Debug for Tls {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("certificate", &self.0.certificate)
            .field("key", &self.0.key)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Shown {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown").finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().certified))
    }
}

impl Files {
    fn read(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let read = |path: &Path| {
            fs::read(path).map_err(|cause| TlsError::Read { path: path.to_owned(), cause })
        };
        Ok(Self { certificate: read(certificate)?, key: read(key)? })
    }
}

impl LoadedCertificate {
    fn read(certificate: &Path, key: &Path, provider: &CryptoProvider) -> Result<Self, TlsError> {
        let files = Files::read(certificate, key)?;
        let wrong =
            |path: &Path, what: &'static str| TlsError::Content { path: path.to_owned(), what };
        let chain = CertificateDer::pem_slice_iter(&files.certificate)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| wrong(certificate, "is not PEM"))?;
        let first = chain.first().ok_or_else(|| wrong(certificate, "contains no certificate"))?;
        let validity = Validity::of(first);
        let private = PrivateKeyDer::from_pem_slice(&files.key)
            .map_err(|_| wrong(key, "contains no private key in PEM"))?;
        let certified = match CertifiedKey::from_der(chain, private, provider) {
            Ok(certified) => certified,
            Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
                return Err(TlsError::Mismatch {
                    certificate: certificate.to_owned(),
                    key: key.to_owned(),
                });
            }
            Err(cause) => return Err(TlsError::Refused(cause)),
        };
        Ok(Self { files, certified: Arc::new(certified), validity })
    }
}

impl Validity {
    /// Asks the verifier that clients use. Asked about the end of time, it reports the end of the
    /// validity; asked about the beginning of time, its start.
    fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let certificate = EndEntityCert::try_from(certificate).ok()?;
        let seen_from = |seconds| {
            let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
            let usage = KeyUsage::server_auth();
            certificate.verify_for_usage(&[], &[], &[], time, usage, None, None).err()
        };
        let time = |time: UnixTime| SystemTime::UNIX_EPOCH + Duration::from_secs(time.as_secs());
        // The year 10,000, which certificates cannot name.
        let not_after = match seen_from(253_402_300_800)? {
            webpki::Error::CertExpired { not_after, .. } => time(not_after),
            _ => return None,
        };
        let not_before = match seen_from(0)? {
            webpki::Error::CertNotValidYet { not_before, .. } => time(not_before),
            _ => SystemTime::UNIX_EPOCH,
        };
        Some(Self { not_before, not_after })
    }
}

fn not_good(path: &Path, validity: Option<Validity>, now: SystemTime) -> Option<TlsError> {
    let Validity { not_before, not_after } = validity?;
    let path = || path.to_owned();
    if now > not_after {
        return Some(TlsError::Expired { path: path(), since: not_after });
    }
    (now < not_before).then(|| TlsError::NotYetGood { path: path(), from: not_before })
}

/// Why a certificate and a key cannot be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// A file has invalid content.
    Content {
        /// The file.
        path: PathBuf,
        /// The fault.
        what: &'static str,
    },
    /// The key is another certificate's.
    Mismatch {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
    },
    /// The certificate was good until then.
    Expired {
        /// The file.
        path: PathBuf,
        /// Since when.
        since: SystemTime,
    },
    /// The certificate is good from then on.
    NotYetGood {
        /// The file.
        path: PathBuf,
        /// From when on.
        from: SystemTime,
    },
    /// The cryptography refuses the certificate or the key.
    Refused(rustls::Error),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, .. } => write!(f, "cannot read {}", path.display()),
            Self::Content { path, what } => write!(f, "{} {what}", path.display()),
            Self::Mismatch { certificate, key } => write!(
                f,
                "the key in {} does not match the certificate in {}",
                key.display(),
                certificate.display()
            ),
            Self::Expired { path, since } => write!(
                f,
                "the certificate in {} expired on {}",
                path.display(),
                httpdate::fmt_http_date(*since)
            ),
            Self::NotYetGood { path, from } => write!(
                f,
                "the certificate in {} is valid only from {}; check the system's clock",
                path.display(),
                httpdate::fmt_http_date(*from)
            ),
            Self::Refused(_) => f.write_str("cannot use the certificate or its key"),
        }
    }
}

impl std::error::Error for TlsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read { cause, .. } => Some(cause),
            Self::Refused(cause) => Some(cause),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
