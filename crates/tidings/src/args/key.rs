//! The arguments of `tidings key`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Make a key that signs and verifies tokens.
///
/// Writes the key into FILE, which only its owner can read, and never overwrites a file. A secret
/// (HS256) both signs and verifies tokens. Of a pair, FILE has the private key, which signs tokens,
/// and FILE.pub the public key, which is all that the hub needs.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  tidings key hub.key
  tidings serve --publisher-key-file hub.key --subscriber-key-file hub.key
  tidings token --key-file hub.key --publish '*'

  tidings key publisher.pem --algorithm EdDSA
  tidings serve --publisher-key-file publisher.pem.pub --anonymous-subscribe
  tidings token --key-file publisher.pem --publish '*'")]
pub(crate) struct KeyArgs {
    /// The file to write
    pub(crate) file: PathBuf,
    /// The algorithm of the key
    #[arg(long, value_enum, value_name = "NAME", default_value_t, ignore_case = true)]
    pub(crate) algorithm: KeyAlgorithm,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeyAlgorithm {
    /// A secret that the hub and the makers of tokens share
    #[default]
    #[value(name = "HS256")]
    Secret,
    /// A pair on the curve Ed25519
    #[value(name = "EdDSA", alias = "Ed25519")]
    Edwards,
    /// A pair on the curve P-256, for libraries without EdDSA
    #[value(name = "ES256")]
    P256,
}
