//! Durations of a configuration.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::outcome::Ended;

pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);

/// A duration with units: `15s`, `24h`.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Time(pub(super) Duration);

impl TryFrom<String> for Time {
    type Error = humantime::DurationError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        humantime::parse_duration(&text).map(Self)
    }
}

impl From<Time> for String {
    fn from(time: Time) -> Self {
        humantime::format_duration(time.0).to_string()
    }
}

/// Checks that a duration is within limits. Without an upper limit, the hub would panic when it
/// waits for a time that no clock can represent.
pub(crate) fn between(
    name: &str,
    time: Duration,
    least: Duration,
    most: Duration,
) -> anyhow::Result<Duration> {
    if (least..=most).contains(&time) {
        return Ok(time);
    }
    let shown = humantime::format_duration;
    let bound = if time < least {
        format!("at least {}", shown(least))
    } else {
        format!("at most {}", shown(most))
    };
    Err(Ended::usage(format!("{name} is {}; it must be {bound}", shown(time))))
}
