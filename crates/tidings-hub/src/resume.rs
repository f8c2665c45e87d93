//! Where a stream begins: what its subscriber has already, as a place in the journal, and what
//! it is told of what it missed.

use tidings_sse::EventId;

use crate::access::Rights;
use crate::hub::{Cursor, EARLIEST, LAST};
use crate::journal::{Before, Journal, Position, ReadError};
use crate::metrics::{GapCause, Metrics};
use crate::notice::Notice;
use crate::replay::{Due, Which};
use crate::selector::Selectors;

/// What a subscriber asks for, to be looked up in the journal.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) cursor: Cursor,
    pub(crate) selectors: Selectors,
    pub(crate) rights: Rights,
    /// It wants all notices, not only those of losses and ends.
    pub(crate) notices: bool,
}

/// The place that was found.
#[derive(Debug)]
pub(crate) struct Located {
    pub(crate) due: Due,
    /// Notices that come first.
    pub(crate) bytes: Vec<u8>,
    /// What the cursor headers say: the id after which the stream goes on, or `earliest`.
    pub(crate) cursor: String,
}

impl Asked {
    /// Looks for the place.
    ///
    /// # Errors
    /// If the journal cannot be read.
    pub(crate) async fn locate(
        self,
        journal: &dyn Journal,
        metrics: &Metrics,
    ) -> Result<Located, ReadError> {
        let Self { cursor, selectors, rights, notices } = self;
        let mut bytes = Vec::new();
        let mut tell = |notice: Notice, id: &EventId| {
            if notice.is_for_all() || notices {
                notice.encode(Some(id), None, &mut bytes);
            }
        };
        let edges = journal.edges();
        let mut due =
            Due { until: edges.last.position, epoch: Some(edges.last.epoch), ..Due::NOTHING };
        let cursor = match cursor {
            Cursor::Now => {
                due.after = edges.last.position;
                match edges.last.position {
                    Position::START => EARLIEST.to_owned(),
                    _ => edges.last.to_string(),
                }
            }
            Cursor::Earliest => {
                due.after = edges.first.previous();
                due.told = edges.gone;
                EARLIEST.to_owned()
            }
            Cursor::Last => {
                due.which = Which::Last;
                due.told = edges.gone;
                LAST.to_owned()
            }
            Cursor::Since(time, asked) => {
                let Before { place, gone_after } = journal.before(time).await?;
                due.after = place.position;
                match journal.missed(gone_after, &selectors, &rights).await? {
                    Some(missed) => {
                        metrics.gap(GapCause::Resume, 1);
                        due.told = missed.newest;
                        let goes_on = if missed.resume.position > place.position {
                            missed.resume
                        } else {
                            place
                        };
                        due.after = goes_on.position;
                        let oldest = missed.oldest.to_string();
                        tell(Notice::Gap { asked: Some(asked), oldest }, &goes_on.to_event_id());
                        EARLIEST.to_owned()
                    }
                    None => {
                        due.told = edges.gone;
                        tell(Notice::Resumed { asked: asked.clone() }, &place.to_event_id());
                        asked
                    }
                }
            }
            Cursor::After(asked) => match journal.find(&asked, &rights).await? {
                None => {
                    metrics.gap(GapCause::Reset, 1);
                    tell(Notice::Reset { asked }, &edges.last.to_event_id());
                    due.after = edges.last.position;
                    EARLIEST.to_owned()
                }
                Some(found) => match journal.missed(found, &selectors, &rights).await? {
                    Some(missed) => {
                        metrics.gap(GapCause::Resume, 1);
                        due.after = missed.resume.position;
                        due.told = missed.newest;
                        let oldest = missed.oldest.to_string();
                        let notice = Notice::Gap { asked: Some(asked), oldest };
                        tell(notice, &missed.resume.to_event_id());
                        EARLIEST.to_owned()
                    }
                    None => {
                        if let Ok(id) = EventId::new(&asked) {
                            tell(Notice::Resumed { asked: asked.clone() }, &id);
                        }
                        due.after = found;
                        asked
                    }
                },
            },
        };
        Ok(Located { due, bytes, cursor })
    }
}
