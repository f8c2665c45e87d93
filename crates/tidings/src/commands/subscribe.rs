//! `tidings subscribe`: prints the events of a hub's topics, and reconnects.

use std::time::SystemTime;

use tidings_client::reconnect::Policy;
use tidings_client::{EventId, EventSource};

use super::exec::Exec;
use super::follow::Follow;
use super::output::Output;
use super::{hub, saved};
use crate::args::{SubscribeArgs, units};
use crate::outcome::{Ended, Outcome};

/// The number of consecutive failed connection attempts after which the command gives up.
const ATTEMPTS_MAX: u32 = 20;

pub(crate) async fn run(args: SubscribeArgs) -> anyhow::Result<Outcome> {
    let (url, headers) = saved::target(&args.hub)?;
    let mut policy = Policy::default();
    policy.retry_first = false;
    policy.attempts_max = Some(ATTEMPTS_MAX);
    let mut source = EventSource::topics(&url, &args.topics)
        .headers(headers)
        .policy(policy)
        .answer_within(args.hub.request.common.timeout);
    if args.from != "now" {
        let from =
            position(&args.from).map_err(|error| Ended::usage(format!("--from: {error}")))?;
        let from = EventId::new(&from);
        let from = from.map_err(|error| Ended::usage(format!("--from: {error}")))?;
        source = source.last_event_id(from);
    }
    let follow = Follow {
        server: "hub",
        no_answer: format!(
            "cannot connect to the hub at {}; check --hub, or start a hub with `tidings`",
            hub::shown(&url)
        ),
        event_types: args.event_types,
        count: args.count,
        until: args.until,
        fail_on_gap: args.fail_on_gap,
        output: Output::new(args.format.chosen()),
        exec: args.exec.map(|command| Exec::new(command, args.exec_timeout)),
        resume: None,
        tells_opening: false,
    };
    follow.run(source.open()).await
}

/// The id for a position to begin at. Times and `last` have ids of a special form.
///
/// # Errors
/// If the position looks like a date, and is none.
fn position(from: &str) -> Result<String, String> {
    let since = |time: SystemTime| format!("tidings:since:{}", humantime::format_rfc3339(time));
    if from == "last" {
        return Ok("tidings:last".to_owned());
    }
    if units::is_like_date(from) {
        return units::instant(from).map(since);
    }
    Ok(match humantime::parse_duration(from) {
        Ok(ago) => since(SystemTime::now().checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH)),
        Err(_) => from.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_may_be_a_time_an_age_a_word_or_an_id() {
        let position = |from: &str| position(from).unwrap();
        assert_eq!(position("last"), "tidings:last");
        assert_eq!(position("2026-01-31"), "tidings:since:2026-01-31T00:00:00Z");
        assert_eq!(position("2026-01-31T12:00:00Z"), "tidings:since:2026-01-31T12:00:00Z");
        assert_eq!(position("2026-01-31T12:00:00+01:00"), "tidings:since:2026-01-31T11:00:00Z");
        assert!(position("10m").starts_with("tidings:since:20"));
        for id in ["earliest", "tidings:aaaaaa.7.aaaa", "urn:uuid:1", "7", "20260131"] {
            assert_eq!(position(id), id);
        }
    }

    #[test]
    fn a_date_that_does_not_exist_is_an_error() {
        for from in ["2026-13-01", "2026-01-32T12:00:00Z", "2026-01-31T12"] {
            assert!(position(from).unwrap_err().contains("is not a time"), "{from}");
        }
    }
}
