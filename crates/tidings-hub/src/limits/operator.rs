//! Bounds of the operator's page.

use std::time::Duration;

/// Readers of the page's stream at one time. Another one gets 503: a hub has few operators, and
/// each reader costs an encoding a second.
pub(crate) const OPERATOR_READERS: usize = 16;
/// How often a reader gets a reading.
pub(crate) const OPERATOR_INTERVAL: Duration = Duration::from_secs(1);
/// A reading that is younger is used again for another reader.
pub(crate) const OPERATOR_READING_AGE: Duration = Duration::from_millis(900);
/// How long a reading waits for each shard, and for the journal.
pub(crate) const OPERATOR_PATIENCE: Duration = Duration::from_millis(700);
/// How long a reader waits for a reading before it makes sure that one is being made.
pub(crate) const OPERATOR_READING_TIME: Duration = OPERATOR_PATIENCE.saturating_mul(3);
/// The topics whose updates are counted in each of two periods: at 4 KiB each, 1 MiB in all.
pub(crate) const OPERATOR_TOPICS: usize = 128;
/// A period of the traffic by topic.
pub(crate) const OPERATOR_TRAFFIC_PERIOD: Duration = Duration::from_secs(60);
/// The topics that are shown.
pub(crate) const OPERATOR_TOPICS_SHOWN: usize = 20;
/// The streams that are shown as behind.
pub(crate) const OPERATOR_SLOW_SHOWN: usize = 20;
/// The selectors of one of them that are compared with the viewer's grants. It may have 1000, and
/// the viewer's token as many.
pub(crate) const OPERATOR_SELECTORS_COMPARED: usize = 16;
/// The selectors that are shown of one of them, and the characters of each.
pub(crate) const OPERATOR_SELECTORS_SHOWN: usize = 3;
/// See [`OPERATOR_SELECTORS_SHOWN`].
pub(crate) const OPERATOR_TEXT_SHOWN: usize = 200;
/// The largest body of a request: a topic of 4 KiB, each byte escaped in JSON.
pub(crate) const OPERATOR_BODY_BYTES: usize = 32 << 10;
/// Searches for the last events of a topic at one time. Another one gets 503.
pub(crate) const OPERATOR_SEARCHES: usize = 2;
/// The time of a search.
pub(crate) const OPERATOR_SEARCH_TIME: Duration = Duration::from_secs(5);
/// Reads of the journal by one search; each examines at most 4,096 updates and returns 64 KiB and
/// one update.
pub(crate) const OPERATOR_SEARCH_READS: usize = 32;
/// The events that a search returns.
pub(crate) const OPERATOR_EVENTS: usize = 20;
/// The characters that are shown of an event's data.
pub(crate) const OPERATOR_DATA_SHOWN: usize = 2000;
