//! A follower of the tail, and the tail's answers to it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

use crate::model::{HubId, Position, Record};

/// A follower of the tail, and its progress.
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
    /// A follower that begins at `end`, the newest update that the tail shows.
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

    /// The id after which it follows.
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

    /// Whether the follower should read the tail: it shows more than was taken, or the journal has
    /// reported something since the last [`Follower::hear`], for example a reset.
    #[inline]
    pub fn has_news(&self) -> bool {
        self.news.load(Ordering::Acquire) || self.is_behind()
    }

    /// Notes that the follower is about to read the tail.
    #[inline]
    pub fn hear(&self) {
        self.news.store(false, Ordering::Release);
    }

    /// Bytes of memory of the records that the tail shows and that were not taken.
    #[inline]
    pub fn waiting_bytes(&self) -> u64 {
        let taken = self.taken_bytes.load(Ordering::Acquire);
        self.shown_bytes.load(Ordering::Acquire).saturating_sub(taken)
    }

    /// Notes that this record and all before it were taken.
    #[inline]
    pub fn take(&self, record: &Record) {
        self.taken_bytes.fetch_add(record.memory_bytes(), Ordering::AcqRel);
        self.pass(record.position);
    }

    /// Notes that nothing remains to be taken up to `position`: a hole, or deleted updates.
    #[inline]
    pub fn pass(&self, position: Position) {
        let shown_bytes = self.shown_bytes.load(Ordering::Acquire);
        self.taken.store(position.number(), Ordering::Release);
        // At the end of the tail nothing waits, not even deleted records.
        if !self.is_behind() {
            self.taken_bytes.store(shown_bytes, Ordering::Release);
        }
        self.progress.notify_one();
    }

    /// Called by the journal: the tail now ends at `position`, with `bytes` more than before. A
    /// journal that is reset shows its new end, which may be before the records that were taken.
    /// [`Log::tail`](super::Log::tail) must not return a record before this has returned.
    #[inline]
    pub fn show(&self, position: Position, bytes: u64) {
        // First the position: a `pass` that knows of these bytes also knows that they wait.
        self.shown.store(position.number(), Ordering::Release);
        self.shown_bytes.fetch_add(bytes, Ordering::AcqRel);
        self.news.store(true, Ordering::Release);
        self.changed.notify_one();
    }

    /// Waits until more was taken. A journal can so wait for a slow follower.
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

/// The tail's answer to a follower. A new answer is a change for every follower, so the enum is
/// exhaustive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// The records are all updates up to here.
    Through(Position),
    /// The updates up to here were deleted before the shard read them. Subscribers that selected
    /// some learn it from a read.
    Dropped(HubId),
    /// No update for any subscriber is between the requested position and this one.
    Nothing(HubId),
    /// The journal was reset: it does not know the requested id, and now ends here. Everything that
    /// the follower knows of it is invalid.
    Reset(HubId),
}
