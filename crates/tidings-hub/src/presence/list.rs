//! The list of subscriptions as text, piece by piece.

use super::members::{ListStart, Presence};
use super::path::SubscriptionPath;
use crate::limits::LIST_BYTES;

/// Documents with the commas before them, and the start of the next piece.
#[derive(Debug)]
pub(crate) struct ListPiece {
    pub(crate) text: String,
    pub(crate) next: Option<ListStart>,
}

/// The documents of this hub from a start on, as many as fit into a piece.
pub(crate) fn piece(
    presence: &Presence,
    named: &SubscriptionPath,
    from: ListStart,
    mut is_first: bool,
) -> ListPiece {
    let mut text = String::new();
    let next = presence.list(
        from,
        |selector| named.selects(selector),
        |subscription| {
            if !std::mem::take(&mut is_first) {
                text.push(',');
            }
            text.push_str(&subscription.document(named.form(), true).to_string());
            text.len() < LIST_BYTES
        },
    );
    ListPiece { text, next }
}
