//! Durations of a configuration.

use std::fmt;
use std::time::Duration;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::args::units;
use crate::outcome::Ended;

pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);

/// A duration with units: `15s`, `24h`.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(into = "String")]
pub(super) struct Time(pub(super) Duration);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TimeVisitor)
    }
}

struct TimeVisitor;

impl Visitor<'_> for TimeVisitor {
    type Value = Time;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a time with its unit, such as \"15s\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Time, E> {
        units::duration(text).map(Time).map_err(E::custom)
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
