//! What must hold after every step, in plain words, each with the promise that it comes from.

use std::fmt;

/// A statement that no step may break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each has its statement below")]
pub enum Invariant {
    AcknowledgedSurvives,
    AnsweredTruly,
    AsPublished,
    NoLoss,
    NoRepeat,
    InOrder,
    GapAnnounced,
    GapTrue,
    ResetTrue,
    PrivateStaysPrivate,
    OnlySelected,
    RevokedEnds,
    BoundsInBytes,
    NothingLeaks,
    EveryRequestAnswered,
    CursorNeverBack,
    DrainedHubEnds,
    Idempotent,
    BatchWhole,
    PresenceTrue,
    WellFormed,
    NoPanic,
}

impl Invariant {
    /// All of them.
    pub const ALL: [Self; 22] = [
        Self::AcknowledgedSurvives,
        Self::AnsweredTruly,
        Self::AsPublished,
        Self::NoLoss,
        Self::NoRepeat,
        Self::InOrder,
        Self::GapAnnounced,
        Self::GapTrue,
        Self::ResetTrue,
        Self::PrivateStaysPrivate,
        Self::OnlySelected,
        Self::RevokedEnds,
        Self::BoundsInBytes,
        Self::NothingLeaks,
        Self::EveryRequestAnswered,
        Self::CursorNeverBack,
        Self::DrainedHubEnds,
        Self::Idempotent,
        Self::BatchWhole,
        Self::PresenceTrue,
        Self::WellFormed,
        Self::NoPanic,
    ];

    /// Its name in reports and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::AcknowledgedSurvives => "acknowledged-survives",
            Self::AnsweredTruly => "answered-truly",
            Self::AsPublished => "as-published",
            Self::NoLoss => "no-loss",
            Self::NoRepeat => "no-repeat",
            Self::InOrder => "in-order",
            Self::GapAnnounced => "gap-announced",
            Self::GapTrue => "gap-true",
            Self::ResetTrue => "reset-true",
            Self::PrivateStaysPrivate => "private-stays-private",
            Self::OnlySelected => "only-selected",
            Self::RevokedEnds => "revoked-ends",
            Self::BoundsInBytes => "bounds-in-bytes",
            Self::NothingLeaks => "nothing-leaks",
            Self::EveryRequestAnswered => "every-request-answered",
            Self::CursorNeverBack => "cursor-never-back",
            Self::DrainedHubEnds => "drained-hub-ends",
            Self::Idempotent => "idempotent",
            Self::BatchWhole => "batch-whole",
            Self::PresenceTrue => "presence-true",
            Self::WellFormed => "well-formed",
            Self::NoPanic => "no-panic",
        }
    }

    /// What it states.
    pub fn statement(self) -> &'static str {
        match self {
            Self::AcknowledgedSurvives => {
                "An acknowledged update is in the journal. With `sync` = always it is there after \
                 the process was killed and after a power cut; with an interval it is there after \
                 the process was killed. The tail shows no update that such a crash removes."
            }
            Self::AnsweredTruly => {
                "A publish that was refused with a 4xx published nothing. The ids of an answer are \
                 those of its updates."
            }
            Self::AsPublished => {
                "Every update has the topics, data, type, id and privacy with which it was sent, in \
                 the journal and on every stream."
            }
            Self::NoLoss => {
                "A stream delivers every update that its subscriber selects and may read, from \
                 where it begins to where it ends, and a stream that follows it from its last event \
                 id continues there. Only dropped updates are missing."
            }
            Self::NoRepeat => {
                "No stream delivers an update twice, and neither do streams that follow one another."
            }
            Self::InOrder => "Every stream delivers updates in the order of their positions.",
            Self::GapAnnounced => {
                "If dropped updates are missing from a stream, a notice `gap` comes before the next \
                 event."
            }
            Self::GapTrue => {
                "A notice `gap` comes only if an update that this subscriber would have received was \
                 dropped, or may have been."
            }
            Self::ResetTrue => "A notice `reset` comes only if the journal does not know the id.",
            Self::PrivateStaysPrivate => {
                "No stream delivers a private update that its token does not grant."
            }
            Self::OnlySelected => {
                "No stream delivers an update that its subscriber did not select, and the option \
                 `topics` shows exactly the selected topics of each."
            }
            Self::RevokedEnds => {
                "After a token was revoked or has expired, no stream that it opened delivers a later \
                 private update, and all of them end."
            }
            Self::BoundsInBytes => {
                "What waits in the hub stays within its bounds in bytes: requests, selectors, \
                 windows, updates that wait for the journal, and the journal in memory."
            }
            Self::NothingLeaks => "When all clients have left, the hub holds nothing for them.",
            Self::EveryRequestAnswered => {
                "Every complete request is answered within the documented times, whatever the \
                 journal does."
            }
            Self::CursorNeverBack => {
                "The ids of one stream never name an earlier position than before."
            }
            Self::DrainedHubEnds => "A hub that is drained and stopped ends all streams, and ends.",
            Self::Idempotent => "Under one idempotency key the updates are published once.",
            Self::BatchWhole => {
                "The updates of one request are published all or none, in order and adjacent."
            }
            Self::PresenceTrue => {
                "Each subscription's start and end is announced once, in this order, and the list \
                 has exactly the open ones."
            }
            Self::WellFormed => {
                "Every byte that the hub sends is a response of HTTP/1 or an event stream."
            }
            Self::NoPanic => "No code panics.",
        }
    }

    /// Where the promise is made.
    pub fn source(self) -> &'static str {
        match self {
            Self::AcknowledgedSurvives => "docs/journal.md, `sync`",
            Self::AnsweredTruly | Self::BatchWhole | Self::Idempotent | Self::AsPublished => {
                "docs/interfaces.md, Publish"
            }
            Self::NoLoss | Self::NoRepeat | Self::InOrder => "README.md, promises",
            Self::GapAnnounced | Self::GapTrue | Self::ResetTrue => {
                "docs/interfaces.md, Where a stream begins; Notices"
            }
            Self::PrivateStaysPrivate | Self::RevokedEnds => "docs/interfaces.md, Access",
            Self::OnlySelected => "docs/interfaces.md, Subscribe",
            Self::BoundsInBytes | Self::NothingLeaks => "docs/interfaces.md, Limits",
            Self::EveryRequestAnswered => "docs/interfaces.md, Publish; Limits",
            Self::CursorNeverBack => "docs/interfaces.md, Ids",
            Self::DrainedHubEnds => "docs/interfaces.md, Signals and exit codes",
            Self::PresenceTrue => "docs/interfaces.md, Access (presence events)",
            Self::WellFormed => "RFC 9112; HTML 9.2",
            Self::NoPanic => "ARCHITECTURE.md, Invariants",
        }
    }
}

/// A broken invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The invariant.
    pub invariant: Invariant,
    /// What was seen, and what should have been.
    pub what: String,
}

impl Violation {
    pub(crate) fn new(invariant: Invariant, what: impl Into<String>) -> Self {
        Self { invariant, what: what.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant.name(), self.what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_invariant_is_listed_once_and_has_a_name_of_its_own() {
        for (index, one) in Invariant::ALL.into_iter().enumerate() {
            assert_eq!(one as usize, index);
            let of_the_name = Invariant::ALL.into_iter().filter(|other| other.name() == one.name());
            assert_eq!(of_the_name.count(), 1, "{}", one.name());
            assert!(!one.statement().is_empty() && !one.source().is_empty());
        }
    }
}
