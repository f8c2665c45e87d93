//! What the operator's page shows, as JSON.

use std::time::{Instant, SystemTime};

use axum::http::request::Parts;
use serde_json::{Value, json};
use tidings_core::journal::Edges;

use super::super::credentials::RequestCredentials;
use super::super::query::Pairs;
use super::super::subscriptions;
use super::json::{milliseconds, milliseconds_of, shortened};
use super::viewer::{Viewer, can_have_tokens};
use crate::access::Dialect;
use crate::clock;
use crate::hub::Hub;
use crate::limits::{
    OPERATOR_SELECTORS_COMPARED, OPERATOR_SELECTORS_SHOWN, OPERATOR_TEXT_SHOWN,
    OPERATOR_TOPICS_SHOWN,
};
use crate::metrics::Label as _;
use crate::operator::{BusyTopics, SlowReaders, TopicCount};
use crate::presence::ActiveSubscription;
use crate::shard::{BehindCause, SlowReader};

/// The hub as it is now, as far as the viewer may see it. `parts` is the head of its request.
pub(super) async fn of(hub: &Hub, viewer: &Viewer, parts: &Parts) -> Value {
    let reading = hub.reading().await;
    let (access, limits) = (hub.access(), hub.limits());
    let trouble = hub.journal().trouble();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "instance": hub.operator().instance(),
        "uptimeMs": since(hub.operator().started()),
        "time": milliseconds(clock::time()),
        "view": viewer.name(),
        "status": {
            "isHealthy": hub.is_healthy(),
            "isDraining": hub.is_draining(),
            "isReady": !hub.is_draining() && trouble.is_none(),
            "knowsRevocations": hub.knows_revocations(),
        },
        "access": {
            "hasKeys": access.has_token_keys(),
            "hasCallback": hub.authorizer().is_set(),
            "canAct": can_have_tokens(hub),
        },
        "counts": hub.metrics().overview(),
        "limits": {
            // A hub without a limit has the largest number.
            "streams": (limits.streams < usize::MAX).then_some(limits.streams),
            "requestBytes": hub.request_budget().used(),
            "requestBytesMax": limits.request_bytes,
            "selectorBytes": hub.compiler().kept_bytes(),
            "selectorBytesMax": limits.selector_bytes,
        },
        "presenceDropped": hub.presence().dropped(),
        "journal": journal(hub, trouble, reading.oldest),
        "topics": topics(&reading.busiest, viewer),
        "slow": slow(hub, &reading.slow, viewer, parts),
        "hubs": hubs(hub),
    })
}

fn journal(hub: &Hub, trouble: Option<String>, oldest: Option<SystemTime>) -> Value {
    let Edges { first, last, bytes, .. } = hub.journal().edges();
    json!({
        "first": first.number(),
        "last": last.position.number(),
        "bytes": bytes,
        "oldest": oldest.map(milliseconds),
        "trouble": trouble,
        "interruptions": hub.journal().interruptions(),
        "damaged": hub.journal().damaged(),
        "strangers": hub.journal().strangers(),
    })
}

/// The busiest topics that the viewer may read. A topic that had a private update is shown only to a
/// token that grants it, so that its existence is not told to others.
fn topics(busiest: &BusyTopics, viewer: &Viewer) -> Value {
    let Some(rights) = viewer.rights() else { return Value::Null };
    let may_see = |one: &&TopicCount| !one.has_private || rights.grant(&one.topic);
    let listed = busiest.topics.iter().filter(may_see).take(OPERATOR_TOPICS_SHOWN);
    let listed: Vec<_> = listed
        .map(|one| {
            json!({
                "topic": one.topic.as_str(),
                "updates": one.updates,
                "error": one.error,
                "bytes": one.bytes,
                "hasPrivate": one.has_private,
            })
        })
        .collect();
    json!({ "seconds": busiest.time.as_secs_f64(), "list": listed })
}

fn slow(hub: &Hub, slow: &SlowReaders, viewer: &Viewer, parts: &Parts) -> Value {
    let pairs = Pairs::default();
    let credentials = RequestCredentials::new(hub, parts, &pairs);
    let list: Vec<_> =
        slow.worst.iter().map(|one| slow_reader(&credentials, one, viewer)).collect();
    json!({ "count": slow.count, "silentShards": slow.silent_shards, "list": list })
}

fn slow_reader(credentials: &RequestCredentials<'_>, one: &SlowReader, viewer: &Viewer) -> Value {
    let cause = match one.cause {
        BehindCause::Full => "full",
        BehindCause::CatchingUp => "catching-up",
        BehindCause::Journal => "journal",
    };
    json!({
        "stream": one.stream,
        "lane": one.lane.text(),
        "cause": cause,
        "positions": one.positions,
        "byToken": one.by_token,
        "isListed": one.subscriber.is_some(),
        "selectors": selectors(credentials, one, viewer),
    })
}

/// The selectors of a stream that the viewer's token may list, out of its first ones. Each is a
/// subscription with a path of its own, and one grant says nothing about another.
fn selectors(credentials: &RequestCredentials<'_>, one: &SlowReader, viewer: &Viewer) -> Value {
    let (Viewer::Token(grants), Some(subscriber)) = (viewer, one.subscriber) else {
        return Value::Null;
    };
    let dialects = credentials.access().dialects;
    let may_list = |one: &&ActiveSubscription| {
        [Dialect::Deployed, Dialect::Coming].into_iter().any(|form| {
            dialects.has(form) && ActiveSubscription::has_form(&one.selector, form) && {
                let names = subscriptions::names(credentials, &one.path(form));
                names.iter().any(|name| grants.subscribe.grant(name))
            }
        })
    };
    // One more shows that the stream has others.
    let most = OPERATOR_SELECTORS_COMPARED;
    let listed = credentials.hub.presence().first_of(subscriber, most + 1);
    let granted: Vec<_> = listed.iter().take(most).filter(may_list).collect();
    if granted.is_empty() {
        return Value::Null;
    }
    let texts = granted.iter().map(|one| shortened(one.selector.text(), OPERATOR_TEXT_SHOWN).0);
    json!({
        "first": texts.take(OPERATOR_SELECTORS_SHOWN).collect::<Vec<_>>(),
        "count": granted.len(),
        "isWhole": listed.len() <= most,
    })
}

/// The other hubs on the journal; nothing for a journal that has only this one.
fn hubs(hub: &Hub) -> Value {
    let Some(nodes) = hub.journal().nodes() else { return Value::Null };
    let others = nodes.others();
    let others: Vec<_> = others
        .iter()
        .map(|one| json!({ "name": one.name, "heardMs": milliseconds_of(one.heard) }))
        .collect();
    json!({ "own": nodes.own_name(), "others": others })
}

fn since(start: Instant) -> u64 {
    milliseconds_of(clock::since(start))
}
