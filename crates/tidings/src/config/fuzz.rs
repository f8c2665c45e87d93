//! Any configuration file: it is read as TOML says and printed as it was read, or refused.

use std::fmt::Debug;

use tidings_seed::fuzz::{Change, changed, pieces};

use super::*;
use crate::args::units;

const FILES: [&[u8]; 6] = [
    include_bytes!("template.toml"),
    b"listen = [\"localhost:8081\", \"unix:/run/a.sock\"]\nshards = 2\ndrain = \"1m 30s\"\n\
      [limits]\nstreams = 1\nbody = \"6KiB\"\nhead = 9000\nhead_time = \"10s\"\n\
      trusted_proxies = [\"10.0.0.0/8\"]\nforwarded_header = \"forwarded\"\n",
    b"[journal]\nkind = \"disk\"\nsync = \"interval\"\nsync_interval = \"1s\"\n\
      [[journal.retention]]\ntopics = \"a/{x}\"\ncount = 3\nage = \"1d\"\nbytes = \"1.5GiB\"\n",
    b"[access]\nanonymous_subscribe = true\naudience = \"a\"\nallowed_hosts = [\"localhost\"]\n\
      [[access.issuers]]\nname = \"https://i.test\"\n",
    b"[streams]\nheartbeat = \"15s\"\nage_max = \"1h\"\n[presence]\nevents = true\n",
    b"",
];

const PIECES: [&[u8]; 24] = [
    b"\n",
    b"=",
    b"\"",
    b"[",
    b"]",
    b"[[",
    b"]]",
    b".",
    b"{",
    b"}",
    b"#",
    b"-1",
    b"1e999",
    b"99999999999999999999",
    b"\"1s\"",
    b"\"584942417355y\"",
    b"\"1EiB\"",
    b"\"-1B\"",
    b"true",
    b"limits.",
    b"[limits]\n",
    b"2026-01-01",
    b"'''",
    b"\\uD800",
];

fn json(value: &impl serde::Serialize) -> serde_json::Value {
    serde_json::to_value(value).expect("strings, numbers and lists are JSON")
}

/// A missing key prints as null, which TOML does not have.
fn remove_nulls(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(remove_nulls);
        }
        serde_json::Value::Array(members) => members.iter_mut().for_each(remove_nulls),
        _ => {}
    }
}

#[test]
fn an_accepted_file_is_read_as_toml_says_and_reads_back_as_itself() {
    tidings_seed::fuzz!((u8, Vec<Change>), 1500, |input| {
        let text = changed(input, &FILES, &PIECES);
        let Ok(text) = std::str::from_utf8(&text) else { return };
        let file = match File::parse(text) {
            Ok(file) => file,
            Err(error) => return assert!(!format!("{error:#}").is_empty()),
        };
        let mut printed = json(&file);
        remove_nulls(&mut printed);
        let again: File = serde_json::from_value(printed.clone()).expect("it was printed");
        let mut again = json(&again);
        remove_nulls(&mut again);
        assert_eq!(again, printed, "{text:?}");
        // Plain values are what a reader without our types finds.
        let plain: toml::Table = text.parse().expect("it is TOML");
        let streams = plain.get("limits").and_then(|limits| limits.get("streams")?.as_integer());
        let read = file.limits.streams.and_then(|count| i64::try_from(count).ok());
        assert_eq!(read, streams);
        let shards = plain.get("shards").and_then(toml::Value::as_integer);
        assert_eq!(file.shards.map(i64::from), shards);
        assert_eq!(file.demo, plain.get("demo").and_then(toml::Value::as_bool));
        if let Ok(limits) = limits(&file.limits, file.streams.age_max) {
            assert!((1..=1 << 30).contains(&limits.body_bytes), "{}", limits.body_bytes);
            assert!((8 << 10..=1 << 20).contains(&limits.head_bytes), "{}", limits.head_bytes);
            assert!(limits.request_bytes >= requests_min(&limits));
            let second = Duration::from_secs(1);
            assert!((second..=time::HOUR).contains(&limits.head_time));
            assert!(limits.stream_age.is_none_or(|age| (10 * second..=366 * DAY).contains(&age)));
            assert!(limits.streams > 0 && limits.feeds > 0 && limits.topics > 0);
        }
    });
}

/// What is accepted prints as a text that means the same.
fn check<T: PartialEq + Debug, E>(
    text: &str,
    read: impl Fn(&str) -> Result<T, E>,
    print: impl Fn(&T) -> String,
) {
    if let Ok(value) = read(text) {
        let printed = print(&value);
        assert_eq!(read(&printed).ok(), Some(value), "{text:?} printed as {printed:?}");
    }
}

#[test]
fn a_place_a_time_and_a_size_print_as_they_are_read() {
    const TEXTS: [&[u8]; 12] = [
        b"localhost:8081",
        b"[::1]:80",
        b"0.0.0.0:65535",
        b"unix:/run/a b.sock",
        b"[::ffff:127.0.0.1]:0",
        b"1h 30m",
        b"15s",
        b"250ms 3us 1ns",
        b"2years",
        b"1.5MiB",
        b"18446744073709551615",
        b"8 kB",
    ];
    const PARTS: [&[u8]; 14] = [
        b":",
        b"[",
        b"]",
        b".",
        b" ",
        b"1",
        b"99999999999999999999",
        b"s",
        b"m",
        b"GiB",
        b"e9",
        b"-",
        b"%eth0",
        b"nan",
    ];
    tidings_seed::fuzz!(((u8, Vec<Change>), Vec<u8>), 10_000, |(input, choices)| {
        for text in [changed(input, &TEXTS, &PARTS), pieces(choices, &PARTS, &TEXTS)] {
            let Ok(text) = std::str::from_utf8(&text) else { continue };
            check(text, str::parse::<Place>, ToString::to_string);
            check(text, units::duration, |time| humantime::format_duration(*time).to_string());
            check(text, units::size, |size| size.as_u64().to_string());
            if let Ok(time) = units::instant(text) {
                let is_before = time < std::time::SystemTime::UNIX_EPOCH;
                let printed = || humantime::format_rfc3339(time).to_string();
                assert!(is_before || units::instant(&printed()) == Ok(time), "{text:?}");
            }
        }
    });
}
