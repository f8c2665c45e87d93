//! Follows the stream of revocations, and passes new ones on to this hub.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Subscriber;
use futures_util::{FutureExt as _, StreamExt as _};
use tidings_core::journal::Node;
use tokio::time::MissedTickBehavior;

use crate::connection::Failure;
use crate::losses::StreamContent;
use crate::restore::restore_lost;
use crate::revocation_stream::{News, ReadPosition, ensure, news};
use crate::revocations::Moment;
use crate::shared::NatsShared;
use crate::stream::Unfit;

/// How often the stream is read if no message announces a revocation.
const TAIL_READ_INTERVAL: Duration = Duration::from_secs(1);
/// The number of messages that one read of the stream may answer.
const ASKING_TOGETHER: usize = 1024;

/// Passes on new revocations and restores lost ones, for as long as this is polled.
pub(crate) async fn follow(
    shared: &NatsShared,
    node: &Arc<dyn Node>,
    messages: Subscriber,
) -> Failure {
    tokio::select! {
        failure = read_on(shared, node, messages) => failure,
        // A task apart from the reads: revocations must stay known while many are looked up.
        never = restore_lost(shared, node) => match never {},
    }
}

async fn read_on(shared: &NatsShared, node: &Arc<dyn Node>, mut messages: Subscriber) -> Failure {
    let mut look = tokio::time::interval(TAIL_READ_INTERVAL);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = look.tick() => {}
            () = shared.revocations().until_wanted() => {}
            message = messages.next() => {
                if message.is_none() {
                    return Failure::Temporary("the subscription has ended".to_owned());
                }
            }
        }
        for _ in 0..ASKING_TOGETHER {
            if !matches!(messages.next().now_or_never(), Some(Some(_))) {
                break;
            }
        }
        if let Err(unfit) = pass_on(shared, node).await {
            tracing::debug!(%unfit, "revocations of other hubs are not known yet");
            shared.revocations().fail(&unfit.to_string());
        }
    }
}

async fn pass_on(shared: &NatsShared, node: &Arc<dyn Node>) -> Result<(), Unfit> {
    let revocations = shared.revocations();
    let as_of = Moment::now();
    let info = ensure(shared.client(), shared.condition(), shared.options()).await?;
    let before = revocations.position();
    let mut from = before;
    if !from.is_of(&info) {
        // The restore runs beside this, where it cannot delay the read.
        tracing::warn!(
            count = node.barred().len(),
            "the stream of revocations was recreated: this hub writes the revocations that it \
             knows into it"
        );
        from = ReadPosition::start_of(&info);
    } else if from.is_rolled_back(&info) {
        tracing::warn!(
            read = from.number(),
            last = info.state.last_sequence,
            "the stream of revocations lost its newest messages: this hub reads it from its start"
        );
        from = ReadPosition::start_of(&info);
    }
    revocations.losses().look(StreamContent::of(&info));
    let News { position, tokens } = news(revocations.reader(), from, &info).await?;
    // All tokens are barred before the first stream ends.
    let ending: Vec<_> = tokens.into_iter().map(|token| node.revoked(token)).collect();
    for ended in ending {
        ended.await;
    }
    revocations.renew(position, as_of);
    if position != before {
        shared.other_hubs().greet_now();
    }
    Ok(())
}
