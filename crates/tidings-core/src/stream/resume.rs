//! Where a stream begins: what its subscriber has already, as a place in the journal, and what
//! it is told of what it missed.

use tidings_sse::EventId;

use crate::journal::{Before, Found, Journal, Missed, ReadError};
use crate::model::{Cursor, EARLIEST, LAST, Position, Rights, Selectors};
use crate::stream::notice::{GapCause, Notice};
use crate::stream::replay::{Due, DueUpdates};
use crate::stream::wire::{self, PlaceForm};

/// What a subscriber asks for, to be looked up in the journal.
#[derive(Clone, Debug)]
pub struct Asked {
    /// What it has already.
    pub cursor: Cursor,
    /// What it selects.
    pub selectors: Selectors,
    /// What it may read.
    pub rights: Rights,
    /// It wants all notices, not only those of losses and ends.
    pub notices: bool,
    /// How it is to be told its place before the first event.
    pub place: Option<PlaceForm>,
}

/// The place that was found.
#[derive(Debug)]
pub struct Located {
    /// What of the journal it gets before it is live.
    pub due: Due,
    /// Notices that come first.
    pub bytes: Vec<u8>,
    /// What the cursor headers say: the id after which the stream continues, or `earliest`.
    pub cursor: String,
}

impl Asked {
    /// Looks for the place.
    ///
    /// # Errors
    /// If the journal cannot be read.
    pub async fn locate(self, journal: &dyn Journal) -> Result<Located, ReadError> {
        let Self { cursor, selectors, rights, notices, place: tell_place } = self;
        let mut bytes = Vec::new();
        let tell = |notice: Notice, id: &EventId, bytes: &mut Vec<u8>| {
            if notice.is_for_all() || notices {
                notice.encode(Some(id), None, bytes);
            }
        };
        // Asked first: where the journal begins anew meanwhile, the place counts as foreign.
        let generation = journal.generation();
        let edges = journal.edges();
        let mut due = Due {
            until: edges.last.position,
            epoch: Some(edges.last.epoch),
            generation,
            ..Due::NOTHING
        };
        let cursor = match cursor {
            Cursor::Now => {
                due.after = edges.last.position;
                if let Some(form) = tell_place {
                    wire::place(form, &edges.last.to_event_id(), &mut bytes);
                }
                match edges.last.position {
                    Position::START => EARLIEST.to_owned(),
                    _ => edges.last.to_string(),
                }
            }
            Cursor::Earliest => {
                due.after = edges.first.previous();
                due.told = edges.gone;
                due.tell_place = tell_place;
                EARLIEST.to_owned()
            }
            Cursor::Last => {
                due.which = DueUpdates::Last;
                due.told = edges.gone;
                due.tell_place = tell_place;
                LAST.to_owned()
            }
            Cursor::Since(time, asked) => {
                let Before { place, gone_after } = journal.before(time).await?;
                due.after = place.position;
                match journal.missed(gone_after, &selectors, &rights).await? {
                    Some(missed) => {
                        due.gap = Some(GapCause::Resume);
                        due.told = missed.newest;
                        let goes_on = if missed.resume.position > place.position {
                            missed.resume
                        } else {
                            place
                        };
                        due.after = goes_on.position;
                        let oldest = missed.oldest.to_string();
                        tell(
                            Notice::Gap { asked: Some(asked), oldest },
                            &goes_on.to_event_id(),
                            &mut bytes,
                        );
                        EARLIEST.to_owned()
                    }
                    None => {
                        due.told = edges.gone;
                        tell(
                            Notice::Resumed { asked: asked.clone() },
                            &place.to_event_id(),
                            &mut bytes,
                        );
                        if let Some(form) = tell_place {
                            wire::place(form, &place.to_event_id(), &mut bytes);
                        }
                        asked
                    }
                }
            }
            Cursor::After(asked) => match journal.find(&asked, &selectors, &rights).await? {
                None => {
                    due.gap = Some(GapCause::Reset);
                    tell(Notice::Reset { asked }, &edges.last.to_event_id(), &mut bytes);
                    due.after = edges.last.position;
                    EARLIEST.to_owned()
                }
                Some(found) => match lost(found, journal, &selectors, &rights).await? {
                    Some(missed) => {
                        due.gap = Some(GapCause::Resume);
                        due.after = missed.resume.position;
                        due.told = missed.newest;
                        let oldest = missed.oldest.to_string();
                        let notice = Notice::Gap { asked: Some(asked), oldest };
                        tell(notice, &missed.resume.to_event_id(), &mut bytes);
                        EARLIEST.to_owned()
                    }
                    None => {
                        if let Ok(id) = EventId::new(&asked) {
                            tell(Notice::Resumed { asked: asked.clone() }, &id, &mut bytes);
                            if let Some(form) = tell_place {
                                wire::place(form, &id, &mut bytes);
                            }
                        }
                        due.after = found.place.position;
                        asked
                    }
                },
            },
        };
        Ok(Located { due, bytes, cursor })
    }
}

/// What such a subscriber missed, or may have missed, after the update that was found.
async fn lost(
    found: Found,
    journal: &dyn Journal,
    selectors: &Selectors,
    rights: &Rights,
) -> Result<Option<Missed>, ReadError> {
    let Found { place, is_certain } = found;
    let missed = journal.missed(place.position, selectors, rights).await?;
    // If another update was meant, which is gone, some between it and this one are lost.
    let doubt = Missed { oldest: place, resume: place, newest: place.position };
    Ok(missed.or((!is_certain).then_some(doubt)))
}
