//! The limits of a configuration.

use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};
use tidings_hub::{ForwardedHeader, InvalidNetwork, Limits};

use super::one_or_more::OneOrMore;
use super::size::Size;
use super::time::{DAY, HOUR, Time, between};
use crate::outcome::Ended;

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct LimitsFile {
    pub(super) streams: Option<usize>,
    pub(super) streams_per_address: Option<usize>,
    pub(super) streams_per_connection: Option<u32>,
    pub(super) streams_per_second: Option<u32>,
    pub(super) publishes_per_second: Option<u32>,
    pub(super) body: Option<Size>,
    pub(super) topics: Option<usize>,
    pub(super) topic: Option<Size>,
    pub(super) head: Option<Size>,
    pub(super) head_time: Option<Time>,
    pub(super) body_time: Option<Time>,
    pub(super) feeds: Option<usize>,
    pub(super) window: Option<Size>,
    pub(super) requests: Option<Size>,
    pub(super) waiting_connections: Option<usize>,
    pub(super) selectors: Option<Size>,
    pub(super) trusted_proxies: Option<OneOrMore>,
    pub(super) forwarded_header: Option<ForwardedHeaderFile>,
}

/// The header in which trusted proxies name the client.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ForwardedHeaderFile {
    Either,
    XForwardedFor,
    Forwarded,
}

impl LimitsFile {
    /// A table with every key.
    pub(super) fn every() -> Self {
        Self {
            streams: Some(0),
            streams_per_address: Some(0),
            streams_per_connection: Some(0),
            streams_per_second: Some(0),
            publishes_per_second: Some(0),
            body: Some(Size::of(0)),
            topics: Some(0),
            topic: Some(Size::of(0)),
            head: Some(Size::of(0)),
            head_time: Some(Time(Duration::ZERO)),
            body_time: Some(Time(Duration::ZERO)),
            feeds: Some(0),
            window: Some(Size::of(0)),
            requests: Some(Size::of(0)),
            waiting_connections: Some(0),
            selectors: Some(Size::of(0)),
            trusted_proxies: Some(OneOrMore::default()),
            forwarded_header: Some(ForwardedHeaderFile::Either),
        }
    }
}

/// The minimum of `limits.requests`: one address has a quarter of it, which must hold the largest
/// request.
pub(crate) fn requests_min(limits: &Limits) -> usize {
    // The largest number of whole KiB.
    const MOST: usize = (u32::MAX >> 10 << 10) as usize;
    limits.body_bytes.saturating_add(limits.head_bytes).saturating_mul(4).min(MOST)
}

/// The limits of the file, and the hub's defaults for the others.
pub(super) fn limits(file: &LimitsFile, age_max: Option<Time>) -> anyhow::Result<Limits> {
    /// A limit between 1 and `max`.
    fn within(name: &str, value: Option<usize>, max: usize) -> anyhow::Result<Option<usize>> {
        match value {
            Some(value) if value == 0 || value > max => Err(Ended::usage(format!(
                "limits.{name} is {value}; it must be between 1 and {max}"
            ))),
            value => Ok(value),
        }
    }
    let bytes =
        |size: Option<Size>| size.map(|size| usize::try_from(size.bytes()).unwrap_or(usize::MAX));
    let count = |value: Option<u32>| value.map(|value| value as usize);
    let mut limits = Limits::default();
    let set = |limit: &mut usize, name, value, max| -> anyhow::Result<()> {
        if let Some(value) = within(name, value, max)? {
            *limit = value;
        }
        Ok(())
    };
    set(&mut limits.streams, "streams", file.streams, usize::MAX)?;
    let per_address = file.streams_per_address;
    set(&mut limits.streams_per_address, "streams_per_address", per_address, usize::MAX)?;
    set(&mut limits.body_bytes, "body", bytes(file.body), 1 << 30)?;
    let topics_max = limits.topics;
    set(&mut limits.topics, "topics", file.topics, topics_max)?;
    let topic_max = limits.topic_bytes;
    set(&mut limits.topic_bytes, "topic", bytes(file.topic), topic_max)?;
    set(&mut limits.head_bytes, "head", bytes(file.head), 1 << 20)?;
    if limits.head_bytes < 8 << 10 {
        return Err(Ended::usage(format!(
            "limits.head is {}; it must be at least 8KiB",
            ByteSize::b(limits.head_bytes as u64)
        )));
    }
    set(&mut limits.feeds, "feeds", file.feeds, usize::MAX)?;
    let most = u32::MAX as usize;
    let per_connection = count(file.streams_per_connection);
    if let Some(value) = within("streams_per_connection", per_connection, most)? {
        limits.streams_per_connection = value as u32;
    }
    let per_second = count(file.streams_per_second);
    if let Some(value) = within("streams_per_second", per_second, most)? {
        limits.streams_per_second = value as u32;
    }
    let publishes = count(file.publishes_per_second);
    if let Some(value) = within("publishes_per_second", publishes, most)? {
        limits.publishes_per_second = value as u32;
    }
    let least = requests_min(&limits);
    limits.request_bytes = limits.request_bytes.max(least);
    set(&mut limits.request_bytes, "requests", bytes(file.requests), u32::MAX as usize)?;
    if limits.request_bytes < least {
        return Err(Ended::usage(format!(
            "limits.requests is {}; it must be at least {}KiB, four times the sum of limits.body and \
             limits.head, because one address gets a quarter of it",
            ByteSize::b(limits.request_bytes as u64),
            least.div_ceil(1 << 10)
        )));
    }
    let waiting = file.waiting_connections;
    set(&mut limits.waiting_connections, "waiting_connections", waiting, usize::MAX)?;
    limits.window_bytes = within("window", bytes(file.window), usize::MAX)?;
    let seconds = Duration::from_secs;
    set(&mut limits.selector_bytes, "selectors", bytes(file.selectors), u32::MAX as usize)?;
    if limits.selector_bytes < 1 << 20 {
        return Err(Ended::usage(format!(
            "limits.selectors is {}; it must be at least 1MiB",
            ByteSize::b(limits.selector_bytes as u64)
        )));
    }
    if let Some(Time(time)) = file.head_time {
        limits.head_time = between("limits.head_time", time, seconds(1), HOUR)?;
    }
    if let Some(Time(time)) = file.body_time {
        limits.body_time = between("limits.body_time", time, seconds(1), HOUR)?;
    }
    if let Some(Time(time)) = age_max.filter(|time| !time.0.is_zero()) {
        limits.stream_age = Some(between("streams.age_max", time, seconds(10), 366 * DAY)?);
    }
    let proxies = file.trusted_proxies.iter().flat_map(OneOrMore::texts).map(|text| text.parse());
    limits.trusted_proxies = proxies
        .collect::<Result<_, InvalidNetwork>>()
        .map_err(|error| Ended::usage(format!("limits.trusted_proxies: {error}")))?;
    limits.forwarded_header = match file.forwarded_header {
        None | Some(ForwardedHeaderFile::Either) => ForwardedHeader::Either,
        Some(ForwardedHeaderFile::XForwardedFor) => ForwardedHeader::XForwardedFor,
        Some(ForwardedHeaderFile::Forwarded) => ForwardedHeader::Forwarded,
    };
    Ok(limits)
}

#[cfg(test)]
mod tests {
    use super::super::file::File;
    use super::*;

    #[test]
    fn every_limit_of_a_file_reaches_the_hub() {
        let file = File::parse(
            "[streams]\nage_max = \"1h\"\n[limits]\nstreams = 1\nstreams_per_address = 2\n\
             streams_per_connection = 3\nstreams_per_second = 4\npublishes_per_second = 5\n\
             body = \"6KiB\"\ntopics = 7\ntopic = \"8B\"\nhead = \"9KiB\"\nhead_time = \"10s\"\n\
             body_time = \"11s\"\nfeeds = 12\nwindow = \"13MiB\"\nrequests = \"14MiB\"\n\
             selectors = \"15MiB\"\nwaiting_connections = 16\ntrusted_proxies = [\"10.0.0.14\"]\n\
             forwarded_header = \"x-forwarded-for\"\n",
        )
        .unwrap();
        let mut expected = Limits::default();
        expected.streams = 1;
        expected.streams_per_address = 2;
        expected.streams_per_connection = 3;
        expected.streams_per_second = 4;
        expected.publishes_per_second = 5;
        expected.body_bytes = 6 << 10;
        expected.topics = 7;
        expected.topic_bytes = 8;
        expected.head_bytes = 9 << 10;
        expected.head_time = Duration::from_secs(10);
        expected.body_time = Duration::from_secs(11);
        expected.feeds = 12;
        expected.window_bytes = Some(13 << 20);
        expected.request_bytes = 14 << 20;
        expected.waiting_connections = 16;
        expected.selector_bytes = 15 << 20;
        expected.stream_age = Some(Duration::from_secs(3600));
        expected.trusted_proxies = vec!["10.0.0.14".parse().unwrap()];
        expected.forwarded_header = ForwardedHeader::XForwardedFor;
        assert_eq!(limits(&file.limits, file.streams.age_max).unwrap(), expected);
    }
}
