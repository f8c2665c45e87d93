//! Checksums for the file's rows: reading a damaged row notices the damage.

use std::fmt;

use rusqlite::types::{Type, ValueRef};

/// A CRC-32 over the columns of a row.
#[derive(Clone, Debug)]
pub(crate) struct Sum(crc32fast::Hasher);

impl Sum {
    /// The sum of a row of `table`.
    pub(crate) fn of(table: &str) -> Self {
        Self(crc32fast::Hasher::new()).text(table)
    }

    pub(crate) fn number(mut self, number: i64) -> Self {
        self.0.update(&number.to_le_bytes());
        self
    }

    pub(crate) fn optional(self, number: Option<i64>) -> Self {
        match number {
            None => self.number(0),
            Some(number) => self.number(1).number(number),
        }
    }

    pub(crate) fn text(self, text: &str) -> Self {
        self.bytes(text.as_bytes())
    }

    /// The length comes first, so moving a character from one column to the next changes the sum.
    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    pub(crate) fn value(self, value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Null => self.number(0),
            ValueRef::Integer(number) => self.number(1).number(number),
            ValueRef::Real(number) => self.number(2).number(number.to_bits().cast_signed()),
            ValueRef::Text(text) => self.number(3).bytes(text),
            ValueRef::Blob(bytes) => self.number(4).bytes(bytes),
        }
    }

    /// The form that SQLite stores in the fewest bytes.
    pub(crate) fn end(self) -> i64 {
        i64::from(self.0.finalize().cast_signed())
    }
}

/// The parts of the file that can be damaged while the rest is sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FilePart {
    /// The table of updates.
    Updates,
    /// The index of topics.
    Topics,
    /// The index of publishers' own ids.
    Ids,
    /// The idempotency keys.
    Keys,
    /// The records of trimmed and lost updates.
    Dropped,
}

impl FilePart {
    fn name(self) -> &'static str {
        match self {
            Self::Updates => "the table of updates",
            Self::Topics => "the index of topics",
            Self::Ids => "the index of ids",
            Self::Keys => "the table of idempotency keys",
            Self::Dropped => "the record of deleted updates",
        }
    }
}

/// A damaged part of the file.
#[derive(Debug)]
struct Damaged {
    part: Option<FilePart>,
    text: String,
}

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Damaged {}

fn error(part: Option<FilePart>, text: String) -> rusqlite::Error {
    // Without a result column, since the error concerns a whole row or page.
    rusqlite::Error::FromSqlConversionFailure(
        usize::MAX,
        Type::Null,
        Box::new(Damaged { part, text }),
    )
}

/// The error of a row that does not match its checksum.
pub(crate) fn damaged(what: impl fmt::Display) -> rusqlite::Error {
    error(None, format!("{what} does not match its checksum"))
}

/// The error of a part in which nothing readable was found.
pub(crate) fn unreadable(part: FilePart) -> rusqlite::Error {
    error(Some(part), format!("{} cannot be read", part.name()))
}

/// Adds the damaged part to an error about the file's content.
pub(crate) fn within<T>(part: FilePart, result: rusqlite::Result<T>) -> rusqlite::Result<T> {
    result.map_err(|found| match found {
        found if !is_damage(&found) || damaged_part(&found).is_some() => found,
        found => error(Some(part), format!("{} is damaged: {found}", part.name())),
    })
}

/// The damaged part in such an error, if it is known.
pub(crate) fn damaged_part(error: &rusqlite::Error) -> Option<FilePart> {
    let rusqlite::Error::FromSqlConversionFailure(.., cause) = error else { return None };
    cause.downcast_ref::<Damaged>()?.part
}

/// Compares a row's checksum with the stored one.
pub(crate) fn compare(sum: Sum, stored: i64, what: &str) -> rusqlite::Result<()> {
    if sum.end() == stored { Ok(()) } else { Err(damaged(what)) }
}

/// Whether an error concerns the content of the file, not the system.
pub(crate) fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::{Error, ErrorCode};
    let is_content = matches!(
        error,
        Error::FromSqlConversionFailure(..)
            | Error::InvalidColumnType(..)
            | Error::IntegralValueOutOfRange(..)
            | Error::Utf8Error(..)
    );
    let code = error.sqlite_error_code();
    is_content || matches!(code, Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}
