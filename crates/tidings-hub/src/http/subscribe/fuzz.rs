//! Any cursor of a request: it is understood in one way, or refused.

use tidings_seed::fuzz::{Change, changed};

use super::*;

const CURSORS: [&[u8]; 6] = [
    b"tidings:aaaaaa.1.aaaa",
    b"earliest",
    b"tidings:last",
    b"tidings:since:2026-01-31T12:00:00Z",
    b"tidings:since:2026-01-31T12:00:00.123456789+01:30",
    b"gr\xc3\xb6\xc3\x9fe 7",
];

const PIECES: [&[u8]; 8] =
    [b"tidings:since:", b":", b"-", b"+24:00", b"9999", b"\xc3\xa9", b" ", b"T"];

#[test]
fn a_cursor_says_what_was_asked_for_and_the_header_wins() {
    tidings_seed::fuzz!(((u8, Vec<Change>), (u8, Vec<Change>), u8), 2000, |(
        one,
        other,
        places,
    )| {
        let in_header = changed(one, &CURSORS, &PIECES);
        let in_query = changed(other, &CURSORS, &PIECES);
        let encoded: String = in_query.iter().map(|byte| format!("%{byte:02x}")).collect();
        let query = format!("topic=a&lastEventID=&lastEventID={encoded}&lastEventID=");
        let query = if places & 1 == 0 { "topic=a" } else { &query };
        let mut headers = HeaderMap::new();
        if places & 2 != 0 {
            let Ok(value) = HeaderValue::from_bytes(&in_header) else { return };
            headers.insert(LAST_EVENT_ID, value);
        }
        let asked = LastEventId::of(&headers).into_inner().or_else(|| {
            let text = String::from_utf8_lossy(&in_query).into_owned();
            Some(text).filter(|text| places & 1 != 0 && !text.is_empty())
        });
        let (query, form) = (Pairs::read(query.as_bytes()), Pairs::default());
        let Ok((cursor, is_sent)) = cursor([&query, &form], &headers) else {
            return assert!(asked.is_some_and(|asked| asked.starts_with(SINCE)));
        };
        assert_eq!(is_sent, places & 3 != 0);
        match (&cursor, asked) {
            (Cursor::Now, asked) => assert_eq!(asked, None),
            (_, None) => panic!("{cursor:?} of nothing"),
            (Cursor::After(id), Some(asked)) => {
                assert!(asked.starts_with(id.as_str()) && id.chars().count() <= ID_BYTES_MAX + 1);
                assert!(id.len() == asked.len() || id.chars().count() > ID_BYTES_MAX);
            }
            (Cursor::Since(time, id), Some(asked)) => {
                assert_eq!(*id, asked);
                // It prints as the same moment.
                let again = DateTime::<chrono::Utc>::from(*time).to_rfc3339();
                let again = DateTime::parse_from_rfc3339(&again).expect("it was printed");
                assert_eq!(std::time::SystemTime::from(again), *time);
            }
            (_, Some(asked)) => assert_eq!(cursor.to_string(), asked),
        }
    });
}
