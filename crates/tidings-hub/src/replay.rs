//! Catching up, then going live: no gap, no repeat.
//!
//! A returning subscriber, a first connection with a cursor, and a reader whose socket was
//! full are one and the same: somebody who is *behind* its feed. It has a place in the
//! journal, takes from the window what the window still has, and reads the journal for what
//! it has not. When nothing is left it goes live, in the same step in which that was seen, so
//! that no update can come in between.

use std::io::ErrorKind;

use crate::access::Rights;
use crate::feed::{FeedKey, Source};
use crate::journal::{Batch, Epoch, Position};
use crate::limits::{BATCH_BYTES, SLICE_BYTES};
use crate::notice::Notice;
use crate::selector::Selectors;
use crate::shard::{Chunk, Shard, Socket, SubscriberKey};
use crate::window::{Half, Offset, Pieces, Place, Span};
use crate::wire;

/// What of the journal a subscriber gets before it is live.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Due {
    /// It has had everything up to here.
    pub(crate) after: Position,
    /// The newest update when it came. The shard may not have routed that yet, and what was
    /// there before a subscriber came is not what it is told to be live.
    pub(crate) until: Position,
    /// It knows what is gone up to here, or does not ask for it.
    pub(crate) told: Position,
    pub(crate) which: Which,
    /// In which journal these positions are; none for who gets nothing from it.
    pub(crate) epoch: Option<Epoch>,
    /// Where it begins is known.
    pub(crate) is_placed: bool,
}

/// Which of the updates up to [`Due::until`] are due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    All,
    /// The newest about each topic.
    Last,
}

impl Due {
    /// Nothing: what comes is all that there is.
    pub(crate) const NOTHING: Self = Self {
        after: Position::START,
        until: Position::START,
        told: Position::START,
        which: Which::All,
        epoch: None,
        is_placed: true,
    };

    /// Something, which only the journal can tell.
    pub(crate) const UNPLACED: Self = Self { is_placed: false, ..Self::NOTHING };
}

/// Where a subscriber stands that is not live.
#[derive(Debug)]
pub(crate) struct Behind {
    /// Bytes that are its alone and go first: the stream's opening, or a notice.
    own: Vec<u8>,
    own_written: usize,
    place: Place,
    /// It is not live before the shard has routed this.
    until: Position,
    /// Up to here it gets only the newest update about each topic.
    last_until: Position,
    /// It was told what is gone up to here.
    told: Position,
    /// The same place in the window, as long as the window has it.
    offset: Option<Offset>,
    /// Its socket is full, and was told so.
    full: bool,
    /// A `live` notice is due when it has caught up.
    announce: bool,
    /// A `slow` notice is due when it has to read the journal.
    tell_slow: bool,
    /// Its place is one in a journal that is no more.
    lost: bool,
    /// Its place is still to be found.
    unplaced: bool,
    /// It waits for the journal, and is sent heartbeats meanwhile.
    waiting: bool,
}

impl Behind {
    /// Somebody who just came.
    pub(crate) fn opening(own: Vec<u8>, due: Due, offset: Option<Offset>, notices: bool) -> Self {
        let place = Place { through: due.after, half: None };
        Self {
            own,
            own_written: 0,
            place,
            until: due.until,
            last_until: match due.which {
                Which::All => Position::START,
                Which::Last => due.until,
            },
            told: due.told,
            offset,
            full: false,
            announce: notices,
            tell_slow: false,
            lost: false,
            unplaced: !due.is_placed,
            waiting: false,
        }
    }

    /// Somebody whose socket took no more than this.
    pub(crate) fn full(own: Vec<u8>, place: Place, offset: Offset, notices: bool) -> Self {
        Self {
            own,
            own_written: 0,
            until: place.through,
            last_until: Position::START,
            told: Position::START,
            place,
            offset: Some(offset),
            full: true,
            announce: false,
            tell_slow: notices,
            lost: false,
            unplaced: false,
            waiting: false,
        }
    }

    /// It waits for the journal, and stands between two events.
    pub(crate) fn waits(&self) -> bool {
        self.waiting && self.place.half.is_none() && self.own().is_empty()
    }

    /// The window does not have all that comes next: it has to be read. That is not because
    /// this reader was slow.
    pub(crate) fn leave_window(&mut self) {
        self.offset = None;
        self.tell_slow = false;
    }

    /// The journal that it has its place in is no more: it is to be closed, and comes back.
    pub(crate) fn lose(&mut self) {
        self.lost = true;
    }

    /// What is left of its own bytes.
    fn own(&self) -> &[u8] {
        &self.own[self.own_written..]
    }

    /// Has it write `own` before all else.
    pub(crate) fn set_own(&mut self, own: Vec<u8>) {
        self.own = own;
        self.own_written = 0;
    }
}

/// What somebody who is behind needs next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing: it is live.
    Live,
    /// Room in its socket.
    Full,
    /// Another turn, after others had theirs.
    Again,
    /// The place where it begins, for [`Shard::place`].
    Locate,
    /// A batch of the journal, for [`Shard::deliver`].
    Read(Missing),
    /// That the shard routes what this subscriber has had already.
    Route,
    /// Nothing: it left, or the peer is gone.
    Gone,
    /// To be closed: an event was half written and the rest of it is no longer there, or the
    /// whole journal is no more.
    Lost,
}

/// A part of the journal that somebody has to get.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Missing {
    pub(crate) after: Position,
    pub(crate) until: Position,
    pub(crate) selectors: Selectors,
    pub(crate) rights: Rights,
    pub(crate) which: Which,
}

/// What is left for somebody who is behind.
enum Rest {
    Nothing,
    Unplaced,
    Window(Offset),
    Journal,
    NotRouted,
    Trimmed,
}

impl<S: Socket> Shard<S> {
    /// Brings somebody who is behind as far as it goes without waiting.
    pub(crate) fn catch_up(&mut self, key: SubscriberKey) -> Step {
        let step = self.advance(key);
        self.note_full(key, &step);
        step
    }

    fn advance(&mut self, key: SubscriberKey) -> Step {
        let mut bytes = 0;
        loop {
            if bytes >= SLICE_BYTES {
                return Step::Again;
            }
            let Some((feed, behind)) = self.behind_of(key) else { return Step::Gone };
            let rest = self.rest(feed, behind);
            let live = matches!(rest, Rest::Nothing);
            let slow = matches!(rest, Rest::Journal) && behind.place.half.is_none();
            self.add_notices(key, live, slow);
            match self.write_own(key) {
                Write::All(written) => bytes += written,
                Write::Part => return Step::Full,
                Write::Broken => return Step::Gone,
            }
            match rest {
                Rest::Nothing => {
                    self.go_live(key);
                    return Step::Live;
                }
                Rest::Window(offset) => match self.write_window(key, feed, offset) {
                    Write::All(written) => bytes += written,
                    Write::Part => return Step::Full,
                    Write::Broken => return Step::Gone,
                },
                Rest::Unplaced => return Step::Locate,
                Rest::Journal => return self.missing(key),
                Rest::NotRouted => return Step::Route,
                Rest::Trimmed => return Step::Lost,
            }
        }
    }

    /// Says where somebody begins, for [`Step::Locate`], and what it is told first.
    pub(crate) fn place(&mut self, key: SubscriberKey, due: Due, bytes: Vec<u8>) {
        let is_foreign = due.epoch.is_some_and(|epoch| epoch != self.routed.epoch);
        let Some(subscriber) = self.subscribers.get_mut(key) else { return };
        subscriber.told = due.after;
        let Some(behind) = subscriber.behind.as_deref_mut() else { return };
        let placed = Behind::opening(bytes, due, None, behind.announce);
        *behind = Behind { full: behind.full, ..placed };
        if is_foreign {
            behind.lose();
        }
    }

    /// Notes that somebody waits for the journal, or does no longer.
    pub(crate) fn set_waiting(&mut self, key: SubscriberKey, waiting: bool) {
        if let Some(behind) = self.behind_mut(key) {
            behind.waiting = waiting;
        }
    }

    /// Writes a batch that was read for [`Step::Read`]. What the socket does not take is let
    /// go: it is read again when there is room, so that nothing is held for who stalls.
    pub(crate) fn deliver(&mut self, key: SubscriberKey, batch: &Batch) -> Step {
        let Some((feed, behind)) = self.behind_of(key) else { return Step::Gone };
        let mut place = behind.place;
        if batch.through <= place.through && batch.records.is_empty() {
            // A journal that makes no progress would keep us here for ever.
            return Step::Lost;
        }
        // The window may have moved on, but the journal's word on this part stays true.
        if let Some(half) = place.half {
            match batch.records.first() {
                Some(record) if record.position == half.position => {}
                None if batch.through < half.position => {}
                _ => return Step::Lost,
            }
        } else if let Some(missed) = batch.missed.filter(|missed| missed.newest > behind.told) {
            let mut own = Vec::new();
            // Nobody asked for a cursor here: this reader fell so far behind, or its shard did.
            Notice::Gap { asked: None, oldest: missed.oldest.to_string() }.encode(
                Some(&missed.resume.to_event_id()),
                None,
                &mut own,
            );
            self.tally.gaps += 1;
            let Some(behind) = self.behind_mut(key) else { return Step::Gone };
            behind.set_own(own);
            behind.told = missed.newest;
            behind.place.through = place.through.max(missed.resume.position);
            place = behind.place;
            match self.write_own(key) {
                Write::All(_) => {}
                Write::Part => {
                    self.note_full(key, &Step::Full);
                    return Step::Full;
                }
                Write::Broken => return Step::Gone,
            }
        }
        let step = self.write_batch(key, feed, place, batch);
        self.note_full(key, &step);
        step
    }

    fn note_full(&mut self, key: SubscriberKey, step: &Step) {
        let Some(subscriber) = self.subscribers.get_mut(key) else { return };
        let Some(behind) = subscriber.behind.as_deref_mut() else { return };
        if *step == Step::Full && !behind.full {
            behind.full = true;
            subscriber.socket.set_full(true);
        }
    }

    fn write_batch(
        &mut self,
        key: SubscriberKey,
        feed: FeedKey,
        mut place: Place,
        batch: &Batch,
    ) -> Step {
        let mut out = std::mem::take(&mut self.scratch);
        let mut step = Step::Again;
        let mut records = batch.records.iter();
        while step == Step::Again && !records.as_slice().is_empty() {
            out.clear();
            let mut ends = Vec::new();
            for record in records.by_ref() {
                let shown = wire::shown(&self.feeds[feed].source, record);
                wire::record(record, &shown, &mut out);
                ends.push((record.position, out.len()));
                if out.len() >= BATCH_BYTES {
                    break;
                }
            }
            let skip = place.half.map_or(0, |half| half.written);
            match self.write(key, &out[skip..]) {
                Ok(written) => {
                    let reached = skip + written;
                    if reached < out.len() {
                        step = Step::Full;
                    }
                    let whole = ends.partition_point(|(_, end)| *end <= reached);
                    let last = whole.checked_sub(1).map(|last| ends[last]);
                    let (through, start) = last.unwrap_or((place.through, 0));
                    // An event counts when its first byte is written.
                    let begun = whole + usize::from(reached > start) - usize::from(skip > 0);
                    self.tally.deliveries += begun as u64;
                    place = Place { through, half: None };
                    if reached > start
                        && let Some((position, _)) = ends.get(whole)
                    {
                        place.half = Some(Half { position: *position, written: reached - start });
                    }
                }
                Err(()) => step = Step::Gone,
            }
        }
        self.scratch = out;
        if step == Step::Again {
            // What is gone may reach further than what was asked for.
            place.through = place.through.max(batch.through);
        }
        if let Some(behind) = self.behind_mut(key) {
            behind.place = place;
            behind.offset = None;
        }
        step
    }

    fn rest(&self, feed: FeedKey, behind: &Behind) -> Rest {
        let routed = self.routed.position;
        if behind.lost {
            return Rest::Trimmed;
        }
        if behind.unplaced {
            return Rest::Unplaced;
        }
        if behind.place.through.max(behind.until) > routed {
            return Rest::NotRouted;
        }
        if behind.place.through < behind.last_until {
            return Rest::Journal;
        }
        let feed = &self.feeds[feed];
        let in_window =
            |offset: &Offset| *offset >= self.window.start() && feed.since(*offset).is_some();
        let by_position = || match behind.place {
            Place { through, half: None } if through >= feed.begun => {
                self.window.offset_after(through).filter(in_window)
            }
            _ => None,
        };
        match behind.offset.filter(in_window).or_else(by_position) {
            Some(offset) if offset >= feed.end() => Rest::Nothing,
            Some(offset) => Rest::Window(offset),
            None if matches!(feed.source, Source::Clock) => Rest::Trimmed,
            None => Rest::Journal,
        }
    }

    fn add_notices(&mut self, key: SubscriberKey, live: bool, slow: bool) {
        let (routed, heartbeat_ms) = (self.routed, self.heartbeat_ms);
        let Some(behind) = self.behind_mut(key) else { return };
        if live && behind.announce {
            behind.announce = false;
            let id = routed.to_event_id();
            Notice::Live { heartbeat_ms }.encode(Some(&id), None, &mut behind.own);
            if let Some(subscriber) = self.subscribers.get_mut(key) {
                subscriber.told = routed.position;
            }
        } else if slow && behind.tell_slow {
            behind.tell_slow = false;
            behind.announce = true;
            let count = routed.position.number() - behind.place.through.number();
            // It goes on from the last event that it had, so there is no other id to tell.
            Notice::Slow { behind: count }.encode(None, None, &mut behind.own);
        }
    }

    fn write_own(&mut self, key: SubscriberKey) -> Write {
        let Some(behind) = self.behind_mut(key) else { return Write::Broken };
        if behind.own().is_empty() {
            return Write::All(0);
        }
        let own = std::mem::take(&mut behind.own);
        let from = behind.own_written;
        let Ok(written) = self.write(key, &own[from..]) else { return Write::Broken };
        let Some(behind) = self.behind_mut(key) else { return Write::Broken };
        if from + written == own.len() {
            behind.own_written = 0;
            return Write::All(written);
        }
        behind.own = own;
        behind.own_written = from + written;
        Write::Part
    }

    fn write_window(&mut self, key: SubscriberKey, feed: FeedKey, offset: Offset) -> Write {
        let Some(subscriber) = self.subscribers.get_mut(key) else { return Write::Broken };
        let Some(behind) = subscriber.behind.as_mut() else { return Write::Broken };
        let Some(spans) = self.feeds[feed].since(offset) else { return Write::Broken };
        let mut at = offset;
        let mut total = 0;
        for span in spans {
            let mut pieces = Pieces::new();
            self.window.pieces(span, &mut pieces);
            let chunk = Chunk::new(pieces);
            let written = match subscriber.socket.write(&chunk) {
                Ok(written) => written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(_) => {
                    self.broken.push(key);
                    return Write::Broken;
                }
            };
            total += written;
            self.tally.bytes += written as u64;
            subscriber.sent = self.now;
            at = span.start + written as u64;
            self.tally.deliveries += self.window.count(Span { end: at, ..span }) as u64;
            if at < span.end || total >= SLICE_BYTES {
                break;
            }
        }
        let feed = &self.feeds[feed];
        let full = at < feed.end() && total < SLICE_BYTES;
        // The next byte for this feed: at an event's end another feed's form of the same
        // update may follow, which would count as not yet had.
        let next = feed.since(at).and_then(|mut spans| spans.next());
        let at = next.map_or(self.window.end(), |span| span.start);
        behind.place = self.window.place(at, self.routed.position);
        behind.offset = Some(at);
        if full { Write::Part } else { Write::All(total) }
    }

    /// Writes bytes of this subscriber's own; a full socket takes none of them.
    fn write(&mut self, key: SubscriberKey, bytes: &[u8]) -> Result<usize, ()> {
        let Some(subscriber) = self.subscribers.get_mut(key) else { return Err(()) };
        match subscriber.socket.write(&Chunk::of(bytes)) {
            Ok(written) => {
                subscriber.sent = self.now;
                self.tally.bytes += written as u64;
                Ok(written)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
            Err(_) => {
                self.broken.push(key);
                Err(())
            }
        }
    }

    fn missing(&self, key: SubscriberKey) -> Step {
        let Some((feed, behind)) = self.behind_of(key) else { return Step::Gone };
        match &self.feeds[feed].source {
            Source::Updates { selectors, rights, .. } => {
                let through = behind.place.through;
                let (until, which) = if through < behind.last_until {
                    (behind.last_until, Which::Last)
                } else {
                    (self.routed.position, Which::All)
                };
                Step::Read(Missing {
                    after: through,
                    until,
                    selectors: selectors.clone(),
                    rights: rights.clone(),
                    which,
                })
            }
            Source::Clock => Step::Lost,
        }
    }

    /// The one step by which somebody goes live: all that was routed is written, and what is
    /// routed from now on stands behind the cursor.
    fn go_live(&mut self, key: SubscriberKey) {
        let Some(subscriber) = self.subscribers.get_mut(key) else { return };
        if subscriber.behind.take().is_some_and(|behind| behind.full) {
            subscriber.socket.set_full(false);
        }
        subscriber.cursor = self.window.end();
        let feed = &mut self.feeds[subscriber.feed];
        feed.behind -= 1;
        self.behind -= 1;
        if feed.behind == 0 && feed.queued.is_none() && feed.walked.is_none() {
            feed.settle(self.window.start(), feed.end());
        }
    }

    fn behind_of(&self, key: SubscriberKey) -> Option<(FeedKey, &Behind)> {
        let subscriber = self.subscribers.get(key)?;
        Some((subscriber.feed, subscriber.behind.as_deref()?))
    }

    fn behind_mut(&mut self, key: SubscriberKey) -> Option<&mut Behind> {
        self.subscribers.get_mut(key)?.behind.as_deref_mut()
    }
}

enum Write {
    All(usize),
    Part,
    Broken,
}
