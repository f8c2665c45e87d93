//! Where a stream begins in the journal: the place of the cursor that its subscriber requests, and
//! the notices about missed updates.

use tidings_sse::EventId;

use crate::journal::{Before, Found, Journal, LossNumber, Missed, ReadError};
use crate::model::{Cursor, EARLIEST, LAST, Position, Rights, Selectors};
use crate::stream::notice::{GapCause, Notice};
use crate::stream::start::{StartFrom, StartPlace, StartRequest};
use crate::stream::wire;

/// A place that was located.
#[derive(Debug)]
pub struct Located {
    /// Where the stream begins.
    pub place: StartPlace,
    /// Notices that come first.
    pub bytes: Vec<u8>,
    /// The value of the cursor headers: the id after which the stream continues, or `earliest`.
    pub cursor: String,
}

impl StartRequest {
    /// Asks the journal where the stream begins.
    ///
    /// # Errors
    /// If the journal cannot be read.
    pub async fn locate(self, journal: &dyn Journal) -> Result<Located, ReadError> {
        let Self { cursor, selectors, rights, notices, tell_place } = self;
        let mut bytes = Vec::new();
        let tell = |notice: Notice, id: &EventId, bytes: &mut Vec<u8>| {
            if notice.is_for_all() || notices {
                notice.encode(Some(id), None, bytes);
            }
        };
        // The generation is read first: if the journal loses updates after this line, the place
        // counts as foreign.
        let generation = journal.generation();
        let edges = journal.edges();
        let mut told = LossNumber::NONE;
        let (from, cursor) = match cursor {
            Cursor::Now => {
                if let Some(form) = tell_place {
                    wire::place(form, &edges.last.to_event_id(), &mut bytes);
                }
                let cursor = match edges.last.position {
                    Position::START => EARLIEST.to_owned(),
                    _ => edges.last.to_string(),
                };
                (StartFrom::After(edges.last.position), cursor)
            }
            Cursor::Earliest => {
                told = edges.last_loss;
                let after = edges.first.previous();
                (StartFrom::Earliest { after, tell_place }, EARLIEST.to_owned())
            }
            Cursor::Last => {
                told = edges.last_loss;
                (StartFrom::Last { tell_place }, LAST.to_owned())
            }
            Cursor::Since(time, asked) => {
                let Before { place, dropped_after } = journal.before(time).await?;
                match journal.missed(dropped_after, &selectors, &rights).await? {
                    Some(missed) => {
                        told = missed.number;
                        let resume = if missed.resume.position > place.position {
                            missed.resume
                        } else {
                            place
                        };
                        let oldest = missed.oldest.to_string();
                        let notice = Notice::Gap { asked: Some(asked), oldest };
                        tell(notice, &resume.to_event_id(), &mut bytes);
                        let from = StartFrom::AfterGap(resume.position, GapCause::Resume);
                        (from, EARLIEST.to_owned())
                    }
                    None => {
                        told = edges.last_loss;
                        let id = place.to_event_id();
                        tell(Notice::Resumed { asked: asked.clone() }, &id, &mut bytes);
                        if let Some(form) = tell_place {
                            wire::place(form, &id, &mut bytes);
                        }
                        (StartFrom::After(place.position), asked)
                    }
                }
            }
            Cursor::After(asked) => match journal.find(&asked, &selectors, &rights).await? {
                None => {
                    tell(Notice::Reset { asked }, &edges.last.to_event_id(), &mut bytes);
                    let from = StartFrom::AfterGap(edges.last.position, GapCause::Reset);
                    (from, EARLIEST.to_owned())
                }
                Some(found) => match lost(found, journal, &selectors, &rights).await? {
                    Some(missed) => {
                        told = missed.number;
                        let oldest = missed.oldest.to_string();
                        let notice = Notice::Gap { asked: Some(asked), oldest };
                        tell(notice, &missed.resume.to_event_id(), &mut bytes);
                        let from = StartFrom::AfterGap(missed.resume.position, GapCause::Resume);
                        (from, EARLIEST.to_owned())
                    }
                    None => {
                        if let Ok(id) = EventId::new(&asked) {
                            tell(Notice::Resumed { asked: asked.clone() }, &id, &mut bytes);
                            if let Some(form) = tell_place {
                                wire::place(form, &id, &mut bytes);
                            }
                        }
                        (StartFrom::After(found.place.position), asked)
                    }
                },
            },
        };
        let place = StartPlace { from, told, end: edges.last, generation };
        Ok(Located { place, bytes, cursor })
    }
}

/// The updates that such a subscriber missed, or may have missed, after the one that was found.
async fn lost(
    found: Found,
    journal: &dyn Journal,
    selectors: &Selectors,
    rights: &Rights,
) -> Result<Option<Missed>, ReadError> {
    let Found { place, is_certain } = found;
    let missed = journal.missed(place.position, selectors, rights).await?;
    // If another update was meant, which was dropped, some between it and this one are missed.
    let doubt = Missed { oldest: place, resume: place, number: LossNumber::NONE };
    Ok(missed.or((!is_certain).then_some(doubt)))
}
