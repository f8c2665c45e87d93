//! How the columns of the file's tables store positions, times, durations and topics.

use std::time::{Duration, SystemTime};

use tidings_core::model::{Position, Topic};

/// A position as SQLite stores it. Positions are below 2^53.
#[inline]
pub(crate) fn number(position: Position) -> i64 {
    position.number().cast_signed()
}

/// The position of a stored number.
#[inline]
pub(crate) fn position(number: i64) -> Position {
    Position::new(number.cast_unsigned())
}

/// Topics joined into one text.
pub(crate) fn text(topics: &[Topic]) -> String {
    // A topic never contains a line break.
    topics.iter().map(Topic::as_str).collect::<Vec<_>>().join("\n")
}

/// The topics of a joined text.
pub(crate) fn topics(text: &str) -> Vec<Topic> {
    text.split('\n').map(Topic::from).collect()
}

/// A time as nanoseconds since 1970.
pub(crate) fn nanoseconds(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// The time of stored nanoseconds.
pub(crate) fn time(nanoseconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(nanoseconds.max(0).cast_unsigned())
}

/// A duration in milliseconds.
pub(crate) fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The duration of stored milliseconds.
pub(crate) fn of_milliseconds(milliseconds: i64) -> Duration {
    Duration::from_millis(milliseconds.max(0).cast_unsigned())
}
