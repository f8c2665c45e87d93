//! What one client has received over all its streams, checked against the truth block by block.

use std::collections::BTreeSet;

use tidings_core::journal::Keep;

use crate::invariants::{Invariant, Violation};
use crate::script::Choice;
use crate::stream::Block;
use crate::truth::{Entry, Gone, Truth, number_of, position_of};

/// Notices `gap` that may come beside one for each dropped update.
const GAPS_ON_THE_WAY: usize = 2;

/// Where a stream continues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// After this position.
    After(u64),
    /// After one of these positions: updates with the same publisher's id.
    OneOf(Vec<u64>),
    /// After a position in this range: the end of the journal at some moment.
    Between(u64, u64),
    /// With everything that the journal has; what is dropped when it begins is not reported.
    Earliest,
    /// With the last update of each topic, and then with everything after this position.
    Last(u64),
}

/// What a subscriber requested.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) selects: Choice,
    /// The topics of which it may read private updates.
    pub(crate) grants: Option<Choice>,
    pub(crate) shows_topics: bool,
}

impl Wanted {
    /// Whether the subscriber gets this update.
    pub(crate) fn is_for(self, entry: &Entry) -> bool {
        self.selects.selects_any(&entry.topics) && self.may_read(entry)
    }

    fn may_read(self, entry: &Entry) -> bool {
        !entry.private || self.grants.is_some_and(|grants| grants.selects_any(&entry.topics))
    }
}

/// What is asked of the journal about an update: whether it still has it.
pub(crate) trait Kept {
    /// `None` if the journal cannot say it now.
    fn is_kept(&self, entry: &Entry) -> Option<bool>;

    /// The journal has dropped all updates up to here, also those that it has never shown, and other
    /// applications' messages. It may know only the newest of them about each topic.
    fn trimmed_through(&self) -> u64;

    /// The journal has lost updates that it had shown, and may not know which of them a subscriber
    /// has.
    fn has_lost_shown(&self) -> bool;
}

/// One stream, from its head to its end.
#[derive(Clone, Debug)]
pub(crate) struct View {
    wanted: Wanted,
    /// The end of the journal when the stream was requested.
    requested_at: u64,
    /// The index of its era.
    era: usize,
    from: From,
    /// The cursor that was requested.
    asked: Option<String>,
    /// Updates that were dropped when a notice `gap` came. One notice stands for all of them, also
    /// for those between updates that are still kept.
    announced: BTreeSet<u64>,
    /// The same for all updates up to here.
    announced_through: u64,
    /// The notices `gap` so far.
    gaps: usize,
    /// The newest position that an id of this stream named, or that its subscriber began with.
    newest: u64,
    /// Updates that the stream has delivered, for the cursor `tidings:last`.
    delivered: BTreeSet<u64>,
    /// The last event id, as a client keeps it.
    pub(crate) last_id: Option<String>,
    /// The stream delivers no later update: its token was revoked.
    pub(crate) delivers_until: u64,
    /// The same for private updates: another hub has revoked the token.
    pub(crate) private_until: u64,
    /// The stream ends: its token was revoked or expires.
    pub(crate) is_revoked: bool,
    pub(crate) is_draining: bool,
    /// The journal was reset while the stream opened: what it should deliver is not known.
    pub(crate) is_unknown: bool,
}

/// What a block was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    Update,
    Place,
    Notice(String),
}

impl View {
    pub(crate) fn new(
        wanted: Wanted,
        era: usize,
        (from, requested_at): (From, u64),
        asked: Option<String>,
    ) -> Self {
        // Its subscriber has everything up to there, or did not ask for it.
        let newest = match &from {
            From::After(position) | From::Between(position, _) => *position,
            From::OneOf(positions) => positions.iter().copied().min().unwrap_or(0),
            From::Earliest | From::Last(_) => 0,
        };
        Self {
            wanted,
            requested_at,
            era,
            from,
            asked,
            announced: BTreeSet::new(),
            announced_through: 0,
            gaps: 0,
            newest,
            delivered: BTreeSet::new(),
            last_id: None,
            delivers_until: u64::MAX,
            private_until: u64::MAX,
            is_revoked: false,
            is_draining: false,
            is_unknown: false,
        }
    }

    /// What is dropped when the stream begins is not reported: its subscriber did not ask for what
    /// came after an update that it has.
    pub(crate) fn excuse_dropped(&mut self, truth: &Truth, kept: &dyn Kept) {
        let gone = truth.eras[self.era].entries.iter().filter(|entry| is_gone(kept, entry));
        self.announced.extend(gone.map(|entry| entry.position));
    }

    /// Checks one block.
    pub(crate) fn receive(
        &mut self,
        truth: &Truth,
        kept: &dyn Kept,
        block: &Block,
    ) -> Result<Received, Violation> {
        if let Some(id) = &block.id {
            self.last_id = Some(id.clone());
        }
        if self.is_unknown {
            return Ok(match (block.has_data, block.kind.as_str()) {
                (true, "tidings") => Received::Notice(kind(block)?),
                (true, _) => Received::Update,
                (false, _) => Received::Place,
            });
        }
        if !block.has_data {
            let id = block.id.as_deref().unwrap_or_default();
            self.check_beginning(id)?;
            self.place(truth, kept, id)?;
            return Ok(Received::Place);
        }
        if block.kind == "tidings" {
            let kind = kind(block)?;
            self.notice(truth, kept, &kind, block)?;
            return Ok(Received::Notice(kind));
        }
        if self.is_ambiguous(truth, block) {
            self.is_unknown = true;
            return Ok(Received::Update);
        }
        self.update(truth, kept, block)?;
        Ok(Received::Update)
    }

    fn update(&mut self, truth: &Truth, kept: &dyn Kept, block: &Block) -> Result<(), Violation> {
        let id = block.id.as_deref().unwrap_or_default();
        let Some(entry) = self.entry(truth, block, id) else {
            return Err(Violation::new(
                Invariant::AsPublished,
                format!("the journal never showed the event {block:?}"),
            ));
        };
        let entry = entry.clone();
        self.check_content(truth, &entry, block)?;
        self.check_allowed(&entry)?;
        let position = entry.position;
        if position > self.delivers_until || (entry.private && position > self.private_until) {
            return Err(Violation::new(
                Invariant::RevokedEnds,
                format!("position {position} is after the revocation of the token"),
            ));
        }
        if position <= self.newest {
            let invariant = if self.delivered.contains(&position) {
                Invariant::NoRepeat
            } else {
                Invariant::InOrder
            };
            return Err(Violation::new(
                invariant,
                format!("position {position} comes after {}", self.newest),
            ));
        }
        self.advance(truth, kept, position.saturating_sub(1), Some(position))?;
        self.newest = position;
        self.delivered.insert(position);
        self.from = match &self.from {
            From::Last(end) if position < *end => From::Last(*end),
            _ => From::After(position),
        };
        Ok(())
    }

    fn entry<'a>(&self, truth: &'a Truth, block: &Block, id: &str) -> Option<&'a Entry> {
        let era = &truth.eras[self.era];
        if let Some((hub_id, position)) = position_of(id) {
            return era.at(position).filter(|entry| entry.hub_id == hub_id);
        }
        // A publisher's id may name several updates. The number is of one, which may be there twice
        // once its key was forgotten.
        let number = number_of(&block.data);
        let all = || era.entries.iter().filter(|one| one.id == id && one.number == number);
        all().find(|entry| entry.position > self.newest).or_else(|| all().next_back())
    }

    /// Whether an event may be one of several updates: those with the same publisher's id, which are
    /// there twice since their key was forgotten.
    fn is_ambiguous(&self, truth: &Truth, block: &Block) -> bool {
        let number = number_of(&block.data);
        let entries = &truth.eras[self.era].entries;
        let is_it = |one: &&Entry| Some(&one.id) == block.id.as_ref() && one.number == number;
        number.is_some() && entries.iter().filter(is_it).nth(1).is_some()
    }

    fn check_content(&self, truth: &Truth, entry: &Entry, block: &Block) -> Result<(), Violation> {
        if let Some(sent) = entry.number.and_then(|number| truth.sent.get(number as usize))
            && (sent.data != block.data || sent.kind != block.kind)
        {
            return Err(Violation::new(
                Invariant::AsPublished,
                format!("sent as {sent:?}, received as {block:?}"),
            ));
        }
        if entry.id != block.id.as_deref().unwrap_or_default() {
            return Err(Violation::new(
                Invariant::AsPublished,
                format!("the update has the id {:?}, the event {:?}", entry.id, block.id),
            ));
        }
        // Of a private update also only those that the token grants.
        let is_granted = |topic: &String| {
            !entry.private || self.wanted.grants.is_some_and(|grants| grants.selects(topic))
        };
        let selected = |topic: &&String| self.wanted.selects.selects(topic) && is_granted(topic);
        let shown: Vec<_> = match self.wanted.shows_topics {
            true => entry.topics.iter().filter(selected).cloned().collect(),
            false => Vec::new(),
        };
        if block.topics != shown {
            return Err(Violation::new(
                Invariant::OnlySelected,
                format!("the event shows the topics {:?}, not {shown:?}", block.topics),
            ));
        }
        Ok(())
    }

    fn check_allowed(&self, entry: &Entry) -> Result<(), Violation> {
        let what = || format!("{:?} received {entry:?}", self.wanted);
        if !self.wanted.selects.selects_any(&entry.topics) {
            return Err(Violation::new(Invariant::OnlySelected, what()));
        }
        if !self.wanted.may_read(entry) {
            return Err(Violation::new(Invariant::PrivateStaysPrivate, what()));
        }
        Ok(())
    }

    fn notice(
        &mut self,
        truth: &Truth,
        kept: &dyn Kept,
        kind: &str,
        block: &Block,
    ) -> Result<(), Violation> {
        let id = block.id.as_deref();
        match kind {
            "gap" => self.gap(truth, kept, id.unwrap_or_default()),
            "reset" => self.reset(truth, kept, id.unwrap_or_default()),
            "revoked" => {
                self.is_revoked = true;
                id.map_or(Ok(()), |id| self.place(truth, kept, id))
            }
            "draining" => {
                self.is_draining = true;
                id.map_or(Ok(()), |id| self.place(truth, kept, id))
            }
            "expiring" | "anonymous" | "slow" | "live" | "resumed" | "cursor" => {
                id.map_or(Ok(()), |id| self.place(truth, kept, id))
            }
            _ => Err(Violation::new(
                Invariant::WellFormed,
                format!("the hub sent the notice {block:?}"),
            )),
        }
    }

    /// A stream without a cursor begins at the end of the journal at some moment while it opens.
    fn check_beginning(&self, id: &str) -> Result<(), Violation> {
        if let (From::Between(low, high), Some((_, position))) = (&self.from, position_of(id))
            && !(*low..=*high).contains(&position)
        {
            return Err(Violation::new(
                Invariant::NoLoss,
                format!("a new stream begins after {position}, which is not from {low} to {high}"),
            ));
        }
        Ok(())
    }

    /// A place from which the stream continues, with no loss before it.
    fn place(&mut self, truth: &Truth, kept: &dyn Kept, id: &str) -> Result<(), Violation> {
        let Some((_, position)) = position_of(id) else {
            // A publisher's id, as it was requested or as the last event had it.
            return Ok(());
        };
        if position < self.newest {
            return Err(Violation::new(
                Invariant::CursorNeverBack,
                format!("the id {id} comes after position {}", self.newest),
            ));
        }
        self.advance(truth, kept, position, None)?;
        self.newest = position;
        self.from = match &self.from {
            From::Last(end) if position < *end => From::Last(*end),
            _ => From::After(position),
        };
        Ok(())
    }

    fn gap(&mut self, truth: &Truth, kept: &dyn Kept, id: &str) -> Result<(), Violation> {
        let Some((_, position)) = position_of(id) else {
            return Err(Violation::new(
                Invariant::WellFormed,
                format!("a gap has the id {id:?}, which is not the hub's"),
            ));
        };
        if position < self.newest {
            return Err(Violation::new(
                Invariant::CursorNeverBack,
                format!("a gap's id {id} comes after position {}", self.newest),
            ));
        }
        // Another update may have been meant.
        let is_ambiguous = matches!(self.from, From::OneOf(_)) && self.asked.is_some();
        let low = self.low();
        let earliest = match &self.from {
            From::OneOf(positions) => positions.iter().copied().min().unwrap_or(low),
            From::Between(low, _) => *low,
            From::Last(_) => 0,
            _ => low,
        };
        let era = &truth.eras[self.era];
        // The topics of dropped public updates are known by their hashes only, which no pattern can
        // be compared with.
        let is_vague = |entry: &Entry| {
            !entry.is_known || (self.wanted.selects.has_pattern() && !entry.private)
        };
        let later = &era.entries[era.after(earliest)..];
        // On NATS a hub knows the newest update about each topic, and not which of them were trimmed.
        let is_of_newer = kept.trimmed_through() > earliest
            && later.iter().any(|entry| self.wanted.is_for(entry) || is_vague(entry));
        // What was trimmed before the hub read it may have been anything.
        let is_unread_gone = kept.trimmed_through() > era.end.position.number();
        let is_true = is_ambiguous
            || is_unread_gone
            || kept.has_lost_shown()
            || is_of_newer
            || later.iter().any(|entry| {
                (self.wanted.is_for(entry) || is_vague(entry)) && is_gone(kept, entry)
            });
        self.gaps += 1;
        // One may be told twice if more was dropped while it was on its way.
        if !is_true || self.gaps > self.announced.len() + GAPS_ON_THE_WAY {
            let entries = era.entries[era.after(low)..].iter().map(|entry| {
                let gone = if is_gone(kept, entry) { "dropped" } else { "kept" };
                format!("{} {gone} {:?} {:?}", entry.position, entry.topics, entry.keep)
            });
            return Err(Violation::new(
                Invariant::GapTrue,
                format!(
                    "{:?} got a gap with the id {id} after position {low}, and nothing that it \
                     selects was dropped: {}",
                    self.wanted,
                    entries.collect::<Vec<_>>().join(", ")
                ),
            ));
        }
        let gone = era.entries[era.after(earliest)..].iter().filter(|entry| is_gone(kept, entry));
        self.announced.extend(gone.map(|entry| entry.position));
        self.announced_through = kept.trimmed_through();
        self.advance(truth, kept, position, None)?;
        self.newest = position;
        self.from = match self.from {
            From::Between(_, high) => From::Between(position, high.max(position)),
            // It continues after the earliest update that may have been meant.
            From::OneOf(_) => From::After(position),
            From::Last(end) if position < end => From::Last(end),
            _ => From::After(position.max(low)),
        };
        Ok(())
    }

    fn reset(&mut self, truth: &Truth, kept: &dyn Kept, id: &str) -> Result<(), Violation> {
        let Some((_, position)) = position_of(id) else {
            return Err(Violation::new(
                Invariant::WellFormed,
                format!("a reset has the id {id:?}, which is not the hub's"),
            ));
        };
        let era = &truth.eras[self.era];
        if let Some(asked) = &self.asked {
            let is_known = match position_of(asked) {
                Some((hub_id, position)) => era
                    .at(position)
                    .is_some_and(|entry| entry.hub_id == hub_id && !is_gone(kept, entry)),
                // Another update may have got the id since.
                None => era.entries.iter().any(|entry| {
                    entry.id == *asked
                        // A replaced update may still be in memory.
                        && entry.keep == Keep::All
                        && entry.position <= self.requested_at
                        && self.wanted.is_for(entry)
                        && !is_gone(kept, entry)
                }),
            };
            if is_known {
                return Err(Violation::new(
                    Invariant::ResetTrue,
                    format!("the journal has {asked}, and the stream got a reset"),
                ));
            }
        }
        self.newest = position;
        self.from = From::After(position);
        Ok(())
    }

    /// The position after which updates are due, at the latest.
    fn low(&self) -> u64 {
        match &self.from {
            From::After(position) => *position,
            From::OneOf(positions) => positions.iter().copied().max().unwrap_or(u64::MAX),
            From::Between(_, high) => *high,
            From::Earliest => 0,
            From::Last(end) => *end,
        }
    }

    /// The stream passes all positions up to `through`: none of the updates there is due.
    fn advance(
        &self,
        truth: &Truth,
        kept: &dyn Kept,
        through: u64,
        next: Option<u64>,
    ) -> Result<(), Violation> {
        let era = &truth.eras[self.era];
        let low = match &self.from {
            // The stream continues after one of them: after the one closest before the next event.
            From::OneOf(positions) => {
                let next = next.unwrap_or(through + 1);
                match positions.iter().copied().filter(|one| *one < next).max() {
                    Some(position) => position,
                    None => return Ok(()),
                }
            }
            _ => self.low(),
        };
        let (from, to) = (era.after(low), era.after(through));
        for entry in era.entries.get(from..to).unwrap_or_default() {
            if !self.wanted.is_for(entry) || self.may_be_omitted(era.entries.as_slice(), entry) {
                continue;
            }
            let is_gone = is_gone(kept, entry);
            // What the hub never showed may have been dropped before the stream began.
            let is_early = !entry.is_known && matches!(self.from, From::Earliest | From::Last(_));
            let is_announced = entry.position <= self.announced_through
                || self.announced.contains(&entry.position);
            if is_gone && (is_early || is_announced) {
                continue;
            }
            let invariant = if is_gone { Invariant::GapAnnounced } else { Invariant::NoLoss };
            return Err(Violation::new(
                invariant,
                format!(
                    "{:?} passed position {through} from {:?} without {entry:?}",
                    self.wanted, self.from
                ),
            ));
        }
        Ok(())
    }

    /// Whether the rule of retention lets this update be missing without a notice.
    fn may_be_omitted(&self, entries: &[Entry], entry: &Entry) -> bool {
        match entry.keep {
            Keep::None => true,
            Keep::Last => entry.topics.iter().all(|topic| {
                entries.iter().any(|newer| {
                    newer.position > entry.position
                        && newer.private == entry.private
                        && newer.topics.contains(topic)
                })
            }),
            _ => false,
        }
    }

    /// At rest: everything that is due was delivered, up to the end of the journal.
    pub(crate) fn check_complete(&self, truth: &Truth, kept: &dyn Kept) -> Result<(), Violation> {
        if self.is_unknown || self.is_revoked {
            return Ok(());
        }
        match self.advance(truth, kept, u64::MAX - 1, None) {
            // A loss is announced with the next event.
            Err(violation) if violation.invariant == Invariant::GapAnnounced => Ok(()),
            result => result,
        }
    }
}

fn is_gone(kept: &dyn Kept, entry: &Entry) -> bool {
    // A journal that cannot be read now cannot be blamed.
    entry.gone == Gone::Dropped || !kept.is_kept(entry).unwrap_or(false)
}

fn kind(block: &Block) -> Result<String, Violation> {
    let bad = || {
        Violation::new(Invariant::WellFormed, format!("a notice is not the hub's JSON: {block:?}"))
    };
    let value: serde_json::Value = serde_json::from_str(&block.data).map_err(|_| bad())?;
    value["kind"].as_str().map(str::to_owned).ok_or_else(bad)
}
