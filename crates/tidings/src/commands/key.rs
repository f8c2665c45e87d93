//! `tidings key`: makes keys that sign and verify tokens.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
};
use pem::{EncodeConfig, LineEnding, Pem};

use crate::args::{KeyAlgorithm, KeyArgs};
use crate::console::{put, say};
use crate::outcome::{Ended, Outcome};

/// The random bytes of a secret. Written as text they are more than the 32 bytes of HS256.
const SECRET_BYTES: usize = 32;

pub(crate) fn run(args: &KeyArgs) -> anyhow::Result<Outcome> {
    let shown = args.file.display();
    if args.algorithm == KeyAlgorithm::Secret {
        write_secret(&args.file)?;
        put!("{shown}");
        say!(
            "This secret signs and verifies tokens. The hub reads it with --publisher-key-file {shown}\n\
             and --subscriber-key-file {shown}, and `tidings token` with --key-file {shown}."
        );
        return Ok(Outcome::Done);
    }
    let public = public_path(&args.file);
    // Before anything is written.
    for file in [&args.file, &public] {
        if file.exists() {
            return Err(exists(file));
        }
    }
    let Pair { private_pem, public_pem } = Pair::make(args.algorithm)?;
    write_new(&args.file, private_pem.as_bytes(), Readers::Owner)?;
    write_beside(&args.file, &public, public_pem.as_bytes())?;
    put!("{shown}\n{}", public.display());
    say!(
        "The private key {shown} signs tokens: `tidings token --key-file {shown}`.\n\
         The hub needs only the public key: --publisher-key-file {public}, --subscriber-key-file {public}.",
        public = public.display()
    );
    Ok(Outcome::Done)
}

/// Writes a new secret into a file that does not exist.
pub(crate) fn write_secret(file: &Path) -> anyhow::Result<()> {
    let mut bytes = [0; SECRET_BYTES];
    getrandom::fill(&mut bytes)
        .map_err(|error| anyhow::anyhow!("cannot get random numbers from the system: {error}"))?;
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    write_new(file, format!("{text}\n").as_bytes(), Readers::Owner)
}

/// `FILE.pub`.
fn public_path(file: &Path) -> PathBuf {
    let mut path = file.as_os_str().to_owned();
    path.push(".pub");
    path.into()
}

/// A private key and its public key, as PEM.
struct Pair {
    private_pem: String,
    public_pem: String,
}

impl Pair {
    fn make(algorithm: KeyAlgorithm) -> anyhow::Result<Self> {
        let failed = "cannot make a key";
        let (private, public): (Vec<u8>, PublicKeyX509Der<'_>) = match algorithm {
            KeyAlgorithm::Edwards | KeyAlgorithm::Secret => {
                let key = Ed25519KeyPair::generate().context(failed)?;
                let private = key.to_pkcs8v1().context(failed)?;
                (private.as_ref().to_vec(), key.public_key().as_der().context(failed)?)
            }
            KeyAlgorithm::P256 => {
                let key =
                    EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).context(failed)?;
                let private = key.to_pkcs8v1().context(failed)?;
                (private.as_ref().to_vec(), key.public_key().as_der().context(failed)?)
            }
        };
        let lines = EncodeConfig::new().set_line_ending(LineEnding::LF);
        let pem = |tag: &str, bytes: &[u8]| pem::encode_config(&Pem::new(tag, bytes), lines);
        Ok(Self {
            private_pem: pem("PRIVATE KEY", &private),
            public_pem: pem("PUBLIC KEY", public.as_ref()),
        })
    }
}

/// The users who may read a new file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Readers {
    Owner,
    Everybody,
}

/// Writes a file that does not exist yet. If that fails, no file is left.
///
/// # Errors
/// If there is a file, or it cannot be written.
fn write_new(path: &Path, bytes: &[u8], readers: Readers) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    if readers == Readers::Owner {
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    }
    #[cfg(not(unix))]
    let _ = readers;
    let mut file = match options.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(exists(path)),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot create {}", path.display()));
        }
    };
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|error| {
        // The error to report is that of the write.
        let _ = fs::remove_file(path);
        anyhow::Error::new(error).context(format!("cannot write {}", path.display()))
    })
}

/// Writes a file that belongs to a new key. If that fails, the key is removed.
///
/// # Errors
/// See [`write_new`].
pub(crate) fn write_beside(key: &Path, path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    write_new(path, bytes, Readers::Everybody).inspect_err(|_| {
        // The error to report is that of the write.
        let _ = fs::remove_file(key);
    })
}

/// The error for a file that would be overwritten.
pub(crate) fn exists(path: &Path) -> anyhow::Error {
    Ended::usage(format!(
        "{} exists, and is not overwritten; name another file, or remove it first",
        path.display()
    ))
}
