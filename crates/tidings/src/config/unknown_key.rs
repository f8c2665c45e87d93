//! Keys of a configuration file that do not exist.

use std::fmt;

use super::file::File;

/// A key that does not exist.
#[derive(Debug)]
pub(super) struct UnknownKey {
    key: String,
    nearest: Option<String>,
}

impl UnknownKey {
    pub(super) fn new(key: &str) -> Self {
        let nearest = File::keys()
            .into_iter()
            .map(|known| (likeness(key, &known), known))
            .filter(|(likeness, _)| *likeness > 0.7)
            .max_by(|one, other| one.0.total_cmp(&other.0))
            .map(|(_, known)| known);
        Self { key: key.to_owned(), nearest }
    }
}

/// How similar an unknown key is to a known one, from 0 to 1. The right name in the wrong table is
/// similar; a misspelt name in the right table is more so.
fn likeness(key: &str, known: &str) -> f64 {
    let name = |key: &str| key.rsplit('.').next().map(str::to_owned);
    if name(key) == name(known) { 0.95 } else { strsim::jaro_winkler(key, known) }
}

impl fmt::Display for UnknownKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown key {:?}", self.key)?;
        match &self.nearest {
            Some(nearest) => write!(f, "; did you mean {nearest:?}?"),
            None => {
                let keys = File::keys().into_iter().collect::<Vec<_>>().join(", ");
                write!(f, "; the known keys are: {keys}")
            }
        }
    }
}

impl std::error::Error for UnknownKey {}
