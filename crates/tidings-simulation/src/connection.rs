//! One connection of a client: requests under way, their answers, and the stream that one of them
//! becomes.

use std::collections::VecDeque;

use crate::http::{Head, Part, ResponseReader};
use crate::invariants::{Invariant, Violation};
use crate::network::{ClientEnd, HubSide};
use crate::stream::{Block, StreamReader};

/// What a request is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Publish {
        first: u32,
        count: u32,
    },
    Stream(usize),
    List,
    ListWithRevoked,
    Revoke {
        token: usize,
        jti: String,
    },
    /// The list from which an operator chooses a subscription to end.
    EndSubscription {
        subscriber: usize,
    },
    Delete,
}

/// A request under way.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) asked: Asked,
    head: Option<Head>,
    body: Vec<u8>,
}

/// What came over a connection.
#[derive(Debug)]
pub(crate) enum Arrived {
    /// A complete answer.
    Answer { asked: Asked, head: Head, body: Vec<u8> },
    /// The head of a stream of this subscriber.
    StreamHead { subscriber: usize, head: Head },
    /// A block of the stream of this subscriber.
    Block { subscriber: usize, block: Block },
    /// The connection has ended.
    Ended,
}

/// A connection of a client.
pub(crate) struct Connection {
    pub(crate) end: ClientEnd,
    pub(crate) is_for_bodies: bool,
    reader: ResponseReader,
    pub(crate) exchanges: VecDeque<Exchange>,
    stream: Option<(usize, StreamReader)>,
    /// The client reads only when an act says so.
    pub(crate) is_slow: bool,
    /// Part of a request was never sent.
    pub(crate) is_cut: bool,
    has_ended: bool,
    /// Requests so far.
    sent: usize,
    /// Everything that was sent has arrived at the hub while it read.
    has_arrived: bool,
}

impl Connection {
    pub(crate) fn new(end: ClientEnd, is_for_bodies: bool) -> Self {
        Self {
            end,
            is_for_bodies,
            reader: ResponseReader::default(),
            exchanges: VecDeque::new(),
            stream: None,
            is_slow: false,
            is_cut: false,
            has_ended: false,
            sent: 0,
            has_arrived: false,
        }
    }

    /// Whether another request may be sent.
    pub(crate) fn is_idle(&self) -> bool {
        self.exchanges.is_empty() && self.stream.is_none() && !self.is_cut && !self.has_ended
    }

    /// The subscriber whose stream this is, or is to become.
    pub(crate) fn subscriber(&self) -> Option<usize> {
        if let Some((subscriber, _)) = &self.stream {
            return Some(*subscriber);
        }
        self.exchanges.iter().find_map(|exchange| match exchange.asked {
            Asked::Stream(subscriber) => Some(subscriber),
            _ => None,
        })
    }

    /// Whether its stream has begun.
    pub(crate) fn has_stream(&self) -> bool {
        self.stream.is_some()
    }

    pub(crate) fn send(&mut self, asked: Asked, request: &[u8]) {
        self.end.send(request);
        self.sent += 1;
        self.has_arrived = false;
        self.exchanges.push_back(Exchange { asked, head: None, body: Vec::new() });
    }

    /// Reads up to `max` bytes.
    pub(crate) fn read(&mut self, max: usize) -> Result<Vec<Arrived>, Violation> {
        let mut arrived = Vec::new();
        self.has_arrived |= self.end.unsent() == 0 && self.end.hub() == HubSide::Open;
        let bytes = self.end.received(max);
        if !bytes.is_empty() {
            let parts = self.reader.push(&bytes).map_err(malformed)?;
            for part in parts {
                self.take(part, &mut arrived)?;
            }
        }
        if !self.has_ended && self.end.unread() == 0 && self.end.hub() != HubSide::Open {
            self.has_ended = true;
            arrived.push(Arrived::Ended);
        }
        Ok(arrived)
    }

    fn take(&mut self, part: Part, arrived: &mut Vec<Arrived>) -> Result<(), Violation> {
        match part {
            Part::Head(head) => {
                let Some(exchange) = self.exchanges.front_mut() else {
                    // A connection without a request may be told why it ends (408).
                    return match head.status {
                        408 => Ok(()),
                        status => Err(malformed(format!("an answer {status} to no request"))),
                    };
                };
                if head.status == 200
                    && head.is_stream()
                    && let Asked::Stream(subscriber) = exchange.asked
                {
                    self.exchanges.pop_front();
                    self.stream = Some((subscriber, StreamReader::default()));
                    arrived.push(Arrived::StreamHead { subscriber, head });
                } else {
                    exchange.head = Some(head);
                }
            }
            Part::Body(bytes) => match (&mut self.stream, self.exchanges.front_mut()) {
                (Some((subscriber, reader)), _) => {
                    let blocks = reader.push(&bytes).map_err(malformed)?;
                    let subscriber = *subscriber;
                    arrived.extend(
                        blocks.into_iter().map(|block| Arrived::Block { subscriber, block }),
                    );
                }
                (None, Some(exchange)) => exchange.body.extend_from_slice(&bytes),
                (None, None) => {}
            },
            Part::End => {
                if self.stream.is_some() {
                    return Err(malformed("a stream has the last chunk".to_owned()));
                }
                if let Some(exchange) = self.exchanges.pop_front() {
                    let Exchange { asked, head, body, .. } = exchange;
                    let head = head.ok_or_else(|| malformed("an answer without a head".into()))?;
                    arrived.push(Arrived::Answer { asked, head, body });
                }
            }
        }
        Ok(())
    }

    /// The request that the hub has to answer before it ends the connection. A further request may
    /// cross the end (RFC 9112 9.5). A service around the hub ends its connections by itself, and a
    /// stream may end before a slow reader has taken its head.
    pub(crate) fn unanswered(&self) -> Option<&Asked> {
        let is_due = self.sent == 1 && self.has_arrived && !self.is_cut && !self.is_for_bodies;
        let asked = self.exchanges.front().filter(|_| is_due).map(|exchange| &exchange.asked);
        asked.filter(|asked| !matches!(asked, Asked::Stream(_)))
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended
    }
}

fn malformed(what: String) -> Violation {
    Violation::new(Invariant::WellFormed, what)
}
