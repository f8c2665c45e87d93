//! The list of subscriptions as a body: made piece by piece, beside the shards, and no faster than
//! the client reads it.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Frame;
use serde_json::value::RawValue;

use crate::limits::LIST_BYTES;
use crate::presence::{ListPiece, ListStart, Presence, SubscriptionPath, piece};

type Making = Pin<Box<dyn Future<Output = ListPiece> + Send>>;

/// A list of documents between two texts.
pub(super) struct Listing {
    presence: Arc<Presence>,
    named: Arc<SubscriptionPath>,
    next: Next,
    /// Documents of other hubs.
    others: std::vec::IntoIter<Box<RawValue>>,
    end: &'static str,
    is_first: bool,
}

enum Next {
    Begin(String),
    /// The subscriptions of this hub from a place on.
    Own(ListStart),
    Making(Making),
    Others,
    Done,
}

impl Listing {
    pub(super) fn new(
        presence: Arc<Presence>,
        named: SubscriptionPath,
        begin: String,
        others: Vec<Box<RawValue>>,
        end: &'static str,
    ) -> Self {
        let others = others.into_iter();
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
            let made = tokio::task::spawn_blocking(work).await;
            // The runtime is shutting down, and the connection with it.
            made.unwrap_or_else(|_| ListPiece { text: String::new(), next: None })
        })
    }

    fn of_others(&mut self) -> String {
        let mut text = String::new();
        while text.len() < LIST_BYTES
            && let Some(document) = self.others.next()
        {
            if !std::mem::take(&mut self.is_first) {
                text.push(',');
            }
            text.push_str(document.get());
        }
        text
    }
}

impl http_body::Body for Listing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        loop {
            let text = match &mut self.next {
                Next::Begin(begin) => {
                    let begin = std::mem::take(begin);
                    self.next = Next::Own(ListStart::default());
                    begin
                }
                Next::Own(from) => {
                    let from = *from;
                    self.next = Next::Making(self.make(from));
                    continue;
                }
                Next::Making(making) => {
                    let ListPiece { text, next } = ready!(making.as_mut().poll(context));
                    self.is_first &= text.is_empty();
                    self.next = next.map_or(Next::Others, Next::Own);
                    text
                }
                Next::Others => {
                    let text = self.of_others();
                    if text.is_empty() {
                        self.next = Next::Done;
                        self.end.to_owned()
                    } else {
                        text
                    }
                }
                Next::Done => return Poll::Ready(None),
            };
            if !text.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(text.into()))));
            }
        }
    }
}
