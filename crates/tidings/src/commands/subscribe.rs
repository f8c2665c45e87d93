//! `tidings subscribe`: what arrives on a hub's topics, also after the connection was lost.

use std::time::SystemTime;

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
        let from = EventId::new(&place(&args.from));
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

/// The id for where to begin: times and the last values have ids of the hub's own kind.
fn place(from: &str) -> String {
    let since = |time: SystemTime| format!("tidings:since:{}", humantime::format_rfc3339(time));
    if from == "last" {
        return "tidings:last".to_owned();
    }
    // With any offset from UTC; the hub checks it.
    let is_date = |text: &str| text.len() >= 19 && text.as_bytes()[10] == b'T';
    if humantime::parse_rfc3339_weak(from.get(..19).unwrap_or_default()).is_ok() && is_date(from) {
        return format!("tidings:since:{from}");
    }
    match humantime::parse_duration(from) {
        Ok(ago) => since(SystemTime::now().checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH)),
        Err(_) => from.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_to_begin_may_be_a_time_an_age_a_word_or_an_id() {
        assert_eq!(place("last"), "tidings:last");
        assert_eq!(place("2026-01-31T12:00:00Z"), "tidings:since:2026-01-31T12:00:00Z");
        assert_eq!(place("2026-01-31T12:00:00+01:00"), "tidings:since:2026-01-31T12:00:00+01:00");
        assert!(place("10m").starts_with("tidings:since:20"));
        for id in ["earliest", "tidings:aaaaaa.7.aaaa", "urn:uuid:1", "7"] {
            assert_eq!(place(id), id);
        }
    }
}
