//! Hubs that share a journal: each lists the subscriptions of all, and a revocation at one applies
//! at all.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use tidings_core::journal::{AnswerRoom, AppendError, Node, Nodes, Pending, ReadError};
use tidings_core::model::{RevokedToken, TokenId};

use super::state::{Hub, HubInner};
use crate::access::Dialect;
use crate::admission::Client;
use crate::beside;
use crate::budget::{Budget, Exhausted, Growing, Standing};
use crate::limits::{MEETING_TIME, PUBLISH_WAIT};
use crate::presence::{ListStart, Presence, RevocationEffects, SubscriptionPath, piece};

/// A question of one hub to the others.
#[derive(Debug, Deserialize, Serialize)]
enum NodeQuestion {
    /// The subscriptions under a path.
    List { path: String, deployed: bool },
    /// To end the subscription of this path, if it is theirs.
    Revoke { path: String },
}

/// Subscriptions of one hub, or why it has no room for a list of them.
#[derive(Debug, Default, Deserialize)]
struct ListedSubscriptions<'a> {
    #[serde(borrow)]
    documents: Option<&'a RawValue>,
    version: Option<u64>,
    /// The bytes in use by all its lists, and its limit. A hub that does not know this field cannot
    /// read the answer, so it cannot take it for an empty list.
    no_room: Option<usize>,
}

/// The subscriptions of the other hubs, and a number that changes with those of any hub.
#[derive(Debug)]
pub(crate) struct OtherSubscriptions {
    pub(crate) documents: Documents,
    pub(crate) version: String,
}

/// Documents of other hubs, with the room that they use until they are read or dropped.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    /// A list of each hub without its brackets, and how much of it has been read.
    lists: VecDeque<(Vec<u8>, Range<usize>)>,
    _room: Option<AnswerRoom>,
}

impl Documents {
    /// Adds another hub's answer, whose documents are this part of it.
    fn add(&mut self, mut answer: Vec<u8>, documents: Range<usize>) {
        let inside = documents.start + 1..documents.end - 1;
        if answer[inside.clone()].iter().all(u8::is_ascii_whitespace) {
            return;
        }
        // The opening bracket becomes the comma after the list before it.
        answer[documents.start] = b',';
        let start = documents.start + usize::from(self.lists.is_empty());
        self.lists.push_back((answer, start..inside.end));
    }

    /// Those of these answers, each of which is a list and nothing else.
    #[cfg(test)]
    pub(crate) fn of_answers<const N: usize>(answers: [Vec<u8>; N], room: AnswerRoom) -> Self {
        let mut documents = Self { _room: Some(room), ..Self::default() };
        for answer in answers {
            let range = 0..answer.len();
            documents.add(answer, range);
        }
        documents
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lists.is_empty()
    }

    /// The first document.
    pub(crate) fn first(&self) -> Option<Value> {
        let (text, range) = self.lists.front()?;
        serde_json::Deserializer::from_slice(&text[range.clone()]).into_iter().next()?.ok()
    }

    /// The next bytes of the documents, with commas between them, up to this many.
    pub(crate) fn next(&mut self, bytes_max: usize) -> Option<Bytes> {
        let (text, range) = self.lists.front_mut()?;
        let bytes = range.len().min(bytes_max);
        let piece = Bytes::copy_from_slice(&text[range.start..range.start + bytes]);
        if bytes < range.len() {
            range.start += bytes;
        } else {
            self.lists.pop_front();
        }
        Some(piece)
    }
}

/// Why other hubs could not be asked or told.
#[derive(Debug)]
pub(crate) enum Unreached {
    Read(ReadError),
    Append(AppendError),
    /// The hub with the subscription could not store its revocation, for this reason.
    Elsewhere(String),
    /// The answers do not fit into the budget.
    NoRoom(Exhausted),
    /// A hub has no room for a list.
    NoRoomForLists(FullHub),
}

/// A hub that has no room for a list.
#[derive(Clone, Copy, Debug)]
pub(crate) enum FullHub {
    This(Exhausted),
    /// The bytes in use by its lists, and its limit.
    Another {
        total: usize,
    },
}

const LISTS_OF_ALL: &str = "lists of subscriptions for or of other hubs";

impl fmt::Display for Unreached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cause: &dyn std::error::Error = match self {
            Self::Read(error) => error,
            Self::Append(error) => error,
            Self::Elsewhere(reason) => {
                return write!(
                    f,
                    "the hub that has the subscription closed its stream, but could not store the \
                     revocation, so other hubs may still accept the token; try again: {reason}"
                );
            }
            Self::NoRoom(exhausted) => return write!(f, "{exhausted}; try again later"),
            Self::NoRoomForLists(full) => {
                let (lists, total, hub) = match full {
                    FullHub::This(Exhausted::Address { share }) => {
                        ("lists of other hubs' subscriptions for this address", share, "this")
                    }
                    FullHub::This(Exhausted::All { total }) => (LISTS_OF_ALL, total, "this"),
                    FullHub::Another { total } => (LISTS_OF_ALL, total, "another"),
                };
                return write!(
                    f,
                    "{lists} use {total} bytes at {hub} hub, its limit; try again later"
                );
            }
        };
        write!(f, "the other hubs are unreachable: {}", cause.source().unwrap_or(cause))
    }
}

impl From<ReadError> for Unreached {
    fn from(error: ReadError) -> Self {
        let cause = std::error::Error::source(&error);
        match cause.and_then(|cause| cause.downcast_ref()) {
            Some(exhausted) => Self::NoRoom(*exhausted),
            None => Self::Read(error),
        }
    }
}

impl From<Exhausted> for Unreached {
    fn from(exhausted: Exhausted) -> Self {
        Self::NoRoom(exhausted)
    }
}

impl Hub {
    /// The subscriptions under a path, of all other hubs on this one's journal, for this client.
    pub(crate) async fn others(
        &self,
        client: Option<Client>,
        path: &str,
        named: &SubscriptionPath,
    ) -> Result<OtherSubscriptions, Unreached> {
        let own = self.presence().version();
        let Some(nodes) = self.journal().nodes() else {
            return Ok(OtherSubscriptions {
                documents: Documents::default(),
                version: own.to_string(),
            });
        };
        let deployed = named.form() == Dialect::Deployed;
        let question = encode(&NodeQuestion::List { path: path.to_owned(), deployed });
        // A quarter of the budget stays for answers: hubs that ask each other must not refuse each
        // other.
        let answers = ask(nodes, question, self.lists(), client, Standing::Anyone).await;
        let (answers, room) = answers.map_err(|unreached| match unreached {
            Unreached::NoRoom(exhausted) => self.no_room_for_lists(exhausted),
            other => other,
        })?;
        // Other hubs may have any number of subscribers, and a shard's thread must not wait for the
        // parser.
        let read = move || {
            let mut documents = Documents { _room: Some(room), ..Documents::default() };
            let mut versions = vec![own];
            for answer in answers.into_iter().filter(|answer| !is_of_none(answer)) {
                let (range, version) = read_list(&answer)?;
                documents.add(answer, range);
                versions.push(version);
            }
            versions.sort_unstable();
            let versions: Vec<_> = versions.iter().map(u64::to_string).collect();
            Ok(OtherSubscriptions { documents, version: versions.join("-") })
        };
        beside(read).await.map_err(Unreached::Read)?
    }

    fn no_room_for_lists(&self, exhausted: Exhausted) -> Unreached {
        self.metrics().list_refused();
        Unreached::NoRoomForLists(FullHub::This(exhausted))
    }

    /// Ends a subscription, and revokes its token at all hubs. False if there is no such
    /// subscription.
    pub(crate) async fn revoke_subscription(
        &self,
        path: &str,
        named: &SubscriptionPath,
    ) -> Result<bool, Unreached> {
        if self.revoke_own(named).await? {
            return Ok(true);
        }
        let Some(nodes) = self.journal().nodes() else { return Ok(false) };
        let question = encode(&NodeQuestion::Revoke { path: path.to_owned() });
        // A revocation need not wait for clients that read lists.
        let answers = ask(nodes, question, self.request_budget(), None, Standing::Authorized).await;
        let (answers, _room) = answers.inspect_err(|unreached| {
            if let Unreached::NoRoom(exhausted) = unreached {
                self.metrics().request_refused(*exhausted);
            }
        })?;
        let mut is_done = false;
        for answer in answers.iter().filter(|answer| !is_of_none(answer)) {
            match read_answer(answer)? {
                RevocationOutcome::Revoked => is_done = true,
                RevocationOutcome::Unknown => {}
                RevocationOutcome::Failed(reason) => {
                    return Err(Unreached::Elsewhere(reason));
                }
            }
        }
        Ok(is_done)
    }

    /// Ends a subscription of this hub's.
    async fn revoke_own(&self, named: &SubscriptionPath) -> Result<bool, Unreached> {
        let Some(id) = named.subscriber() else { return Ok(false) };
        match self.presence().revoke_subscriber(id, |selector| named.selects(selector)) {
            None => Ok(false),
            Some(revocation) => {
                self.carry_out(revocation).await.map_err(Unreached::Append)?;
                Ok(true)
            }
        }
    }

    /// Has this hub answer the others, and waits a little until it knows what they have revoked.
    pub(crate) async fn meet_others(&self) {
        let Some(nodes) = self.journal().nodes() else { return };
        nodes.join(Arc::new(JournalNode(self.downgrade())));
        if tokio::time::timeout(MEETING_TIME, nodes.until_known()).await.is_err() {
            tracing::warn!(
                "other hubs' revocations are not read yet; tokens are refused until then"
            );
        }
    }

    /// Whether this hub knows which tokens other hubs have revoked.
    pub(crate) fn knows_revocations(&self) -> bool {
        self.journal().nodes().is_none_or(Nodes::know_revocations)
    }
}

/// Asks the other hubs, once there is room for their answers.
async fn ask(
    nodes: &dyn Nodes,
    question: Vec<u8>,
    budget: &Arc<Budget>,
    client: Option<Client>,
    standing: Standing,
) -> Result<(Vec<Vec<u8>>, AnswerRoom), Unreached> {
    let room = Growing::begin(budget, client, standing, PUBLISH_WAIT).await?;
    let mut room = AnswerRoom::new(room);
    let answers = nodes.ask(question, &mut room).await?;
    Ok((answers, room))
}

/// The position of the documents in another hub's answer, and the version of its list.
fn read_list(answer: &[u8]) -> Result<(Range<usize>, u64), Unreached> {
    let listed: ListedSubscriptions<'_> = read_answer(answer)?;
    if let Some(total) = listed.no_room {
        return Err(Unreached::NoRoomForLists(FullHub::Another { total }));
    }
    let documents = listed.documents.map(RawValue::get);
    match (documents.filter(|documents| documents.starts_with('[')), listed.version) {
        (Some(documents), Some(version)) => {
            let start = documents.as_ptr().addr() - answer.as_ptr().addr();
            Ok((start..start + documents.len(), version))
        }
        _ => Err(unread("it is no list")),
    }
}

/// The subscriptions of this hub under a path, as another hub reads them ([`ListedSubscriptions`]).
///
/// # Errors
/// If there is no room for all of them.
fn listed(
    presence: &Presence,
    named: &SubscriptionPath,
    mut room: Growing,
) -> Result<Bytes, Exhausted> {
    let version = presence.version();
    let mut text = String::from("{\"documents\":[");
    let begin = text.len();
    match named.subscriber() {
        Some(id) => {
            let subscriptions = presence.of(id, |selector| named.selects(selector));
            let documents = subscriptions.iter().map(|one| one.document(named.form(), true));
            let documents: Vec<_> = documents.map(|one| one.to_string()).collect();
            room.grow(documents.iter().map(String::len).sum())?;
            text.push_str(&documents.join(","));
        }
        None => {
            let mut place = Some(ListStart::default());
            while let Some(from) = place {
                let made = piece(presence, named, from, text.len() == begin);
                room.grow(made.text.len())?;
                text.push_str(&made.text);
                place = made.next;
            }
        }
    }
    text.push_str(&format!("],\"version\":{version}}}"));
    Ok(Bytes::from_owner(ListAnswer { text, _room: room }))
}

/// An answer for another hub. It keeps its room until NATS has taken the answer.
struct ListAnswer {
    text: String,
    _room: Growing,
}

impl AsRef<[u8]> for ListAnswer {
    fn as_ref(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

/// The answer to another hub where there is no room for a list.
fn no_room(exhausted: Exhausted) -> Bytes {
    format!("{{\"no_room\":{}}}", total_of(exhausted)).into()
}

fn total_of(exhausted: Exhausted) -> usize {
    match exhausted {
        Exhausted::All { total } | Exhausted::Address { share: total } => total,
    }
}

/// Does work whose size other hubs determine on a thread of its own.
async fn beside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ReadError> {
    let done = beside::run(work).await;
    done.map_err(|error| ReadError::Unavailable(Box::new(error)))
}

/// The result for a subscription that a hub was asked to end.
#[derive(Debug, Deserialize, Serialize)]
enum RevocationOutcome {
    Revoked,
    Unknown,
    Failed(String),
}

/// A hub that is shutting down sends an empty answer, and has no subscribers.
fn is_of_none(answer: &[u8]) -> bool {
    answer.is_empty()
}

/// Reads another hub's answer. An unreadable answer is an error: it must not count as an empty one.
fn read_answer<'a, T: Deserialize<'a>>(answer: &'a [u8]) -> Result<T, Unreached> {
    serde_json::from_slice(answer).map_err(|error| unread(&error.to_string()))
}

fn unread(reason: &str) -> Unreached {
    let cause = format!("cannot read another hub's answer: {reason}");
    Unreached::Read(ReadError::Unreachable(cause.into()))
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("texts, numbers and lists become JSON")
}

/// The answer of a hub that failed: others must not take it for an empty list.
const FAILED: &[u8] = b"null";

/// This hub, as the others see it. It does not keep the hub alive.
struct JournalNode(Weak<HubInner>);

impl Node for JournalNode {
    fn answer(&self, question: Vec<u8>) -> Pending<'static, Bytes> {
        let hub = Hub::upgrade(&self.0);
        Box::pin(async move {
            let failed = || Bytes::from_static(FAILED);
            let Some(hub) = hub else { return Bytes::new() };
            let Ok(question) = serde_json::from_slice(&question) else { return failed() };
            match question {
                NodeQuestion::List { path, deployed } => {
                    let form = if deployed { Dialect::Deployed } else { Dialect::Coming };
                    let presence = Arc::clone(hub.presence());
                    let (lists, metrics) = (Arc::clone(hub.lists()), Arc::clone(hub.metrics()));
                    drop(hub);
                    let Some(named) = SubscriptionPath::read(&path, form) else {
                        return Bytes::new();
                    };
                    let list = async {
                        // Waiting would keep its turn from another question.
                        let (of, patience) = (Standing::Authorized, Duration::ZERO);
                        let room = Growing::begin(&lists, None, of, patience).await?;
                        let made = beside(move || listed(&presence, &named, room)).await;
                        made.unwrap_or_else(|_| Ok(failed()))
                    };
                    list.await.unwrap_or_else(|exhausted| {
                        metrics.list_refused();
                        no_room(exhausted)
                    })
                }
                NodeQuestion::Revoke { path } => {
                    let outcome = match SubscriptionPath::read(&path, Dialect::Deployed) {
                        None => RevocationOutcome::Unknown,
                        Some(named) => match hub.revoke_own(&named).await {
                            Ok(true) => RevocationOutcome::Revoked,
                            Ok(false) => RevocationOutcome::Unknown,
                            Err(error) => RevocationOutcome::Failed(error.to_string()),
                        },
                    };
                    encode(&outcome).into()
                }
            }
        })
    }

    fn has_short_answer(&self, question: &[u8]) -> bool {
        matches!(serde_json::from_slice(question), Ok(NodeQuestion::Revoke { .. }))
    }

    fn revoked(&self, token: RevokedToken) -> Pending<'static, ()> {
        let Some(hub) = Hub::upgrade(&self.0) else {
            return Box::pin(std::future::ready(()));
        };
        // A journal only returns names that a hub has stored.
        let Some(id) = TokenId::kept(&token.name) else {
            return Box::pin(std::future::ready(()));
        };
        let RevocationEffects { ending, .. } = hub.presence().revoke_token(id, token.until);
        Box::pin(async move { hub.end_streams(&ending).await })
    }

    fn barred(&self) -> Vec<RevokedToken> {
        Hub::upgrade(&self.0).map_or_else(Vec::new, |hub| hub.gate().revoked().list())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::limits::Limits;

    #[tokio::test]
    async fn another_hub_learns_at_once_that_a_list_has_no_room() {
        let limits = Limits { request_bytes: 1 << 20, ..Limits::default() };
        let hub = Hub::builder().shards(1).limits(limits).build().await.unwrap();
        let node = JournalNode(hub.downgrade());
        let path = "/.well-known/mercure/subscriptions".to_owned();
        let list = encode(&NodeQuestion::List { path: path.clone(), deployed: true });
        let take = |_| hub.lists().try_take(None, Standing::Authorized, usize::MAX);
        let held: Vec<_> = (0..4).map(take).collect();
        let answer = node.answer(list.clone()).now_or_never();
        assert_eq!(answer.as_deref(), Some(b"{\"no_room\":1048576}".as_slice()));
        drop(held);
        assert!(node.answer(list.clone()).await.starts_with(b"{\"documents\":[]"));
        let revoke = encode(&NodeQuestion::Revoke { path });
        assert!(node.has_short_answer(&revoke) && !node.has_short_answer(&list));
        assert!(!node.has_short_answer(b"x"));
        hub.stop().await;
    }
}
