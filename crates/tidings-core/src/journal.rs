//! Order and memory: the record of all updates, in the one order in which everybody gets them.
//!
//! The journal alone gives out positions. Its *tail* is what the shards follow; it shows an
//! update only when that update is as safe as its publisher was promised, so nobody ever
//! receives what a crash could still take back.

pub mod dropped;
pub mod followers;
pub mod ids;
pub mod keys;
mod memory;
pub mod once;
pub mod recent;
mod room;
pub mod same_id;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::sync::Notify;

pub use memory::{Clock, MemoryBounds, MemoryJournal};
pub use once::{Appended, IdempotencyKey, InvalidIdempotencyKey};
pub use room::{AnswerRoom, Grow, Room};

use crate::limits::{BATCH_BYTES, SCAN_STEPS, SCAN_UPDATES};
use crate::model::{
    HubId, Position, Record, RevokedToken, Rights, Selectors, Update, matching_steps,
};

/// How much is kept: an update is dropped as soon as it breaks any of the bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Updates at most.
    pub count: u64,
    /// Bytes at most, each update counted with what surrounds its texts: in memory what that takes,
    /// with the journal's indexes, and elsewhere an allowance.
    pub bytes: u64,
    /// Time at most.
    pub age: Duration,
}

impl Default for Retention {
    /// 1 million updates, 64 MiB, 24 hours.
    fn default() -> Self {
        Self { count: 1_000_000, bytes: 64 << 20, age: Duration::from_secs(24 * 3600) }
    }
}

/// Which of the updates within the bounds are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// All.
    #[default]
    All,
    /// For each topic the newest, public and private ones apart. What a newer one replaces is
    /// no loss.
    Last,
    /// None: they are delivered live, and nobody is told when some were missed.
    None,
}

/// How the updates about some topics are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionRule {
    /// It holds for updates about any topic that these select, and that no earlier rule holds
    /// for.
    pub topics: Selectors,
    /// Which of them are kept.
    pub keep: Keep,
    /// And how much.
    pub bounds: Retention,
}

/// What a journal's function returns: a future that may be sent to another thread.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The ordered record of updates.
pub trait Journal: fmt::Debug + Send + Sync + 'static {
    /// Appends all of `updates` in their order, or none of them, and says which ids they have.
    /// The future ends when they are as safe as this journal promises, and the tail shows them
    /// no earlier than that. Dropping the future does not undo the append.
    ///
    /// Under a key that is remembered nothing is appended: the ids are those of the first time.
    ///
    /// The journal keeps `room` for as long as it has the updates only to append them, also where
    /// the future is dropped.
    fn append(
        &self,
        updates: Vec<Update>,
        key: Option<IdempotencyKey>,
        room: Room,
    ) -> Pending<'_, Result<Appended, AppendError>>;

    /// The place after which the updates of `time` and later stand, as far as they are there.
    fn before(&self, time: SystemTime) -> Pending<'_, Result<Before, ReadError>>;

    /// The update with this id. Of several with a publisher's id it is the earliest that
    /// `selectors` select, or else, uncertain, the earliest. A publisher's id of an update that
    /// `rights` do not let read counts as unknown; the hub's own ids are places, and known
    /// whatever stands there.
    fn find<'a>(
        &'a self,
        id: &'a str,
        selectors: &'a Selectors,
        rights: &'a Rights,
    ) -> Pending<'a, Result<Option<Found>, ReadError>>;

    /// Whether an update after `after` that such a subscriber would have got is gone.
    fn missed<'a>(
        &'a self,
        after: Position,
        selectors: &'a Selectors,
        rights: &'a Rights,
    ) -> Pending<'a, Result<Option<Missed>, ReadError>>;

    /// Reads what such a subscriber gets of the updates after `after` and up to `until`, as
    /// much as fits a batch.
    fn read<'a>(
        &'a self,
        after: Position,
        until: Position,
        selectors: &'a Selectors,
        rights: &'a Rights,
    ) -> Pending<'a, Result<Batch, ReadError>>;

    /// What [`Journal::read`] gives, where memory has it all. Never waits. `None` where it has to be
    /// fetched, or may have to be.
    fn read_at_hand(
        &self,
        _after: Position,
        _until: Position,
        _selectors: &Selectors,
        _rights: &Rights,
    ) -> Option<Batch> {
        None
    }

    /// As [`Journal::read`], but only updates that are the newest about one of the topics that
    /// the subscriber selected, public and private ones apart. What a newer update replaces
    /// meanwhile is passed over, also where that one is newer than `until`. Tells no losses.
    fn read_last<'a>(
        &'a self,
        after: Position,
        until: Position,
        selectors: &'a Selectors,
        rights: &'a Rights,
    ) -> Pending<'a, Result<Batch, ReadError>>;

    /// Begins to follow the tail at its end. What a follower has not yet taken is not dropped.
    fn follow(&self) -> Arc<Follower>;

    /// Appends to `records` what the tail has after `after`, at most `count` records. Never
    /// waits. `after` is an id and no mere position, so that a follower of a journal that began
    /// anew is never given the new one's records as if they followed.
    fn tail(&self, after: HubId, count: usize, records: &mut Vec<Arc<Record>>) -> Tail;

    /// Where the journal begins and ends now. Never waits.
    fn edges(&self) -> Edges;

    /// How often it began anew since it was opened. A place that was found, or read, before
    /// this grew may name another update since, even where the epoch is the same.
    fn generation(&self) -> u64 {
        0
    }

    /// Keeps beside the updates that a token was revoked. The future ends when that is as safe
    /// as an update. A journal that does not outlive the process has nothing to do.
    fn revoke(&self, _token: RevokedToken) -> Pending<'_, Result<(), AppendError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// The tokens of which that was kept, in the order in which they were revoked. At most
    /// 100,000 have to be kept, and those no longer that have ended since.
    fn revoked(&self) -> Vec<RevokedToken> {
        Vec::new()
    }

    /// Whether it still does what it is there for, or has failed for good.
    fn is_running(&self) -> bool {
        true
    }

    /// What keeps it from doing its work for the time being.
    fn trouble(&self) -> Option<String> {
        None
    }

    /// How often something has done so.
    fn interruptions(&self) -> u64 {
        0
    }

    /// How many messages were found in it that are no updates: where others can write into it too.
    fn strangers(&self) -> u64 {
        0
    }

    /// How many places of it were found damaged.
    fn damaged(&self) -> u64 {
        0
    }

    /// The other hubs on the same journal, where it may have several.
    fn nodes(&self) -> Option<&dyn Nodes> {
        None
    }

    /// Bytes that one update may have, as the storage allows it.
    fn update_bytes_max(&self) -> Option<usize> {
        None
    }
}

/// The other hubs that share a journal.
pub trait Nodes: fmt::Debug + Send + Sync {
    /// Has `node` answer the others from now on, and know which tokens they revoke.
    fn join(&self, node: Arc<dyn Node>);

    /// Whether `node` has been told of every token that any hub revoked, but for a moment ago.
    /// A hub that is cut off from the others has not, and accepts no tokens.
    fn know_revocations(&self) -> bool {
        true
    }

    /// Waits until it has.
    fn until_known(&self) -> Pending<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    /// Asks the others. The answers are those of all that are there, and `room` has to grow with
    /// them.
    fn ask<'a>(
        &'a self,
        question: Vec<u8>,
        room: &'a mut AnswerRoom,
    ) -> Pending<'a, Result<Vec<Vec<u8>>, ReadError>>;
}

/// One hub of several, as the others see it.
pub trait Node: Send + Sync {
    /// Answers a question of another hub. The answer may hold room in a budget until it is sent.
    fn answer(&self, question: Vec<u8>) -> Pending<'static, Bytes>;

    /// Another hub has revoked a token, or this one. It is barred at once; the future ends its
    /// streams.
    fn revoked(&self, token: RevokedToken) -> Pending<'static, ()>;

    /// The tokens that it bars and that have not expired, for a journal that has lost them.
    fn barred(&self) -> Vec<RevokedToken>;
}

/// A reader of the tail, and how far it has come.
#[derive(Debug)]
pub struct Follower {
    begin: HubId,
    shown: AtomicU64,
    shown_bytes: AtomicU64,
    taken: AtomicU64,
    taken_bytes: AtomicU64,
    news: AtomicBool,
    changed: Notify,
    progress: Notify,
}

impl Follower {
    /// A follower that begins at `end`, the newest that the tail shows.
    pub fn at(end: HubId) -> Self {
        Self {
            begin: end,
            shown: AtomicU64::new(end.position.number()),
            shown_bytes: AtomicU64::new(0),
            taken: AtomicU64::new(end.position.number()),
            taken_bytes: AtomicU64::new(0),
            news: AtomicBool::new(false),
            changed: Notify::new(),
            progress: Notify::new(),
        }
    }

    /// Where it began to follow.
    #[inline]
    pub fn begin(&self) -> HubId {
        self.begin
    }

    /// The newest position that was taken.
    #[inline]
    pub fn taken(&self) -> Position {
        Position::new(self.taken.load(Ordering::Acquire))
    }

    /// Whether the tail shows more than was taken.
    #[inline]
    pub fn is_behind(&self) -> bool {
        self.shown.load(Ordering::Acquire) > self.taken.load(Ordering::Acquire)
    }

    /// Whether the tail is to be asked: it shows more than was taken, or the journal has said
    /// something since the last [`Follower::hear`], as that it began anew.
    #[inline]
    pub fn has_news(&self) -> bool {
        self.news.load(Ordering::Acquire) || self.is_behind()
    }

    /// Says that the tail is about to be asked.
    #[inline]
    pub fn hear(&self) {
        self.news.store(false, Ordering::Release);
    }

    /// What the tail shows and was not taken, as records take memory.
    #[inline]
    pub fn waiting_bytes(&self) -> u64 {
        let taken = self.taken_bytes.load(Ordering::Acquire);
        self.shown_bytes.load(Ordering::Acquire).saturating_sub(taken)
    }

    /// Says that this record was taken, and all before it.
    #[inline]
    pub fn take(&self, record: &Record) {
        self.taken_bytes.fetch_add(record.memory_bytes(), Ordering::AcqRel);
        self.pass(record.position);
    }

    /// Says that there is nothing to be taken up to `position`: a hole, or what is gone.
    #[inline]
    pub fn pass(&self, position: Position) {
        let shown_bytes = self.shown_bytes.load(Ordering::Acquire);
        self.taken.store(position.number(), Ordering::Release);
        // Who has come to the end waits for nothing: what was shown and is gone neither.
        if !self.is_behind() {
            self.taken_bytes.store(shown_bytes, Ordering::Release);
        }
        self.progress.notify_one();
    }

    /// The journal's word that the tail now ends at `position`, `bytes` more than before. A
    /// journal that begins anew shows its new end, which may lie before what was taken.
    #[inline]
    pub fn show(&self, position: Position, bytes: u64) {
        self.shown_bytes.fetch_add(bytes, Ordering::AcqRel);
        self.shown.store(position.number(), Ordering::Release);
        self.news.store(true, Ordering::Release);
        self.changed.notify_one();
    }

    /// Waits until more was taken: a journal that has more to show than is taken may wait.
    ///
    /// # Cancel safety
    /// Progress is kept until a task waits for it.
    pub async fn progress(&self) {
        self.progress.notified().await;
    }

    /// Waits until the tail may show more.
    ///
    /// # Cancel safety
    /// A change is kept until a task waits for it.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// What the tail has for a follower. A new answer is a change for every follower, so the enum is
/// exhaustive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// The records are all that there is up to here.
    Through(Position),
    /// What came after the asked position is gone up to this one, before it was followed. Who
    /// wanted some of it is told so by a read.
    Gone(HubId),
    /// No update for any subscriber lies between the asked position and this one.
    Nothing(HubId),
    /// The journal began anew: it does not know the asked id, and now ends here. All that was
    /// known of it is void.
    Anew(HubId),
}

/// How much one read of the journal takes at most, before others get their turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchMax {
    /// Bytes of the records that it gives, the last of which may go beyond.
    pub bytes: usize,
    /// Updates that it looks at.
    pub updates: usize,
    /// Steps in which it holds topics against patterns. One update more may be looked at.
    pub steps: usize,
}

impl Default for BatchMax {
    /// 64 KiB, 4096 updates, 1024 steps for each of them.
    fn default() -> Self {
        Self { bytes: BATCH_BYTES, updates: SCAN_UPDATES, steps: SCAN_STEPS }
    }
}

/// A part of the journal, seen by one kind of subscriber.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Batch {
    /// All that the subscriber gets of the updates up to `through`, in order, and none that
    /// came before [`Missed::resume`].
    pub records: Vec<Arc<Record>>,
    /// How far the batch reaches: further than what was asked for begins.
    pub through: Position,
    /// What the subscriber would have got before the first record, but is gone.
    pub missed: Option<Missed>,
    /// What is missed could not be read: it is told also to a subscriber that was told of newer
    /// updates that are gone.
    pub is_damaged: bool,
}

impl Batch {
    /// These records, which are all that the subscriber gets up to `through`, without a loss.
    pub fn new(records: Vec<Arc<Record>>, through: Position) -> Self {
        Self { records, through, missed: None, is_damaged: false }
    }

    /// Those of `records`, which are all that come next, that are `wanted`: up to `until`, and
    /// as many as fit.
    pub fn of<'a>(
        records: impl Iterator<Item = &'a Arc<Record>>,
        until: Position,
        max: BatchMax,
        wanted: impl Fn(&Record) -> bool,
    ) -> Self {
        Self::tested(records, until, max, 1, wanted)
    }

    /// The same of those that such a subscriber is to get.
    pub fn for_subscriber<'a>(
        records: impl Iterator<Item = &'a Arc<Record>>,
        until: Position,
        max: BatchMax,
        selectors: &Selectors,
        rights: &Rights,
    ) -> Self {
        let tests = selectors.tests() + rights.tests();
        Self::tested(records, until, max, tests, |record| record.is_for(selectors, rights))
    }

    /// The same where `wanted` makes so many tests for each topic of a record. Their number is
    /// bounded too: a subscriber chooses its patterns, and a publisher its topics.
    pub fn tested<'a>(
        records: impl Iterator<Item = &'a Arc<Record>>,
        until: Position,
        max: BatchMax,
        tests_per_topic: usize,
        wanted: impl Fn(&Record) -> bool,
    ) -> Self {
        let mut batch = Self { through: until, ..Self::default() };
        let mut bytes = 0;
        let mut steps = 0;
        for (scanned, record) in records.enumerate() {
            if record.position > until {
                break;
            }
            if scanned == max.updates || steps >= max.steps || bytes >= max.bytes {
                batch.through = record.position.previous();
                break;
            }
            steps += matching_steps(record.update.topics()) * tests_per_topic;
            if wanted(record) {
                bytes += record.memory_bytes() as usize;
                batch.records.push(Arc::clone(record));
            }
        }
        batch
    }
}

/// Updates that a subscriber would have got are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Missed {
    /// The oldest update that is still there; the newest that is gone, if there is none.
    pub oldest: HubId,
    /// The place after which a stream goes on: nothing between it and the batch's first record
    /// is left, and nothing before it has still to be read.
    pub resume: HubId,
    /// The newest of what is gone. Where topics are kept differently, that may be newer than
    /// much that is still there.
    pub newest: Position,
}

impl Missed {
    /// A loss up to `newest`, after which a stream continues from `resume`.
    pub fn new(oldest: HubId, resume: HubId, newest: Position) -> Self {
        Self { oldest, resume, newest }
    }

    /// Both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let is_further = other.resume.position > self.resume.position;
        Self {
            oldest: self.oldest,
            resume: if is_further { other.resume } else { self.resume },
            newest: self.newest.max(other.newest),
        }
    }
}

/// An update that was found by its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Found {
    /// Its place, and the hub's id of it.
    pub place: HubId,
    /// This subscriber may have seen it under this id. Otherwise it has a publisher's id and is not
    /// selected: another update may have been meant, which is no longer kept.
    pub is_certain: bool,
}

impl Found {
    /// This place, without doubt.
    pub fn certain(place: HubId) -> Self {
        Self { place, is_certain: true }
    }

    /// This place, though another update may have been meant.
    pub fn uncertain(place: HubId) -> Self {
        Self { place, is_certain: false }
    }
}

/// Where the updates since a time stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Before {
    /// They stand after this.
    pub place: HubId,
    /// Some that are gone may have been of that time or later: whether a subscriber missed any
    /// is known by what is gone after this.
    pub gone_after: Position,
}

impl Before {
    /// The updates after `place`, if none of those up to `gone_after` is one of them.
    pub fn new(place: HubId, gone_after: Position) -> Self {
        Self { place, gone_after }
    }
}

/// Where the journal begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Edges {
    /// The oldest update that is there; the next one, if there is none.
    pub first: Position,
    /// The newest update.
    pub last: HubId,
    /// The newest update that is gone.
    pub gone: Position,
    /// A client whose last id is older than this should be told a newer one: half of the time,
    /// the bytes or the updates that the journal keeps have come since.
    pub half: Position,
    /// What all records are counted as.
    pub bytes: u64,
}

impl Edges {
    /// A journal with the updates from `first` to `last`, which has lost none and needs to tell
    /// no client a newer id.
    pub fn new(first: Position, last: HubId) -> Self {
        Self { first, last, gone: Position::START, half: Position::START, bytes: 0 }
    }
}

/// Why updates were not appended.
#[derive(Debug)]
#[non_exhaustive]
pub enum AppendError {
    /// The storage fails; trying again later may help.
    Unavailable(Box<dyn std::error::Error + Send + Sync>),
    /// The key stands for something else that was published.
    KeyReused,
    /// An update is larger than the storage takes.
    TooLarge {
        /// Which of them, counted from 0.
        index: usize,
        /// What it has, with what surrounds it.
        bytes: usize,
        /// What it may have.
        max: usize,
    },
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(cause) => {
                write!(f, "the journal does not accept updates: {cause}")
            }
            Self::KeyReused => {
                f.write_str("the idempotency key was already used for another request")
            }
            Self::TooLarge { bytes, max, .. } => {
                write!(f, "the update needs {bytes} bytes in the journal; the limit is {max}")
            }
        }
    }
}

impl std::error::Error for AppendError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unavailable(cause) => Some(cause.as_ref()),
            Self::KeyReused | Self::TooLarge { .. } => None,
        }
    }
}

/// Why the journal could not be read.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReadError {
    /// The storage fails; trying again later may help.
    Unavailable(Box<dyn std::error::Error + Send + Sync>),
    /// The storage is out of reach for the time being: readers wait for it.
    Away(Box<dyn std::error::Error + Send + Sync>),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(_) => f.write_str("the journal cannot be read now"),
            Self::Away(_) => f.write_str("the journal is unreachable"),
        }
    }
}

impl std::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unavailable(cause) | Self::Away(cause) => Some(cause.as_ref()),
        }
    }
}
