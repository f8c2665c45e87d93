//! The dialects of the Mercure protocol.

use std::fmt;

/// The type of a detail that is Mercure's (1.0, RFC 9396).
pub(crate) const DETAIL_TYPE: &str = "https://mercure.rocks/authorization-detail";

/// A dialect of the Mercure protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dialect {
    /// 0.x: up to draft-07, which most deployed hubs use.
    Deployed,
    /// 1.0: draft-08, released in September 2026.
    Coming,
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deployed => "0.x",
            Self::Coming => "1.0",
        })
    }
}

/// The dialects that a hub accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dialects {
    /// Both.
    #[default]
    All,
    /// One.
    Only(Dialect),
}

impl Dialects {
    /// Whether the hub accepts this dialect.
    pub fn has(self, dialect: Dialect) -> bool {
        match self {
            Self::All => true,
            Self::Only(only) => only == dialect,
        }
    }
}

impl fmt::Display for Dialects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("0.x and 1.0"),
            Self::Only(dialect) => write!(f, "{dialect} only"),
        }
    }
}
