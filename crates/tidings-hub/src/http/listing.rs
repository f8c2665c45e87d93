//! The list of subscriptions as a body. It is made piece by piece, beside the shards, and no faster
//! than the client reads it. Subscriptions of other hubs are in memory until they are read, so they
//! are sent first.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Frame;
use parking_lot::Mutex;
use tokio::task::AbortHandle;
use tokio::time::sleep;

use crate::beside;
use crate::hub::Documents;
use crate::limits::{LIST_BYTES, LIST_TIME};
use crate::presence::{ListPiece, ListStart, Presence, SubscriptionPath, piece};

type Making = Pin<Box<dyn Future<Output = ListPiece> + Send>>;

/// A list of documents between two texts.
pub(super) struct Listing {
    presence: Arc<Presence>,
    named: Arc<SubscriptionPath>,
    next: Next,
    others: OfOthers,
    end: &'static str,
    is_first: bool,
}

enum Next {
    Begin(String),
    Others,
    /// The subscriptions of this hub from a start on.
    Own(ListStart),
    Making(Making),
    End,
    Done,
}

/// The documents of other hubs. They are dropped when the client's time to read them is over, even
/// if no task polls the list until then.
struct OfOthers {
    documents: Arc<Mutex<Option<Documents>>>,
    end: Option<AbortHandle>,
}

impl OfOthers {
    fn new(documents: Documents) -> Self {
        let is_empty = documents.is_empty();
        let documents = Arc::new(Mutex::new(Some(documents)));
        let weak = Arc::downgrade(&documents);
        let end = async move {
            sleep(LIST_TIME).await;
            if let Some(documents) = weak.upgrade() {
                documents.lock().take();
            }
        };
        let end = (!is_empty).then(|| tokio::spawn(end).abort_handle());
        Self { documents, end }
    }

    /// The next bytes, `None` at the end.
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        let mut documents = self.documents.lock();
        let Some(left) = documents.as_mut() else {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the subscriptions of other hubs were not read in time",
            ));
        };
        let piece = left.next(LIST_BYTES);
        if piece.is_none() {
            // Their room is for other lists now.
            *documents = None;
            self.end.take().inspect(AbortHandle::abort);
        }
        Ok(piece)
    }
}

impl Drop for OfOthers {
    fn drop(&mut self) {
        self.end.take().inspect(AbortHandle::abort);
    }
}

impl Listing {
    pub(super) fn new(
        presence: Arc<Presence>,
        named: SubscriptionPath,
        begin: String,
        others: Documents,
        end: &'static str,
    ) -> Self {
        let others = OfOthers::new(others);
        let next = Next::Begin(begin);
        Self { presence, named: Arc::new(named), next, others, end, is_first: true }
    }

    /// Makes the next piece on a thread of its own, which holds its turn until it is done.
    fn make(&self, from: ListStart) -> Making {
        let (presence, named) = (Arc::clone(&self.presence), Arc::clone(&self.named));
        let is_first = self.is_first;
        Box::pin(async move {
            let turn = presence.listing_turns().acquire_owned().await;
            let work = move || {
                let _turn = turn;
                piece(&presence, &named, from, is_first)
            };
            let made = beside::run(work).await;
            // The runtime is shutting down, and the connection with it.
            made.unwrap_or_else(|_| ListPiece { text: String::new(), next: None })
        })
    }
}

impl http_body::Body for Listing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            let text = match &mut self.next {
                Next::Begin(begin) => {
                    let begin = std::mem::take(begin);
                    self.next = Next::Others;
                    Bytes::from(begin)
                }
                Next::Others => match self.others.next() {
                    Ok(Some(piece)) => {
                        self.is_first = false;
                        piece
                    }
                    Ok(None) => {
                        self.next = Next::Own(ListStart::default());
                        continue;
                    }
                    Err(error) => {
                        self.next = Next::Done;
                        return Poll::Ready(Some(Err(error)));
                    }
                },
                Next::Own(from) => {
                    let from = *from;
                    self.next = Next::Making(self.make(from));
                    continue;
                }
                Next::Making(making) => {
                    let ListPiece { text, next } = ready!(making.as_mut().poll(context));
                    self.is_first &= text.is_empty();
                    self.next = next.map_or(Next::End, Next::Own);
                    Bytes::from(text)
                }
                Next::End => {
                    self.next = Next::Done;
                    Bytes::from_static(self.end.as_bytes())
                }
                Next::Done => return Poll::Ready(None),
            };
            if !text.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(text))));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tidings_core::journal::AnswerRoom;

    use super::*;
    use crate::budget::{Budget, Growing, Standing};

    const ANSWERS: [&str; 3] = ["[ {\"a\":1},{\"b\":[]}]", "[]", "[{\"c\":\"]\"}]"];

    async fn documents(budget: &Arc<Budget>) -> Documents {
        let room = Growing::begin(budget, None, Standing::Anyone, LIST_TIME).await.unwrap();
        let mut room = AnswerRoom::new(room);
        room.grow(200_000).unwrap();
        Documents::of_answers(ANSWERS.map(|one| one.as_bytes().to_vec()), room)
    }

    #[tokio::test]
    async fn documents_of_other_hubs_return_their_room_when_they_are_read() {
        let budget = Budget::new(4 << 20);
        let documents = documents(&budget).await;
        assert_eq!(documents.first(), Some(serde_json::json!({ "a": 1 })));
        let mut others = OfOthers::new(documents);
        let mut text = Vec::new();
        while let Some(piece) = others.next().unwrap() {
            assert!(budget.used() >= 200_000);
            text.extend_from_slice(&piece);
        }
        let list: serde_json::Value =
            serde_json::from_str(&format!("[{}]", String::from_utf8(text).unwrap())).unwrap();
        assert_eq!(list, serde_json::json!([{ "a": 1 }, { "b": [] }, { "c": "]" }]));
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_holds_documents_of_other_hubs_for_a_time_only() {
        let budget = Budget::new(4 << 20);
        let mut others = OfOthers::new(documents(&budget).await);
        assert!(others.next().unwrap().is_some());
        sleep(LIST_TIME - LIST_TIME / 10).await;
        assert!(budget.used() >= 200_000);
        sleep(LIST_TIME / 5).await;
        assert_eq!(budget.used(), 0);
        assert_eq!(others.next().unwrap_err().kind(), io::ErrorKind::TimedOut);
        drop(OfOthers::new(documents(&budget).await));
        assert_eq!(budget.used(), 0);
    }
}
