//! Parses a line as a field (HTML 9.2.6, "processing the field").

use core::time::Duration;

/// A parsed line of an event stream. Comments and values always extend to the end of the line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// The end of a block.
    Blank,
    /// The text after the colon, not trimmed.
    Comment(&'a str),
    Data(&'a str),
    Type(&'a str),
    Id(&'a str),
    /// `None` if the standard ignores the value.
    Retry(Option<Duration>),
    /// A field with a name that the standard does not define.
    Unknown {
        name: &'a str,
        value: &'a str,
    },
}

impl<'a> Line<'a> {
    /// `line` has no line break.
    #[inline]
    pub(super) fn read(line: &'a str) -> Self {
        if line.is_empty() {
            return Self::Blank;
        }
        // Nearly every line is one of these, and their colon need not be searched for.
        if let Some(value) = line.strip_prefix("data:") {
            return Self::Data(without_space(value));
        }
        if let Some(value) = line.strip_prefix("event:") {
            return Self::Type(without_space(value));
        }
        if let Some(value) = line.strip_prefix("id:") {
            return Self::Id(without_space(value));
        }
        if let Some(text) = line.strip_prefix(':') {
            return Self::Comment(text);
        }
        Self::read_by_name(line)
    }

    fn read_by_name(line: &'a str) -> Self {
        // A line without a colon is a name with an empty value.
        let (name, value) = match memchr::memchr(b':', line.as_bytes()) {
            Some(colon) => (&line[..colon], without_space(&line[colon + 1..])),
            None => (line, &line[line.len()..]),
        };
        match name {
            "data" => Self::Data(value),
            "event" => Self::Type(value),
            "id" => Self::Id(value),
            "retry" => Self::Retry(reconnection_time(value)),
            _ => Self::Unknown { name, value },
        }
    }
}

/// One space after the colon belongs to the syntax; a tab or a second space is the value's.
#[inline]
fn without_space(value: &str) -> &str {
    value.strip_prefix(' ').unwrap_or(value)
}

fn reconnection_time(value: &str) -> Option<Duration> {
    // The standard allows ASCII digits only; `parse` would also accept "+5".
    if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // `parse` can only fail by overflow now. Such a number means "never"; ignoring it would keep the
    // earlier, shorter time.
    Some(Duration::from_millis(value.parse().unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Line<'_>) {
        assert_eq!(Line::read(line), expected, "{line:?}");
    }

    fn retry(milliseconds: u64) -> Line<'static> {
        Line::Retry(Some(Duration::from_millis(milliseconds)))
    }

    #[test]
    fn one_space_after_the_colon_is_not_part_of_the_value() {
        check("data: a", Line::Data("a"));
        check("data:a", Line::Data("a"));
        check("data:  a ", Line::Data(" a "));
        check("data:\ta", Line::Data("\ta"));
        check("data:\u{a0}a", Line::Data("\u{a0}a"));
    }

    #[test]
    fn a_line_without_a_colon_is_a_name_with_an_empty_value() {
        check("data", Line::Data(""));
        check("event", Line::Type(""));
        check("id", Line::Id(""));
        check("retry", Line::Retry(None));
        check("other", Line::Unknown { name: "other", value: "" });
    }

    #[test]
    fn names_are_case_sensitive_and_not_trimmed() {
        check("Data: a", Line::Unknown { name: "Data", value: "a" });
        check(" data: a", Line::Unknown { name: " data", value: "a" });
        check("data : a", Line::Unknown { name: "data ", value: "a" });
        check("dat", Line::Unknown { name: "dat", value: "" });
        check("datas: a", Line::Unknown { name: "datas", value: "a" });
    }

    #[test]
    fn a_comment_keeps_its_space() {
        check(": a:b", Line::Comment(" a:b"));
        check(":", Line::Comment(""));
        check("comment: a", Line::Unknown { name: "comment", value: "a" });
    }

    #[test]
    fn white_space_alone_is_an_unknown_name() {
        for line in [" ", "\t", "\0"] {
            check(line, Line::Unknown { name: line, value: "" });
        }
    }

    #[test]
    fn retry_is_ascii_digits_only() {
        check("retry: 2500", retry(2500));
        check("retry:0", retry(0));
        check("retry: 007", retry(7));
        for value in ["", "+5", "-5", "5 ", " 5", "5.0", "1_000", "0x5", "5s", "５"] {
            check(&format!("retry: {value}"), Line::Retry(None));
        }
    }

    #[test]
    fn a_retry_too_large_for_its_type_is_the_largest_value() {
        check("retry: 18446744073709551615", retry(u64::MAX));
        check("retry: 18446744073709551616", retry(u64::MAX));
        check(&format!("retry: {}", "9".repeat(400)), retry(u64::MAX));
    }
}
