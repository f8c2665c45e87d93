//! What was sent, and what the journal made of it: the measure of everything that a subscriber
//! receives.
//!
//! The journal's tail is read after every step. An *era* is a time in which positions keep their
//! meaning: a new one begins with a restart, and whenever the journal reports a reset.

use std::collections::BTreeMap;
use std::time::SystemTime;

use tidings_core::journal::Keep;
use tidings_core::model::{HubId, Record};

use crate::invariants::{Invariant, Violation};
use crate::setting::{JournalKind, Setting};

/// What became of a request to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Unanswered,
    Acknowledged(Vec<String>),
    /// A 4xx: nothing was published.
    Refused(u16),
    /// A 5xx, or no answer: it may have been published.
    Unknown,
}

/// One update, as its publisher sent it. Its data begins with its number.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) topics: Vec<String>,
    pub(crate) data: String,
    pub(crate) kind: String,
    pub(crate) private: bool,
    pub(crate) own_id: Option<String>,
    /// The first update of its request, and the number of updates of the request.
    pub(crate) batch: (u32, u32),
    pub(crate) key: Option<String>,
    /// How often it was sent.
    pub(crate) attempts: u32,
    pub(crate) fate: Fate,
}

/// Why an update is no longer in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gone {
    No,
    Dropped,
}

/// One update in the journal.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) position: u64,
    pub(crate) id: String,
    pub(crate) hub_id: HubId,
    /// `None` for updates of the hub itself and of other nodes.
    pub(crate) number: Option<u32>,
    pub(crate) topics: Vec<String>,
    pub(crate) private: bool,
    pub(crate) presence: bool,
    pub(crate) time: SystemTime,
    pub(crate) gone: Gone,
    /// The journal knows what it was about, also once it has dropped it.
    pub(crate) is_known: bool,
    /// Whether a subscriber may miss it without a notice, as its rule of retention says.
    pub(crate) keep: Keep,
}

/// The updates of a time in which positions keep their meaning.
#[derive(Clone, Debug)]
pub(crate) struct Era {
    /// In the order of their positions.
    pub(crate) entries: Vec<Entry>,
    pub(crate) end: HubId,
    /// The journal's end when the era began.
    pub(crate) began_at: u64,
}

impl Era {
    /// The index of the first entry after this position.
    pub(crate) fn after(&self, position: u64) -> usize {
        self.entries.partition_point(|entry| entry.position <= position)
    }

    pub(crate) fn at(&self, position: u64) -> Option<&Entry> {
        let index = self.entries.binary_search_by_key(&position, |entry| entry.position).ok()?;
        Some(&self.entries[index])
    }
}

/// Everything that was sent and stored.
#[derive(Debug)]
pub(crate) struct Truth {
    pub(crate) sent: Vec<Sent>,
    pub(crate) eras: Vec<Era>,
    /// The positions that each number has in the present era.
    places: BTreeMap<u32, u64>,
}

impl Truth {
    pub(crate) fn new() -> Self {
        Self { sent: Vec::new(), eras: Vec::new(), places: BTreeMap::new() }
    }

    pub(crate) fn era(&self) -> &Era {
        self.eras.last().expect("a hub has started")
    }

    /// The end of what the journal has shown.
    pub(crate) fn shown(&self) -> u64 {
        self.era().end.position.number()
    }

    fn era_mut(&mut self) -> &mut Era {
        self.eras.last_mut().expect("a hub has started")
    }

    /// The position of an update in the present era.
    pub(crate) fn place(&self, number: u32) -> Option<&Entry> {
        self.era().at(*self.places.get(&number)?)
    }

    /// A key is forgotten with the update that was published under it.
    pub(crate) fn forget_place(&mut self, number: u32) {
        self.places.remove(&number);
    }

    /// Begins an era with what the journal has now. What the era before had besides counts as
    /// dropped. Returns those entries.
    pub(crate) fn begin_era(
        &mut self,
        setting: &Setting,
        records: &[std::sync::Arc<Record>],
        end: HubId,
    ) -> Result<Vec<Entry>, Violation> {
        let before = match self.eras.last() {
            Some(era) if era.end.epoch == end.epoch => era.entries.clone(),
            _ => Vec::new(),
        };
        self.places.clear();
        self.eras.push(Era { entries: Vec::new(), end, began_at: end.position.number() });
        let mut missing = Vec::new();
        let mut before = before.into_iter().peekable();
        for record in records {
            let position = record.position.number();
            while let Some(old) = before.next_if(|old| old.position < position) {
                missing.push(old);
            }
            let same = before.next_if(|old| old.position == position);
            if let Some(old) = same.filter(|old| old.hub_id != record.hub_id()) {
                missing.push(old);
            }
            if setting.journal == JournalKind::JetStream
                && let Some(number) = number_of(record.update.event().data())
            {
                // Its key may have been forgotten in between: then it is there twice.
                self.forget_place(number);
            }
            self.add(setting, record)?;
        }
        missing.extend(before);
        self.era_mut().end = end;
        Ok(missing)
    }

    /// Keeps in this era, as dropped, entries of the era before.
    pub(crate) fn keep_dropped(&mut self, dropped: Vec<Entry>) {
        let Self { eras, places, .. } = self;
        let era = eras.last_mut().expect("a hub has started");
        for mut entry in dropped {
            entry.gone = Gone::Dropped;
            let at = era.after(entry.position);
            let is_taken = at > 0 && era.entries[at - 1].position == entry.position;
            if !is_taken && entry.position <= era.end.position.number() {
                // With an update that the journal has lost without a trace, its key is lost too.
                if let Some(number) = entry.number.filter(|_| entry.is_known) {
                    places.insert(number, entry.position);
                }
                era.entries.insert(at, entry);
            }
        }
    }

    /// Adds an update that the journal has shown.
    pub(crate) fn add(&mut self, setting: &Setting, record: &Record) -> Result<(), Violation> {
        let position = record.position.number();
        let update = &record.update;
        let topics: Vec<_> =
            update.topics().iter().map(|topic| topic.as_str().to_owned()).collect();
        let data = update.event().data();
        let number = number_of(data);
        let rule = setting.rules.iter().find(|rule| rule.topics.selects_any(&topics));
        let keep = rule.map_or(Keep::All, |rule| rule.keep());
        if let Some(number) = number {
            self.check_sent(number, record, &topics)?;
            if let Some(first) = self.places.insert(number, position) {
                return Err(Violation::new(
                    Invariant::Idempotent,
                    format!("update {number} is at position {first} and again at {position}"),
                ));
            }
            self.check_batch(setting, number, position)?;
        }
        let is_after = self.era().entries.last().is_none_or(|last| last.position < position);
        if !is_after {
            return Err(Violation::new(
                Invariant::InOrder,
                format!("the tail shows position {position} after a later one"),
            ));
        }
        let entry = Entry {
            position,
            id: record.id().as_str().to_owned(),
            hub_id: record.hub_id(),
            number,
            topics,
            private: update.is_private(),
            presence: update.is_presence(),
            time: record.time,
            gone: Gone::No,
            is_known: true,
            keep: if update.is_presence() { Keep::All } else { keep },
        };
        let era = self.era_mut();
        era.end = entry.hub_id;
        era.entries.push(entry);
        Ok(())
    }

    /// Notes the end of the journal, which may be after its newest update.
    pub(crate) fn pass(&mut self, end: HubId) {
        self.era_mut().end = end;
    }

    fn check_sent(&self, number: u32, record: &Record, topics: &[String]) -> Result<(), Violation> {
        let Some(sent) = self.sent.get(number as usize) else {
            return Err(Violation::new(
                Invariant::AsPublished,
                format!("update {number} was never sent"),
            ));
        };
        if let Fate::Refused(status) = sent.fate {
            return Err(Violation::new(
                Invariant::AnsweredTruly,
                format!("update {number} was refused with {status} and is published"),
            ));
        }
        let event = record.update.event();
        let is_same = sent.topics == topics
            && sent.data == event.data()
            && sent.kind == kind(event.event_type())
            && sent.private == record.update.is_private()
            && sent.own_id.as_deref().is_none_or(|id| id == record.id().as_str());
        if !is_same {
            return Err(Violation::new(
                Invariant::AsPublished,
                format!("update {number} was sent as {sent:?} and is stored as {record:?}"),
            ));
        }
        Ok(())
    }

    /// The updates of one request are adjacent, from the first on.
    fn check_batch(&self, setting: &Setting, number: u32, position: u64) -> Result<(), Violation> {
        let (first, _) = self.sent[number as usize].batch;
        if number == first {
            // A stream that has lost or trimmed the first ones may get the whole request again.
            let is_first_time = setting.journal != JournalKind::JetStream;
            let later = self.places.range(number + 1..number + self.sent[number as usize].batch.1);
            if let Some((later, at)) = later.last().filter(|_| is_first_time) {
                return Err(Violation::new(
                    Invariant::BatchWhole,
                    format!("update {number} is at {position}, update {later} before it at {at}"),
                ));
            }
            return Ok(());
        }
        // The one before it may have been trimmed before a restart.
        let before = self.places.get(&(number - 1));
        if before.is_some_and(|before| before + 1 != position) {
            return Err(Violation::new(
                Invariant::BatchWhole,
                format!("update {number} is at {position}, the one before it at {before:?}"),
            ));
        }
        Ok(())
    }

    /// An update that is published, of a request whose last one is not. Only those that are kept
    /// count: what is trimmed is trimmed from the beginning.
    pub(crate) fn torn_batch(&self, is_kept: impl Fn(&Entry) -> bool) -> Option<u32> {
        self.places.iter().map(|(number, at)| (*number, *at)).find_map(|(number, at)| {
            let (first, count) = self.sent[number as usize].batch;
            let is_whole = self.places.contains_key(&(first + count - 1));
            (!is_whole && self.era().at(at).is_some_and(&is_kept)).then_some(number)
        })
    }
}

/// The type as it was sent: none is `message`.
fn kind(event_type: &str) -> &str {
    if event_type == "message" { "" } else { event_type }
}

/// The number at the beginning of an update's data.
pub(crate) fn number_of(data: &str) -> Option<u32> {
    data.strip_prefix('n')?.split(' ').next()?.parse().ok()
}

/// The position in an id of the hub.
pub(crate) fn position_of(id: &str) -> Option<(HubId, u64)> {
    let id: HubId = id.parse().ok()?;
    Some((id, id.position.number()))
}
