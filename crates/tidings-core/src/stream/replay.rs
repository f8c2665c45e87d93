//! What a subscriber that is behind needs next, decided from plain values: no gap, no repeat.
//!
//! A returning subscriber, a first connection with a cursor, and a subscriber whose socket was full
//! are one case: it is *behind* its feed. It has a position in the journal, takes from the window
//! what the window still has, and reads the rest from the journal. When nothing is left it becomes
//! live, in the same step in which that was seen, so no update can come in between.

use std::sync::Arc;

use crate::journal::{Batch, Missed};
use crate::model::{HubId, Position, Record, Rights, Selectors};
use crate::stream::feed::{Feed, Source};
use crate::stream::notice::{GapCause, Notice};
use crate::stream::start::{Start, StartFrom, StartPlace, StartRequest};
use crate::stream::window::{JournalPlace, Offset, Window};
use crate::stream::wire::{self, PlaceForm};

/// Which updates of a part of the journal are due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DueUpdates {
    /// Every one.
    All,
    /// The newest about each topic.
    Last,
}

/// The state of a subscriber that is not live.
#[derive(Debug)]
pub struct Behind {
    /// Bytes that are its alone and go first: the stream's opening, or a notice.
    own: Vec<u8>,
    own_written: usize,
    /// They tell it of a loss, which counts when all of them are written.
    gap: Option<GapCause>,
    place: JournalPlace,
    /// It is not live before the shard has routed this.
    until: Position,
    /// Up to here it gets only the newest update about each topic.
    last_until: Position,
    /// Losses up to here were told.
    told: Position,
    /// The same place in the window, as long as the window has it.
    offset: Option<Offset>,
    /// Its socket is full, and was told so.
    full: bool,
    /// A `live` notice is due when it has caught up.
    announce: bool,
    /// Its place is due when it has caught up.
    tell_place: Option<PlaceForm>,
    /// A `slow` notice is due when it has to read the journal.
    tell_slow: bool,
    /// Whether its place is one in the journal.
    status: PlaceStatus,
    /// It waits for the journal, and is sent heartbeats meanwhile.
    waiting: bool,
}

/// What is known of a subscriber's place.
#[derive(Debug)]
enum PlaceStatus {
    /// It is one in the journal, or in the window.
    Located,
    /// The journal has still to be asked.
    Unlocated(Box<StartRequest>),
    /// The journal that it was in is no more.
    Lost,
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

    /// The same subscriber, which begins at this place.
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

    /// A subscriber whose socket took no more than this.
    pub fn full(own: Vec<u8>, place: JournalPlace, offset: Offset, notices: bool) -> Self {
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
            place: JournalPlace { through: Position::START, half: None },
            until: Position::START,
            last_until: Position::START,
            told: Position::START,
            offset: None,
            full: false,
            announce: false,
            tell_place: None,
            tell_slow: false,
            status: PlaceStatus::Located,
            waiting: false,
        }
    }

    /// It waits for the journal, and stands between two events.
    #[inline]
    pub fn waits(&self) -> bool {
        self.waiting && self.place.half.is_none() && self.own().is_empty()
    }

    /// The window does not have all that comes next: it has to be read. That is not because
    /// this reader was slow.
    pub fn leave_window(&mut self) {
        self.forget_offset();
        self.was_not_slow();
    }

    /// The subscriber is behind for another reason than that it was slow.
    pub fn was_not_slow(&mut self) {
        self.tell_slow = false;
    }

    /// The offset no longer says what the subscriber has received.
    pub fn forget_offset(&mut self) {
        self.offset = None;
    }

    /// The journal of its position no longer exists: the stream is closed, and the subscriber
    /// reconnects.
    pub fn lose(&mut self) {
        self.status = PlaceStatus::Lost;
    }

    /// Where it stands in the journal.
    #[inline]
    pub fn place(&self) -> JournalPlace {
        self.place
    }

    /// Begins where the journal says, with `own`.
    pub fn begin(&mut self, place: StartPlace, own: Vec<u8>) {
        let (full, announce) = (self.full, self.announce);
        *self = Self { full, announce, ..Self::new(own) }.located(place);
    }

    /// It waits for the journal, or does no longer.
    pub fn set_waiting(&mut self, waiting: bool) {
        self.waiting = waiting;
    }

    /// Whether its socket was told that it is full.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Its socket is told that it is full.
    pub fn set_full(&mut self) {
        self.full = true;
    }

    /// The subscriber has received everything up to `place`, which is at `offset` if the window has
    /// it.
    #[inline]
    pub fn advance(&mut self, place: JournalPlace, offset: Option<Offset>) {
        self.place = place;
        self.offset = offset;
    }

    /// What is left for it, when this much was routed.
    #[inline]
    pub fn rest(&self, routed: Position, window: &Window, feed: &Feed) -> Rest {
        match &self.status {
            PlaceStatus::Located => {}
            PlaceStatus::Unlocated(request) => return Rest::Unlocated(request.clone()),
            PlaceStatus::Lost => return Rest::Trimmed,
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
            JournalPlace { through, half: None } if through >= feed.begun => {
                window.offset_after(through).filter(in_window)
            }
            _ => None,
        };
        match self.offset.filter(in_window).or_else(by_position) {
            Some(offset) if offset >= feed.end() => Rest::Nothing,
            Some(offset) => Rest::Window(offset),
            None if matches!(feed.source, Source::Clock) => Rest::Trimmed,
            None => Rest::Journal,
        }
    }

    /// Has it write the notices that are due before this rest. Says whether `routed` is the newest
    /// id that it is told by them.
    pub fn add_notices(&mut self, rest: &Rest, routed: HubId, heartbeat_ms: u64) -> bool {
        let is_live = matches!(rest, Rest::Nothing);
        let is_slow = matches!(rest, Rest::Journal) && self.place.half.is_none();
        if is_live && (self.announce || self.tell_place.is_some()) {
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
            // The stream continues from the last event that was received, so there is no other id
            // to tell.
            Notice::Slow { behind: count }.encode(None, None, &mut self.own);
        }
        false
    }

    /// What of the journal it needs, when this much was routed.
    pub fn missing(&self, routed: Position, source: &Source) -> Step {
        let Source::Updates { selectors, rights, .. } = source else { return Step::Lost };
        let after = self.place.through;
        let (until, which) = if after < self.last_until {
            (self.last_until, DueUpdates::Last)
        } else {
            (routed, DueUpdates::All)
        };
        let (selectors, rights) = (selectors.clone(), rights.clone());
        Step::Read(Missing { after, until, selectors, rights, which })
    }

    /// What a batch that was read for it is worth to it now. The window may have moved on, but the
    /// journal's word on this part stays true.
    pub fn receive(&mut self, batch: &Batch) -> Received {
        if batch.through <= self.place.through && batch.records.is_empty() {
            // A journal that makes no progress would keep us here for ever.
            return Received::Unusable;
        }
        let is_told = |missed: &Missed| missed.newest <= self.told;
        if let Some(half) = self.place.half {
            return match batch.records.first() {
                Some(record) if record.position == half.position => {
                    // A gap cannot be told in the middle of an event. So this one is finished
                    // alone, and what follows is read again, with the loss.
                    match batch.missed.filter(|missed| !is_told(missed)) {
                        Some(_) => Received::First(Arc::clone(record)),
                        None => Received::All,
                    }
                }
                None if batch.through < half.position => Received::All,
                _ => Received::Unusable,
            };
        }
        let missed = batch.missed.filter(|missed| !is_told(missed) || batch.is_damaged);
        let Some(missed) = missed else { return Received::All };
        let mut own = Vec::new();
        // No cursor was asked for here: the subscriber fell behind this far, or its shard did.
        Notice::Gap { asked: None, oldest: missed.oldest.to_string() }.encode(
            Some(&missed.resume.to_event_id()),
            None,
            &mut own,
        );
        self.set_own(own);
        self.gap = Some(GapCause::Slow);
        self.told = missed.newest.max(self.told);
        self.place.through = self.place.through.max(missed.resume.position);
        Received::AfterGap
    }

    /// What is left of its own bytes.
    #[inline]
    pub fn own(&self) -> &[u8] {
        &self.own[self.own_written..]
    }

    /// Has it write `own` before all else.
    pub fn set_own(&mut self, own: Vec<u8>) {
        self.own = own;
        self.own_written = 0;
    }

    /// Has it write `more` after its own bytes.
    pub fn add_own(&mut self, more: &[u8]) {
        self.own.extend_from_slice(more);
    }

    /// So many more of its own bytes were written. Says whether that is all of them.
    #[inline]
    pub fn wrote_own(&mut self, written: usize) -> bool {
        self.own_written += written;
        let is_all = self.own_written == self.own.len();
        if is_all {
            self.set_own(Vec::new());
        }
        is_all
    }

    /// The loss that it was told of since this was last asked.
    pub fn take_told_gap(&mut self) -> Option<GapCause> {
        self.gap.take_if(|_| self.own.is_empty())
    }
}

/// What a batch of the journal means to a subscriber that is behind.
#[derive(Debug)]
pub enum Received {
    /// All of it is to be written.
    All,
    /// All of it is to be written, after the notice of a gap, which is among its own bytes.
    AfterGap,
    /// Only the rest of this record, of which it had the beginning.
    First(Arc<Record>),
    /// It does not go on where the subscriber stands.
    Unusable,
}

/// What a subscriber that is behind needs next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing: it is live.
    Live,
    /// Room in its socket.
    Full,
    /// Another turn, after others had theirs.
    Again,
    /// The place where it begins: the answer to its request.
    Locate(Box<StartRequest>),
    /// A batch of the journal.
    Read(Missing),
    /// That the shard routes what this subscriber has already received.
    Route,
    /// To know that its token was not revoked: its thread asks before each step.
    Unconfirmed,
    /// Nothing: the subscriber was removed, or its peer is disconnected.
    Gone,
    /// To be closed: an event was half written and the rest of it is no longer there, or the
    /// whole journal is no more.
    Lost,
}

/// A part of the journal that a subscriber needs.
#[derive(Debug, PartialEq, Eq)]
pub struct Missing {
    /// It has received everything up to here.
    pub after: Position,
    /// No update after this is read.
    pub until: Position,
    /// What the subscriber asked for.
    pub selectors: Selectors,
    /// What it may read.
    pub rights: Rights,
    /// Which of the updates it gets.
    pub which: DueUpdates,
}

/// What is left for a subscriber that is behind.
#[derive(Debug, PartialEq, Eq)]
pub enum Rest {
    /// Nothing: it may go live.
    Nothing,
    /// Its place has to be located first.
    Unlocated(Box<StartRequest>),
    /// What the window has from here on.
    Window(Offset),
    /// What only the journal has.
    Journal,
    /// What the shard has not routed yet.
    NotRouted,
    /// Something that is no longer there.
    Trimmed,
}

#[cfg(test)]
mod tests;
