//! Hubs that share a journal: who subscribes to any of them is listed by each, and what is
//! revoked at one of them is revoked at all.

use std::fmt;
use std::sync::Weak;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::access::{Dialect, TokenId};
use crate::http::Named;
use crate::hub::{Hub, Inner};
use crate::journal::{AppendError, Node, Pending, ReadError, RevokedToken};
use crate::presence::Revocation;

/// What a hub asks the others.
#[derive(Debug, Deserialize, Serialize)]
enum Question {
    /// The subscriptions under a path.
    List { path: String, deployed: bool },
    /// To end the subscription of this path, if it is theirs.
    Revoke { path: String },
}

/// Subscriptions of one hub.
#[derive(Debug, Default, Deserialize, Serialize)]
struct Listed {
    documents: Vec<Value>,
    version: u64,
}

/// The subscriptions of all hubs, as documents, and what changes with any of them.
#[derive(Debug)]
pub(crate) struct Subscriptions {
    pub(crate) documents: Vec<Value>,
    pub(crate) version: String,
}

/// Why other hubs do not know what they are to know.
#[derive(Debug)]
pub(crate) enum Unreached {
    Read(ReadError),
    Append(AppendError),
}

impl fmt::Display for Unreached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cause: &dyn std::error::Error = match self {
            Self::Read(error) => error,
            Self::Append(error) => error,
        };
        match cause.source() {
            Some(cause) => write!(f, "the other hubs are out of reach: {cause}"),
            None => write!(f, "the other hubs are out of reach: {cause}"),
        }
    }
}

impl Hub {
    /// The subscriptions under a path, of this hub and of all others on its journal.
    pub(crate) async fn subscriptions(
        &self,
        path: &str,
        named: &Named,
    ) -> Result<Subscriptions, Unreached> {
        let own = self.listed(named);
        let Some(nodes) = self.journal().nodes() else {
            return Ok(Subscriptions {
                documents: own.documents,
                version: own.version.to_string(),
            });
        };
        let deployed = named.form() == Dialect::Deployed;
        let question = encode(&Question::List { path: path.to_owned(), deployed });
        let answers = nodes.ask(question).await.map_err(Unreached::Read)?;
        let mut documents = own.documents;
        let mut versions = vec![own.version];
        for answer in answers {
            let Listed { documents: others, version } =
                serde_json::from_slice(&answer).unwrap_or_default();
            documents.extend(others);
            versions.push(version);
        }
        documents.sort_by_cached_key(|one| {
            let text = |name: &str| one[name].as_str().unwrap_or_default().to_owned();
            (text("topic"), text("match_type"), text("match"), text("subscriber"))
        });
        versions.sort_unstable();
        let versions: Vec<_> = versions.iter().map(u64::to_string).collect();
        Ok(Subscriptions { documents, version: versions.join("-") })
    }

    /// The subscriptions under a path, of this hub.
    fn listed(&self, named: &Named) -> Listed {
        let (list, version) = self.presence().list(|id, selector| named.has(id, selector));
        let documents = list.iter().map(|one| one.document(named.form(), true)).collect();
        Listed { documents, version }
    }

    /// Ends a subscription, and bars its token at all hubs. False if there is none.
    pub(crate) async fn revoke_subscription(
        &self,
        path: &str,
        named: &Named,
    ) -> Result<bool, Unreached> {
        if self.revoke_own(named).await? {
            return Ok(true);
        }
        let Some(nodes) = self.journal().nodes() else { return Ok(false) };
        let question = encode(&Question::Revoke { path: path.to_owned() });
        let answers = nodes.ask(question).await.map_err(Unreached::Read)?;
        let outcomes = answers.iter().filter_map(|answer| serde_json::from_slice(answer).ok());
        let mut is_done = false;
        for outcome in outcomes {
            match outcome {
                Outcome::Revoked => is_done = true,
                Outcome::Unknown => {}
                Outcome::Failed(reason) => {
                    return Err(Unreached::Append(AppendError::Unavailable(reason.into())));
                }
            }
        }
        Ok(is_done)
    }

    /// Ends a subscription of this hub's.
    async fn revoke_own(&self, named: &Named) -> Result<bool, Unreached> {
        let Some(id) = named.subscriber() else { return Ok(false) };
        match self.presence().revoke_subscriber(id, |selector| named.selects(selector)) {
            None => Ok(false),
            Some(revocation) => {
                self.carry_out(revocation).await.map_err(Unreached::Append)?;
                Ok(true)
            }
        }
    }

    /// Has this hub answer the others.
    pub(crate) fn meet_others(&self) {
        if let Some(nodes) = self.journal().nodes() {
            nodes.join(std::sync::Arc::new(OfHub(self.downgrade())));
        }
    }
}

/// What became of a subscription that a hub was asked to end.
#[derive(Debug, Deserialize, Serialize)]
enum Outcome {
    Revoked,
    Unknown,
    Failed(String),
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("texts, numbers and lists become JSON")
}

/// This hub, as the others see it. It does not keep the hub alive.
struct OfHub(Weak<Inner>);

impl Node for OfHub {
    fn answer(&self, question: Vec<u8>) -> Pending<'static, Vec<u8>> {
        let hub = Hub::upgrade(&self.0);
        Box::pin(async move {
            let (Some(hub), Ok(question)) = (hub, serde_json::from_slice(&question)) else {
                return Vec::new();
            };
            match question {
                Question::List { path, deployed } => {
                    let form = if deployed { Dialect::Deployed } else { Dialect::Coming };
                    let listed = Named::read(&path, form).map(|named| hub.listed(&named));
                    encode(&listed.unwrap_or_default())
                }
                Question::Revoke { path } => {
                    let outcome = match Named::read(&path, Dialect::Deployed) {
                        None => Outcome::Unknown,
                        Some(named) => match hub.revoke_own(&named).await {
                            Ok(true) => Outcome::Revoked,
                            Ok(false) => Outcome::Unknown,
                            Err(error) => Outcome::Failed(error.to_string()),
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
        let Revocation { ending, .. } =
            hub.presence().revoke_token(TokenId::kept(&token.name), token.until);
        Box::pin(async move { hub.end_streams(&ending).await })
    }
}
