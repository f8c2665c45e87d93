//! Decides from plain values what a subscriber that is behind needs next: no gap, no repeat.
//!
//! A returning subscriber, a first connection with a cursor, and a subscriber whose socket was full
//! are one case: it is *behind* its feed. It has a position in the journal, takes from the window
//! what the window still has, and reads the rest from the journal. When nothing is left it becomes
//! live, in the same step in which that was seen, so no update can come in between.

use std::sync::Arc;

use crate::journal::{Batch, LossNumber, Missed};
use crate::model::{HubId, Position, Record, Rights, Selectors};
use crate::stream::feed::{Feed, Source};
use crate::stream::notice::{GapCause, Notice};
use crate::stream::start::{Start, StartFrom, StartPlace, StartRequest};
use crate::stream::window::{JournalPosition, Offset, Window};
use crate::stream::wire::{self, PlaceForm};

/// Which updates of a part of the journal a subscriber gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DueUpdates {
    /// All updates.
    All,
    /// The newest about each topic.
    Last,
}

/// The state of a subscriber that is not live.
#[derive(Debug)]
pub struct Behind {
    /// Bytes for this subscriber only, which are written first: the stream's opening, or a notice.
    own: Vec<u8>,
    own_written: usize,
    /// These bytes contain the notice of a loss, which is counted when all of them are written.
    gap: Option<GapCause>,
    place: JournalPosition,
    /// The subscriber is not live before the shard has routed this.
    until: Position,
    /// Up to here it gets only the newest update about each topic.
    last_until: Position,
    /// The subscriber knows of losses up to this one.
    told: LossNumber,
    /// The same place in the window, as long as the window has it.
    offset: Option<Offset>,
    /// Its socket is full, and has been notified of that.
    full: bool,
    /// A `live` notice is due when it has caught up.
    announce: bool,
    /// The place that it gets when it has caught up.
    tell_place: Option<PlaceForm>,
    /// A `slow` notice is due when it has to read the journal.
    tell_slow: bool,
    /// Whether its place in the journal is known.
    status: PlaceStatus,
    /// It waits for the journal, and gets heartbeats meanwhile.
    waiting: bool,
}

/// Whether a subscriber's place in the journal is known.
#[derive(Debug)]
enum PlaceStatus {
    /// The place is in the journal, or in the window.
    Located,
    /// The journal has not located it yet.
    Unlocated(Box<StartRequest>),
    /// The place is in another journal, or in an earlier generation of this one.
    Foreign,
}

impl Behind {
    /// A subscriber whose stream just opened, when the window ended here.
    pub fn opening(own: Vec<u8>, start: Start, window_end: Offset, notices: bool) -> Self {
        let new = Self { announce: notices, ..Self::new(own) };
        match start {
            Start::Live => Self { offset: Some(window_end), ..new },
            Start::Located(place) => new.located(place),
            Start::Unlocated(request) => Self { status: PlaceStatus::Unlocated(request), ..new },
        }
    }

    /// The same subscriber, at this place.
    fn located(mut self, start: StartPlace) -> Self {
        let StartPlace { from, told, end, generation: _ } = start;
        self.told = told;
        self.until = end.position;
        self.place.through = match from {
            StartFrom::After(after) => after,
            StartFrom::AfterGap(after, cause) => {
                self.gap = Some(cause);
                after
            }
            StartFrom::Earliest { after, tell_place } => {
                self.tell_place = tell_place;
                after
            }
            StartFrom::Last { tell_place } => {
                self.tell_place = tell_place;
                self.last_until = end.position;
                Position::START
            }
        };
        self
    }

    /// A subscriber whose socket accepted only the bytes up to this place.
    pub fn full(own: Vec<u8>, place: JournalPosition, offset: Offset, notices: bool) -> Self {
        Self {
            place,
            until: place.through,
            offset: Some(offset),
            full: true,
            tell_slow: notices,
            ..Self::new(own)
        }
    }

    fn new(own: Vec<u8>) -> Self {
        Self {
            own,
            own_written: 0,
            gap: None,
            place: JournalPosition { through: Position::START, partly_written: None },
            until: Position::START,
            last_until: Position::START,
            told: LossNumber::NONE,
            offset: None,
            full: false,
            announce: false,
            tell_place: None,
            tell_slow: false,
            status: PlaceStatus::Located,
            waiting: false,
        }
    }

    /// Whether it waits for the journal, between two events.
    #[inline]
    pub fn waits(&self) -> bool {
        self.waiting && self.place.partly_written.is_none() && self.own().is_empty()
    }

    /// The window lacks some of the next updates, which must be read from the journal. This is not
    /// because the reader was slow.
    pub fn leave_window(&mut self) {
        self.forget_offset();
        self.was_not_slow();
    }

    /// The subscriber is behind for another reason than being slow.
    pub fn was_not_slow(&mut self) {
        self.tell_slow = false;
    }

    /// The offset is no longer valid for what the subscriber has received.
    pub fn forget_offset(&mut self) {
        self.offset = None;
    }

    /// Its position is of another journal, or of an earlier generation of this one: the stream is
    /// closed, and the subscriber reconnects.
    pub fn mark_foreign(&mut self) {
        self.status = PlaceStatus::Foreign;
    }

    /// Its place in the journal.
    #[inline]
    pub fn position(&self) -> JournalPosition {
        self.place
    }

    /// Begins at the located place, with the bytes `own`.
    pub fn begin(&mut self, place: StartPlace, own: Vec<u8>) {
        let (full, announce) = (self.full, self.announce);
        *self = Self { full, announce, ..Self::new(own) }.located(place);
    }

    /// Sets whether it waits for the journal.
    pub fn set_waiting(&mut self, waiting: bool) {
        self.waiting = waiting;
    }

    /// Whether its socket is full, and has been notified of that.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Notes that its socket is full, and is notified of that.
    pub fn set_full(&mut self) {
        self.full = true;
    }

    /// The subscriber has received everything up to `place`, which is at `offset` if the window has
    /// it.
    #[inline]
    pub fn advance(&mut self, place: JournalPosition, offset: Option<Offset>) {
        self.place = place;
        self.offset = offset;
    }

    /// The rest for this subscriber, if the shard has routed up to `routed`.
    #[inline]
    pub fn rest(&self, routed: Position, window: &Window, feed: &Feed) -> Rest {
        match &self.status {
            PlaceStatus::Located => {}
            PlaceStatus::Unlocated(request) => return Rest::Unlocated(request.clone()),
            PlaceStatus::Foreign => return Rest::Reconnect,
        }
        if self.place.through.max(self.until) > routed {
            return Rest::NotRouted;
        }
        if self.place.through < self.last_until {
            return Rest::Journal;
        }
        let in_window =
            |offset: &Offset| *offset >= window.start() && feed.since(*offset).is_some();
        let by_position = || match self.place {
            JournalPosition { through, partly_written: None }
                if feed.is_complete_after(through) =>
            {
                window.offset_after(through).filter(in_window)
            }
            _ => None,
        };
        match self.offset.filter(in_window).or_else(by_position) {
            Some(offset) if offset >= feed.end() => Rest::Nothing,
            Some(offset) => Rest::Window(offset),
            None if !feed.follows_journal() => Rest::Reconnect,
            None => Rest::Journal,
        }
    }

    /// Adds the notices that must come before this rest. Returns whether they contain the id of
    /// `routed`.
    pub fn add_notices(&mut self, rest: &Rest, routed: HubId, heartbeat_ms: u64) -> bool {
        let is_live = matches!(rest, Rest::Nothing);
        let is_slow = matches!(rest, Rest::Journal) && self.place.partly_written.is_none();
        if is_live && (self.announce || self.tell_place.is_some()) {
            // It has everything up to there, also if its socket takes the notice only later.
            self.place = JournalPosition { through: routed.position, partly_written: None };
            let id = routed.to_event_id();
            match self.tell_place.take() {
                Some(form) if !self.announce => wire::place(form, &id, &mut self.own),
                _ => Notice::Live { heartbeat_ms }.encode(Some(&id), None, &mut self.own),
            }
            self.announce = false;
            return true;
        }
        if is_slow && self.tell_slow {
            self.tell_slow = false;
            self.announce = true;
            let count = routed.position.number() - self.place.through.number();
            // The stream continues from the last event that was received, so the notice has no id.
            Notice::Slow { behind: count }.encode(None, None, &mut self.own);
        }
        false
    }

    /// The part of the journal that it needs, if the shard has routed up to `routed`.
    pub fn missing(&self, routed: Position, source: &Source) -> Step {
        let Source::Updates { selectors, rights, .. } = source else { return Step::Reconnect };
        let after = self.place.through;
        let (until, which) = if after < self.last_until {
            (self.last_until, DueUpdates::Last)
        } else {
            (routed, DueUpdates::All)
        };
        let (selectors, rights) = (selectors.clone(), rights.clone());
        Step::Read(Missing { after, until, selectors, rights, which })
    }

    /// How a batch that was read for it can be used now. The window may have advanced meanwhile,
    /// but the batch is still what the journal has there.
    pub fn receive(&mut self, batch: &Batch) -> Received {
        if batch.through <= self.place.through && batch.records.is_empty() {
            // With a journal that makes no progress this would never end.
            return Received::Unusable;
        }
        let is_due = |missed: &Missed| missed.number > self.told || batch.is_damaged;
        if let Some(partly_written) = self.place.partly_written {
            return match batch.records.first() {
                // A stream that lost its newest updates may have another record at this position
                // before the journal knows of the loss.
                Some(record) if record.hub_id() == partly_written.id => {
                    // The notice of a gap cannot be within an event. So only this event is
                    // finished, and the updates after it are read again, with the loss.
                    match batch.missed.filter(is_due) {
                        Some(_) => Received::First(Arc::clone(record)),
                        None => Received::All,
                    }
                }
                None if batch.through < partly_written.id.position => Received::All,
                _ => Received::Unusable,
            };
        }
        let Some(missed) = batch.missed.filter(is_due) else { return Received::All };
        let mut own = Vec::new();
        // There is no requested cursor: the subscriber, or its shard, fell behind this far.
        Notice::Gap { asked: None, oldest: missed.oldest.to_string() }.encode(
            Some(&missed.resume.to_event_id()),
            None,
            &mut own,
        );
        self.set_own(own);
        self.gap = Some(GapCause::Slow);
        self.told = missed.number.max(self.told);
        self.place.through = self.place.through.max(missed.resume.position);
        Received::AfterGap
    }

    /// The rest of its own bytes.
    #[inline]
    pub fn own(&self) -> &[u8] {
        &self.own[self.own_written..]
    }

    /// Sets the bytes that are written first.
    pub fn set_own(&mut self, own: Vec<u8>) {
        self.own = own;
        self.own_written = 0;
    }

    /// Adds `more` to its own bytes.
    pub fn add_own(&mut self, more: &[u8]) {
        self.own.extend_from_slice(more);
    }

    /// Notes that `written` more of its own bytes were written. Returns whether that is all of
    /// them.
    #[inline]
    pub fn wrote_own(&mut self, written: usize) -> bool {
        self.own_written += written;
        let is_all = self.own_written == self.own.len();
        if is_all {
            self.set_own(Vec::new());
        }
        is_all
    }

    /// The cause of a gap whose notice was written since the last call.
    pub fn take_told_gap(&mut self) -> Option<GapCause> {
        self.gap.take_if(|_| self.own.is_empty())
    }
}

/// How a batch of the journal can be used for a subscriber that is behind.
#[derive(Debug)]
pub enum Received {
    /// Write all of it.
    All,
    /// Write all of it, after the notice of a gap, which is in its own bytes.
    AfterGap,
    /// Write only the rest of this record, whose beginning the subscriber has.
    First(Arc<Record>),
    /// The batch does not continue from the subscriber's place.
    Unusable,
}

/// What a subscriber that is behind needs next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing: it is live.
    Live,
    /// Room in its socket.
    Full,
    /// Another turn, after the other subscribers.
    Again,
    /// To know its place in the journal.
    Locate(Box<StartRequest>),
    /// A batch of the journal.
    Read(Missing),
    /// That the shard routes the updates that this subscriber has already received.
    Route,
    /// To know that its token was not revoked: its thread checks that before each step.
    Unconfirmed,
    /// Nothing: the subscriber was removed, or its peer is disconnected.
    Closed,
    /// To reconnect, so its stream is closed: an event was partly written and the rest of it was
    /// dropped, or the journal is another one.
    Reconnect,
}

/// A part of the journal that a subscriber needs.
#[derive(Debug, PartialEq, Eq)]
pub struct Missing {
    /// It has received everything up to here.
    pub after: Position,
    /// No update after this is read.
    pub until: Position,
    /// The selectors of the subscriber.
    pub selectors: Selectors,
    /// Its rights.
    pub rights: Rights,
    /// Which of the updates it gets.
    pub which: DueUpdates,
}

/// The rest for a subscriber that is behind.
#[derive(Debug, PartialEq, Eq)]
pub enum Rest {
    /// Nothing: it becomes live.
    Nothing,
    /// Its place must be located first.
    Unlocated(Box<StartRequest>),
    /// In the window, from here on.
    Window(Offset),
    /// Only in the journal.
    Journal,
    /// Not routed by the shard yet.
    NotRouted,
    /// Dropped, or of another journal: the subscriber must reconnect.
    Reconnect,
}

#[cfg(test)]
mod tests;
