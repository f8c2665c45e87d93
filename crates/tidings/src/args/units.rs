//! Values with units: durations, sizes, and points in time.

use std::time::{Duration, SystemTime};

use bytesize::ByteSize;

/// Parses a duration such as `15s` or `1h 30m`.
///
/// # Errors
/// If the text is not a duration. The error says how to write one.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| {
        format!("{text:?} is not a time; write numbers with units (ms, s, m, h, d), such as 15s")
    })
}

/// Parses a size such as `1MiB`, or a number of bytes.
///
/// # Errors
/// If the text is not a size. The error lists the units.
pub(crate) fn size(text: &str) -> Result<ByteSize, String> {
    text.parse().map_err(|_| {
        format!(
            "{text:?} is not a size; write a number with a unit (B, kB, KiB, MB, MiB, GB, GiB), such \
             as 1MiB"
        )
    })
}

/// Whether the text begins as a date does: `2026-01-31`.
pub(crate) fn is_like_date(text: &str) -> bool {
    text.as_bytes().get(..10).is_some_and(|date| {
        date.iter().enumerate().all(|(at, byte)| match at {
            4 | 7 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        })
    })
}

/// Parses a date, which means its midnight, or a time as in RFC 3339. Without an offset it is in
/// UTC. Seconds may be missing, and a space may stand for the `T`.
///
/// # Errors
/// If the text is neither. The error says how to write a time.
pub(crate) fn instant(text: &str) -> Result<SystemTime, String> {
    let wrong = || {
        format!(
            "{text:?} is not a time; write a date (2026-01-31) or a time (2026-01-31T12:00:00Z, or \
             with an offset such as +01:00)"
        )
    };
    let (date, time) = match text.split_once(['T', 't', ' ']) {
        Some((date, time)) => (date, time),
        None => (text, "00:00:00"),
    };
    let (time, offset) = match time.rfind(['Z', 'z', '+', '-']) {
        Some(at) => (&time[..at], seconds_of(&time[at..]).ok_or_else(wrong)?),
        None => (time, 0),
    };
    let time = if time.len() == 5 { format!("{time}:00") } else { time.to_owned() };
    let local = humantime::parse_rfc3339(&format!("{date}T{time}Z")).map_err(|_| wrong())?;
    let shift = Duration::from_secs(u64::from(i32::unsigned_abs(offset)));
    let shifted = if offset < 0 { local.checked_add(shift) } else { local.checked_sub(shift) };
    shifted.ok_or_else(wrong)
}

/// The seconds of an offset from UTC: `Z`, `+01:00`, `-0530`.
fn seconds_of(text: &str) -> Option<i32> {
    let (sign, digits) = match text.split_at_checked(1)? {
        ("Z" | "z", "") => return Some(0),
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let digits = digits.replace(':', "");
    if digits.len() != 4 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes) = (digits[..2].parse::<i32>().ok()?, digits[2..].parse::<i32>().ok()?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_in_time_may_be_a_date_and_have_an_offset() {
        let shown = |text| humantime::format_rfc3339(instant(text).unwrap()).to_string();
        for (text, time) in [
            ("2026-11-28", "2026-11-28T00:00:00Z"),
            ("2026-11-28T12:00", "2026-11-28T12:00:00Z"),
            ("2026-11-28 12:00:30", "2026-11-28T12:00:30Z"),
            ("2026-11-28T12:00:00Z", "2026-11-28T12:00:00Z"),
            ("2026-11-28T12:00:00+01:00", "2026-11-28T11:00:00Z"),
            ("2026-11-28T23:30:00-0130", "2026-11-29T01:00:00Z"),
            ("2026-11-28T12:00:00.250Z", "2026-11-28T12:00:00.250000000Z"),
        ] {
            assert_eq!(shown(text), time, "{text}");
        }
        for text in ["2026-13-01", "2026-02-30", "2026-11-28T25:00", "2026-11-28T12:00+1", "2026-"]
        {
            assert!(instant(text).is_err(), "{text}");
        }
        assert!(is_like_date("2026-13-45") && !is_like_date("2026-0001") && !is_like_date("7"));
    }

    #[test]
    fn wrong_units_are_errors_that_list_the_units() {
        for text in ["1XB", "", "many"] {
            assert!(size(text).unwrap_err().contains("MiB"), "{text}");
        }
        assert!(duration("soon").unwrap_err().contains("15s"));
    }
}
