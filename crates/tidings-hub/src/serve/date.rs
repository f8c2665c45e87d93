//! The header `Date` of the answers that hyper does not write.

use std::cell::RefCell;
use std::time::{Duration, UNIX_EPOCH};

use crate::clock;

thread_local! {
    /// The seconds since 1970, and the same as the header `Date` has it.
    static DATE: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
}

/// Appends the date, which is formatted once a second.
pub(super) fn append_date(out: &mut Vec<u8>) {
    let now = clock::time().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    DATE.with_borrow_mut(|(second, text)| {
        if *second != now || text.is_empty() {
            *text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(now));
            *second = now;
        }
        out.extend_from_slice(text.as_bytes());
    });
}
