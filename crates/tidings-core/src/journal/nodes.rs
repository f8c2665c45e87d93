//! The other hubs on a journal.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::error::ReadError;
use super::log::Pending;
use super::room::AnswerRoom;
use crate::model::RevokedToken;

/// The other hubs that share a journal.
pub trait Nodes: fmt::Debug + Send + Sync {
    /// From now on `node` answers the other hubs, and receives the tokens that they revoke.
    fn join(&self, node: Arc<dyn Node>);

    /// Whether this hub has received every revocation, except those of the last moment.
    /// A hub that is disconnected from the others has not, and accepts no tokens.
    fn know_revocations(&self) -> bool {
        true
    }

    /// Waits until [`Nodes::know_revocations`] is true.
    fn until_known(&self) -> Pending<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    /// The name of this hub among them, and none for a journal that names no hubs.
    fn own_name(&self) -> Option<String> {
        None
    }

    /// The other hubs that this one has heard of recently, for operators. The default knows none.
    fn others(&self) -> Vec<OtherHub> {
        Vec::new()
    }

    /// Sends a question to the other hubs, and returns the answers of all that are connected.
    /// `room` must grow with the answers.
    fn ask<'a>(
        &'a self,
        question: Vec<u8>,
        room: &'a mut AnswerRoom,
    ) -> Pending<'a, Result<Vec<Vec<u8>>, ReadError>>;
}

/// Another hub on the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OtherHub {
    /// Its name, which it drew at random when it started.
    pub name: String,
    /// How long ago it was heard of.
    pub heard: Duration,
}

impl OtherHub {
    /// The hub with this name, which was heard of so long ago.
    pub fn new(name: String, heard: Duration) -> Self {
        Self { name, heard }
    }
}

/// One hub of several, as the others see it.
pub trait Node: Send + Sync {
    /// Answers a question of another hub. The answer may occupy room in a budget until it is sent.
    fn answer(&self, question: Vec<u8>) -> Pending<'static, Bytes>;

    /// Whether the answer to a question is short. Such questions are answered while any number of
    /// others are in progress.
    fn has_short_answer(&self, question: &[u8]) -> bool;

    /// This hub or another one has revoked a token. The token is rejected at once; the future ends
    /// its streams.
    fn revoked(&self, token: RevokedToken) -> Pending<'static, ()>;

    /// The tokens that it rejects as revoked and that have not expired, for a journal that lost
    /// them.
    fn barred(&self) -> Vec<RevokedToken>;
}
