//! Hubs that share a journal: each lists the subscriptions of all, and a revocation at one applies
//! at all.

use std::fmt;
use std::sync::{Arc, Weak};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Hub, HubInner};
use crate::access::{Dialect, RevokedToken, TokenId};
use crate::journal::{AppendError, Node, Nodes, Pending, ReadError};
use crate::limits::MEETING_TIME;
use crate::presence::{ListStart, Presence, RevocationEffects, SubscriptionPath, piece};

/// A question of one hub to the others.
#[derive(Debug, Deserialize, Serialize)]
enum NodeQuestion {
    /// The subscriptions under a path.
    List { path: String, deployed: bool },
    /// To end the subscription of this path, if it is theirs.
    Revoke { path: String },
}

/// Subscriptions of one hub.
#[derive(Debug, Default, Deserialize, Serialize)]
struct ListedSubscriptions {
    documents: Vec<Box<RawValue>>,
    version: u64,
}

/// The subscriptions of the other hubs, as documents, and what changes with any of them or of
/// this one.
#[derive(Debug)]
pub(crate) struct OtherSubscriptions {
    pub(crate) documents: Vec<Box<RawValue>>,
    pub(crate) version: String,
}

/// Why other hubs could not be asked or told.
#[derive(Debug)]
pub(crate) enum Unreached {
    Read(ReadError),
    Append(AppendError),
    /// The hub that has the subscription could not store its revocation, for this reason.
    Elsewhere(String),
}

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
        };
        write!(f, "the other hubs are unreachable: {}", cause.source().unwrap_or(cause))
    }
}

impl Hub {
    /// The subscriptions under a path, of all other hubs on this one's journal.
    pub(crate) async fn others(
        &self,
        path: &str,
        named: &SubscriptionPath,
    ) -> Result<OtherSubscriptions, Unreached> {
        let own = self.presence().version();
        let Some(nodes) = self.journal().nodes() else {
            return Ok(OtherSubscriptions { documents: Vec::new(), version: own.to_string() });
        };
        let deployed = named.form() == Dialect::Deployed;
        let question = encode(&NodeQuestion::List { path: path.to_owned(), deployed });
        let answers = nodes.ask(question).await.map_err(Unreached::Read)?;
        // Other hubs may have any number of subscribers, and a shard's thread must not wait for the
        // parser.
        let read = move || {
            let mut documents = Vec::new();
            let mut versions = vec![own];
            for answer in answers.iter().filter(|answer| !is_of_none(answer)) {
                let listed: ListedSubscriptions = read_answer(answer)?;
                documents.extend(listed.documents);
                versions.push(listed.version);
            }
            versions.sort_unstable();
            let versions: Vec<_> = versions.iter().map(u64::to_string).collect();
            Ok(OtherSubscriptions { documents, version: versions.join("-") })
        };
        beside(read).await.map_err(Unreached::Read)?
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
        let answers = nodes.ask(question).await.map_err(Unreached::Read)?;
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

/// The subscriptions of this hub under a path, as another hub reads them ([`ListedSubscriptions`]).
fn listed(presence: &Presence, named: &SubscriptionPath) -> Vec<u8> {
    let version = presence.version();
    let mut text = String::from("{\"documents\":[");
    let begin = text.len();
    match named.subscriber() {
        Some(id) => {
            let subscriptions = presence.of(id, |selector| named.selects(selector));
            let documents = subscriptions.iter().map(|one| one.document(named.form(), true));
            let documents: Vec<_> = documents.map(|one| one.to_string()).collect();
            text.push_str(&documents.join(","));
        }
        None => {
            let mut place = Some(ListStart::default());
            while let Some(from) = place {
                let made = piece(presence, named, from, text.len() == begin);
                text.push_str(&made.text);
                place = made.next;
            }
        }
    }
    text.push_str(&format!("],\"version\":{version}}}"));
    text.into_bytes()
}

/// Does work whose size other hubs determine on a thread of its own.
async fn beside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ReadError> {
    let done = tokio::task::spawn_blocking(work).await;
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
fn read_answer<T: DeserializeOwned>(answer: &[u8]) -> Result<T, Unreached> {
    serde_json::from_slice(answer).map_err(|error| {
        let cause = format!("cannot read another hub's answer: {error}");
        Unreached::Read(ReadError::Away(cause.into()))
    })
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("texts, numbers and lists become JSON")
}

/// The answer of a hub that failed: others must not take it for an empty list.
const FAILED: &[u8] = b"null";

/// This hub, as the others see it. It does not keep the hub alive.
struct JournalNode(Weak<HubInner>);

impl Node for JournalNode {
    fn answer(&self, question: Vec<u8>) -> Pending<'static, Vec<u8>> {
        let hub = Hub::upgrade(&self.0);
        Box::pin(async move {
            let Some(hub) = hub else { return Vec::new() };
            let Ok(question) = serde_json::from_slice(&question) else { return FAILED.to_vec() };
            match question {
                NodeQuestion::List { path, deployed } => {
                    let form = if deployed { Dialect::Deployed } else { Dialect::Coming };
                    let presence = Arc::clone(hub.presence());
                    drop(hub);
                    let list = move || {
                        SubscriptionPath::read(&path, form)
                            .map_or_else(Vec::new, |one| listed(&presence, &one))
                    };
                    beside(list).await.unwrap_or_else(|_| FAILED.to_vec())
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
                    encode(&outcome)
                }
            }
        })
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
