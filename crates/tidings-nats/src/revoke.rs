//! Revokes tokens at all hubs: writes revocations into their stream, and waits for the others.

use std::time::{Duration, SystemTime};

use async_nats::{HeaderMap, Request};
use futures_util::{StreamExt as _, TryStreamExt as _};
use serde::de::IgnoredAny;
use tidings_core::journal::AppendError;
use tidings_core::model::RevokedToken;
use tokio::time::Instant;

use crate::connection::{Failure, Pause, ask_allowed, read};
use crate::limits::{NATS_ANSWER_TIME, NATS_REQUEST_TIME};
use crate::revocation_stream::{ReadPosition, decode, encode, ensure, lasts_as_long, subject_of};
use crate::shared::NatsShared;
use crate::stream::Unfit;

/// The number of revocations rewritten at the same time.
const WRITTEN_TOGETHER: usize = 64;
/// Tokens that expire later are stored without an expiry. NATS counts by Go's clock, whose range
/// ends after 292 years.
const END_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

impl NatsShared {
    /// Revokes a token at every hub, including later ones. Ends when each hub rejects the token, or
    /// is known to accept no tokens.
    pub(crate) async fn revoke(&self, token: RevokedToken) -> Result<(), AppendError> {
        let until = Instant::now() + self.options().publish_wait;
        let mut pause = Pause::default();
        let unavailable = |failure| Err(AppendError::Unavailable(Box::new(failure)));
        loop {
            match self.store(&token).await {
                Ok(position) => {
                    let carried_out = self.other_hubs().until_revoked(position);
                    return match tokio::time::timeout(NATS_ANSWER_TIME, carried_out).await {
                        Ok(()) => Ok(()),
                        Err(_) => unavailable(self.other_hubs().not_revoked(position)),
                    };
                }
                Err(unfit @ Unfit::Differs { .. }) => {
                    return Err(AppendError::Unavailable(unfit.to_string().into()));
                }
                Err(Unfit::Failed(failure)) if failure.is_final() || Instant::now() >= until => {
                    return unavailable(failure);
                }
                Err(Unfit::Failed(_)) => pause.wait().await,
            }
        }
    }

    /// Writes one revocation, and confirms that the stream stored it. Returns its position.
    async fn store(&self, token: &RevokedToken) -> Result<ReadPosition, Unfit> {
        self.write(token).await?;
        let info = ensure(self.client(), self.condition(), self.options()).await?;
        let subject = subject_of(self.options(), token);
        // Another hub may have replaced it with a revocation of the same token.
        let stored = self.revocations().reader().last_of_leader(&subject).await?;
        let stored = stored.map(|stored| (stored.position, decode(&stored.into_payload())));
        match stored {
            Some((through, Some(there))) if there.name == token.name => {
                Ok(ReadPosition::at(through, &info))
            }
            _ => {
                Err(Failure::Temporary("the revocation is no longer in its stream".to_owned())
                    .into())
            }
        }
    }

    /// Whether the stream stores the revocation of a token for as long as necessary. The leader answers, since another
    /// server may still have a deleted message.
    pub(crate) async fn stores(&self, token: &RevokedToken) -> Result<bool, Failure> {
        let stored =
            self.revocations().reader().last_of_leader(&subject_of(self.options(), token)).await?;
        let there = stored.and_then(|stored| decode(&stored.into_payload()));
        Ok(there.is_some_and(|there| lasts_as_long(&there, token)))
    }

    /// Writes one revocation.
    async fn write(&self, token: &RevokedToken) -> Result<(), Failure> {
        let subject = subject_of(self.options(), token);
        let mut headers = HeaderMap::new();
        if let Some(expires) = token.until {
            let left = expires.duration_since(SystemTime::now()).unwrap_or_default();
            if left < END_MAX {
                // Two seconds more: NATS counts whole seconds, and clocks differ.
                headers.insert("Nats-TTL", format!("{}s", left.as_secs() + 2));
            }
        }
        let request = Request::new().headers(headers).payload(encode(token));
        let answer =
            ask_allowed(self.client(), self.condition(), &subject, request, NATS_REQUEST_TIME);
        read::<IgnoredAny>(&answer.await?)?;
        Ok(())
    }

    /// Rewrites revocations that the stream lost, for hubs that start later. Several hubs may do so
    /// at once, since a token has one message at most.
    pub(crate) async fn write_again(&self, tokens: Vec<RevokedToken>) -> Result<(), Failure> {
        let written = futures_util::stream::iter(&tokens).map(|token| self.write(token));
        written.buffer_unordered(WRITTEN_TOGETHER).try_for_each(|_| async { Ok(()) }).await
    }
}
