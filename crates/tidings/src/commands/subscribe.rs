//! `tidings subscribe`: what arrives on a hub's topics, also after the connection was lost.

use tidings_client::reconnect::Policy;
use tidings_client::{EventId, EventSource};

use super::follow::{Follow, Form};
use super::output::Output;
use super::{headers, hub};
use crate::args::{Global, SubscribeArgs};
use crate::outcome::{Ended, Outcome};

/// Connections that are tried one after another, without an event in between, before it is
/// taken that the hub won't come back.
const ATTEMPTS_MAX: u32 = 20;

pub(crate) async fn run(args: SubscribeArgs, global: &Global) -> anyhow::Result<Outcome> {
    let mut url = hub::url(&global.hub)?;
    for topic in &args.topics {
        url.query_pairs_mut().append_pair("topic", topic);
    }
    url.query_pairs_mut().append_pair("tidings", "topics,notices");
    let mut policy = Policy::default();
    policy.retry_first = false;
    policy.attempts_max = Some(ATTEMPTS_MAX);
    let mut source = EventSource::get(&url)
        .headers(headers::read_with_token(global)?)
        .policy(policy)
        .answer_within(global.timeout);
    if args.from != "now" {
        let from = EventId::new(&args.from);
        let from = from.map_err(|error| Ended::usage(format!("--from is no id: {error}")))?;
        source = source.last_event_id(from);
    }
    url.set_query(None);
    let follow = Follow {
        who: "hub",
        nobody: format!("no hub answers at {url}; is it running? `tidings` starts one"),
        event_types: args.event_types,
        count: args.count,
        until: args.until,
        fail_on_gap: args.fail_on_gap,
        output: Output::new(if args.json { Form::JsonWithTopics } else { Form::Data }),
        resume: None,
        tells_opening: false,
    };
    follow.run(source.open()).await
}
