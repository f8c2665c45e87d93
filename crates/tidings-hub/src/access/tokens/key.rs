//! The keys that tokens are signed and verified with. Each is for one algorithm.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{self, ParsedPublicKey, VerificationAlgorithm};
use jsonwebtoken as jwt;

/// Bits that an RSA key must have (RFC 7518 3.3).
const RSA_BITS_MIN: usize = 2048;

/// An algorithm for signatures of tokens (RFC 7518 3.1, RFC 8037): HS, RS, PS with 256, 384 and
/// 512; ES with 256 and 384; EdDSA. There is no `none`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Algorithm(pub(super) jwt::Algorithm);

impl Algorithm {
    /// HMAC with SHA-256, the default for a secret.
    pub const HS256: Self = Self(jwt::Algorithm::HS256);

    fn secret_bytes_min(self) -> usize {
        match self.0 {
            jwt::Algorithm::HS384 => 48,
            jwt::Algorithm::HS512 => 64,
            _ => 32,
        }
    }

    fn is_hmac(self) -> bool {
        self.0.family() == jwt::AlgorithmFamily::Hmac
    }
}

impl FromStr for Algorithm {
    type Err = InvalidKey;

    fn from_str(name: &str) -> Result<Self, InvalidKey> {
        name.parse().map(Self).map_err(|_| InvalidKey::UnknownAlgorithm { name: name.to_owned() })
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Debug for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A key that tokens are verified with, and the one algorithm that it is for. Cheap to clone.
#[derive(Clone)]
pub struct Key(Arc<Verifying>);

struct Verifying {
    algorithm: Algorithm,
    decoding: jwt::DecodingKey,
    /// Its name in tokens (`kid`), if it has one.
    name: Option<String>,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("algorithm", &self.0.algorithm).finish_non_exhaustive()
    }
}

impl Key {
    /// Reads a key as it is configured: a public key in PEM, or else a secret, of which one line
    /// break at the end is no part. Without an `algorithm` a secret is for HS256, an RSA key for
    /// RS256, an elliptic one for the algorithm of its curve.
    ///
    /// # Errors
    /// If the key does not fit the algorithm, has fewer bits than it asks for, or is a private
    /// key.
    pub fn read(text: &str, algorithm: Option<Algorithm>) -> Result<Self, InvalidKey> {
        if is_pem(text) {
            return Self::read_pem(text, algorithm);
        }
        let text = without_line_break(text);
        if text.trim_start().starts_with('{') {
            return Err(InvalidKey::IsJson);
        }
        let algorithm = algorithm.unwrap_or(Algorithm::HS256);
        check_secret(text.as_bytes(), algorithm)?;
        let decoding = jwt::DecodingKey::from_secret(text.as_bytes());
        Ok(Self(Arc::new(Verifying { algorithm, decoding, name: None })))
    }

    fn read_pem(text: &str, algorithm: Option<Algorithm>) -> Result<Self, InvalidKey> {
        if text.contains("PRIVATE KEY") {
            return Err(InvalidKey::IsPrivate);
        }
        // A certificate has more content than the key, and none of it would be checked.
        if !text.contains("PUBLIC KEY") {
            return Err(InvalidKey::Unreadable);
        }
        let bytes = text.as_bytes();
        let (decoding, fitting) = if let Ok(key) = jwt::DecodingKey::from_rsa_pem(bytes) {
            (key, jwt::Algorithm::RS256)
        } else if let Ok(key) = jwt::DecodingKey::from_ec_pem(bytes) {
            let curve = match key.try_get_as_bytes().map(<[u8]>::len) {
                Ok(65) => jwt::Algorithm::ES256,
                Ok(97) => jwt::Algorithm::ES384,
                _ => return Err(InvalidKey::Unreadable),
            };
            (key, curve)
        } else {
            let key = jwt::DecodingKey::from_ed_pem(bytes).map_err(|_| InvalidKey::Unreadable)?;
            (key, jwt::Algorithm::EdDSA)
        };
        Self::fitting(decoding, Algorithm(fitting), algorithm, None)
    }

    /// A key for the algorithm that was `asked` for, where that one fits, or else for the `fitting`
    /// one.
    pub(super) fn fitting(
        decoding: jwt::DecodingKey,
        fitting: Algorithm,
        asked: Option<Algorithm>,
        name: Option<String>,
    ) -> Result<Self, InvalidKey> {
        let algorithm = asked.unwrap_or(fitting);
        // A curve has one algorithm; an RSA key may be for any of its family.
        let fits = algorithm == fitting
            || (algorithm.0.family() == fitting.0.family()
                && fitting.0.family() == jwt::AlgorithmFamily::Rsa);
        if !fits {
            return Err(InvalidKey::DoesNotFit { algorithm, fitting });
        }
        // A key that the library cannot use would make every token's signature a wrong one.
        if fitting.0.family() == jwt::AlgorithmFamily::Rsa {
            let key = rsa_key(&decoding).ok_or(InvalidKey::Unreadable)?;
            let modulus = key.modulus().big_endian_without_leading_zero();
            let bits = 8 * modulus.len() - modulus[0].leading_zeros() as usize;
            if bits < RSA_BITS_MIN {
                return Err(InvalidKey::TooShort { algorithm, bits, bits_min: RSA_BITS_MIN });
            }
        } else if !is_point(&decoding, fitting) {
            return Err(InvalidKey::Unreadable);
        }
        Ok(Self(Arc::new(Verifying { algorithm, decoding, name })))
    }

    /// The algorithm that the key is for.
    pub fn algorithm(&self) -> Algorithm {
        self.0.algorithm
    }

    pub(crate) fn name(&self) -> Option<&str> {
        self.0.name.as_deref()
    }

    /// Whether verifying takes so long that a thread with subscribers should not do it.
    pub(crate) fn is_slow(&self) -> bool {
        !self.0.algorithm.is_hmac()
    }

    /// Whether `signature`, in base64url, is this key's for `message`.
    pub(crate) fn verifies(&self, message: &str, signature: &str) -> bool {
        let Verifying { algorithm, decoding, .. } = self.0.as_ref();
        jwt::crypto::verify(signature, message.as_bytes(), decoding, algorithm.0).unwrap_or(false)
    }
}

/// A key that tokens are signed with.
#[derive(Clone)]
pub struct SigningKey {
    algorithm: Algorithm,
    encoding: jwt::EncodingKey,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// Reads a private key in PEM (PKCS#8; PKCS#1 for RSA), or else a secret, as [`Key::read`]
    /// does.
    ///
    /// # Errors
    /// If the key does not fit the algorithm, or has fewer bits than it asks for.
    pub fn read(text: &str, algorithm: Option<Algorithm>) -> Result<Self, InvalidKey> {
        if !is_pem(text) {
            let text = without_line_break(text);
            if text.trim_start().starts_with('{') {
                return Err(InvalidKey::IsJson);
            }
            let algorithm = algorithm.unwrap_or(Algorithm::HS256);
            check_secret(text.as_bytes(), algorithm)?;
            let encoding = jwt::EncodingKey::from_secret(text.as_bytes());
            return Ok(Self { algorithm, encoding });
        }
        if !text.contains("PRIVATE KEY") {
            return Err(InvalidKey::IsPublic);
        }
        let bytes = text.as_bytes();
        let read = jwt::EncodingKey::from_rsa_pem(bytes)
            .or_else(|_| jwt::EncodingKey::from_ec_pem(bytes))
            .or_else(|_| jwt::EncodingKey::from_ed_pem(bytes));
        let encoding = read.map_err(|_| InvalidKey::Unreadable)?;
        // An elliptic key's curve follows from the signatures that it can make.
        let candidates = match (algorithm, encoding.family()) {
            (Some(algorithm), _) => vec![algorithm.0],
            (None, jwt::AlgorithmFamily::Rsa) => vec![jwt::Algorithm::RS256],
            (None, family) => family.algorithms().to_vec(),
        };
        let signs = |algorithm: &jwt::Algorithm| {
            algorithm.family() == encoding.family()
                && jwt::crypto::sign(b"", &encoding, *algorithm).is_ok()
        };
        match candidates.into_iter().find(signs) {
            Some(algorithm) => Ok(Self { algorithm: Algorithm(algorithm), encoding }),
            None => Err(match algorithm {
                Some(algorithm) => InvalidKey::CannotSign { algorithm },
                None => InvalidKey::Unreadable,
            }),
        }
    }

    /// The algorithm that the key is for.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The signature of `message`, in base64url.
    pub(crate) fn sign(&self, message: &str) -> Result<String, InvalidKey> {
        jwt::crypto::sign(message.as_bytes(), &self.encoding, self.algorithm.0)
            .map_err(|_| InvalidKey::CannotSign { algorithm: self.algorithm })
    }
}

fn is_pem(text: &str) -> bool {
    text.contains("-----BEGIN")
}

/// Files end with a line break that is not part of the secret.
fn without_line_break(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

fn check_secret(secret: &[u8], algorithm: Algorithm) -> Result<(), InvalidKey> {
    if !algorithm.is_hmac() {
        return Err(InvalidKey::NeedsPem { algorithm });
    }
    let bytes_min = algorithm.secret_bytes_min();
    if secret.len() < bytes_min {
        let bits = 8 * secret.len();
        return Err(InvalidKey::TooShort { algorithm, bits, bits_min: 8 * bytes_min });
    }
    Ok(())
}

/// Whether a public key is a point of its curve.
fn is_point(key: &jwt::DecodingKey, algorithm: Algorithm) -> bool {
    let parameters: &'static dyn VerificationAlgorithm = match algorithm.0 {
        jwt::Algorithm::ES256 => &signature::ECDSA_P256_SHA256_FIXED,
        jwt::Algorithm::ES384 => &signature::ECDSA_P384_SHA384_FIXED,
        _ => &signature::ED25519,
    };
    let bytes = key.try_get_as_bytes();
    bytes.is_ok_and(|bytes| ParsedPublicKey::new(parameters, bytes).is_ok())
}

/// An RSA key, if it is one: a modulus with an exponent.
fn rsa_key(key: &jwt::DecodingKey) -> Option<rsa::PublicKey> {
    let read = match key.kind() {
        jwt::DecodingKeyKind::SecretOrDer(der) => rsa::PublicKey::from_der(der),
        jwt::DecodingKeyKind::RsaModulusExponent { n, e } => {
            let der = rsa::PublicKeyComponents { n, e }.as_der().ok()?;
            rsa::PublicKey::from_der(der.as_ref())
        }
    };
    read.ok()
}

/// Why something is no key. The key itself is never in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidKey {
    /// No algorithm has this name.
    UnknownAlgorithm {
        /// The name.
        name: String,
    },
    /// The key is for another algorithm.
    DoesNotFit {
        /// The requested use.
        algorithm: Algorithm,
        /// The key's use.
        fitting: Algorithm,
    },
    /// The algorithm needs a key in PEM, and this is not PEM.
    NeedsPem {
        /// The algorithm.
        algorithm: Algorithm,
    },
    /// The key has fewer bits than its algorithm asks for.
    TooShort {
        /// The algorithm.
        algorithm: Algorithm,
        /// How many it has.
        bits: usize,
        /// How many it has to have.
        bits_min: usize,
    },
    /// A private key, which the hub has no use for.
    IsPrivate,
    /// A public key, which cannot sign.
    IsPublic,
    /// A key in JSON.
    IsJson,
    /// A key that is meant for encryption.
    NotForSignatures,
    /// The key cannot sign with this algorithm.
    CannotSign {
        /// The algorithm.
        algorithm: Algorithm,
    },
    /// It is no key of a kind that is known here.
    Unreadable,
}

impl fmt::Display for InvalidKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownAlgorithm { name } => write!(
                f,
                "{name:?} is not an algorithm; it must be one of: HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA"
            ),
            Self::DoesNotFit { algorithm, fitting } => {
                write!(f, "the key is for {fitting}, not for {algorithm}")
            }
            Self::NeedsPem { algorithm } => {
                write!(f, "{algorithm} needs a key in PEM, which begins with -----BEGIN")
            }
            Self::TooShort { algorithm, bits, bits_min } => {
                write!(f, "the key has {bits} bits; {algorithm} needs at least {bits_min}")
            }
            Self::IsPrivate => f.write_str(
                "the key is private; give the hub the public key (openssl pkey -pubout)",
            ),
            Self::IsPublic => f.write_str("the key is public, so it cannot sign"),
            Self::IsJson => f.write_str("the key is JSON, but must be PEM or a secret"),
            Self::NotForSignatures => f.write_str("the key is not for signatures"),
            Self::CannotSign { algorithm } => {
                write!(f, "the key cannot sign with {algorithm}")
            }
            Self::Unreadable => f.write_str(
                "unknown kind of key; it must be RSA, P-256, P-384 or Ed25519, in PEM or as a JWK",
            ),
        }
    }
}

impl std::error::Error for InvalidKey {}

#[cfg(test)]
mod tests {
    use super::*;

    const P256: &str = include_str!("key_set/p256.pem");

    fn check(text: &str, algorithm: Option<&str>) -> Result<String, InvalidKey> {
        let algorithm = algorithm.map(str::parse).transpose()?;
        Key::read(text, algorithm).map(|key| key.algorithm().to_string())
    }

    #[test]
    fn a_secret_of_fewer_bits_than_its_algorithm_asks_for_is_refused() {
        for (bytes, name) in [(32, "HS256"), (48, "HS384"), (64, "HS512")] {
            assert_eq!(check(&"x".repeat(bytes), Some(name)).unwrap(), name);
            // One line break at the end is not part of the secret.
            assert_eq!(check(&format!("{}\n", "x".repeat(bytes)), Some(name)).unwrap(), name);
            let short = format!("{}\n", "x".repeat(bytes - 1));
            let bits = 8 * (bytes - 1);
            let refused = InvalidKey::TooShort {
                algorithm: name.parse().unwrap(),
                bits,
                bits_min: 8 * bytes,
            };
            assert_eq!(check(&short, Some(name)), Err(refused));
        }
        assert!(matches!(check("", None), Err(InvalidKey::TooShort { .. })));
    }

    #[test]
    fn a_pem_text_is_never_a_secret_and_a_secret_never_a_public_key() {
        let long = "a secret that is long enough for all";
        assert_eq!(check(long, None).unwrap(), "HS256");
        for name in ["RS256", "ES256", "EdDSA"] {
            assert!(matches!(check(long, Some(name)), Err(InvalidKey::NeedsPem { .. })), "{name}");
        }
        for name in [None, Some("HS256"), Some("ES256")] {
            assert_eq!(check(P256, name), Err(InvalidKey::IsPrivate), "{name:?}");
            assert_eq!(check(&format!("  {P256}"), name), Err(InvalidKey::IsPrivate), "{name:?}");
        }
        let unreadable = Err(InvalidKey::Unreadable);
        assert_eq!(check("-----BEGIN CERTIFICATE-----", None), unreadable);
        assert_eq!(check("-----BEGIN PUBLIC KEY-----\nAAAA\n", None), unreadable);
        let jwk = r#"{"kty":"oct","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}"#;
        assert_eq!(check(jwk, None), Err(InvalidKey::IsJson));
    }

    #[test]
    fn the_algorithm_none_is_not_supported() {
        for name in ["none", "None", "", "hs256", "ES512", "RSA"] {
            let read = check("x", Some(name));
            assert!(matches!(read, Err(InvalidKey::UnknownAlgorithm { .. })), "{name}");
        }
    }

    #[test]
    fn a_key_is_not_shown() {
        let secret = "a secret that is long enough for all";
        let shown = format!("{:?}", Key::read(secret, None).unwrap());
        assert!(!shown.contains("secret") && shown.contains("HS256"), "{shown}");
        let shown = format!("{:?}", SigningKey::read(P256, None).unwrap());
        assert!(shown.contains("ES256") && !shown.contains("PRIVATE"), "{shown}");
    }
}
