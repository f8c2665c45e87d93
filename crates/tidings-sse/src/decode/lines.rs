//! Splits bytes into lines: UTF-8, a byte order mark, LF, CR and CRLF, in chunks cut anywhere.

use alloc::string::String;
use core::ops::Range;

use super::{Lost, line_end};

const BYTE_ORDER_MARK: char = '\u{feff}';

/// The received text of a stream, and its complete lines.
///
/// As in the standard, UTF-8 is decoded before lines are split. Text is checked once, on arrival;
/// lines are borrowed from it without another check.
#[derive(Debug)]
pub(super) struct Lines {
    text: String,
    /// The start of the next line to return.
    start: usize,
    /// There is no line end in `start..scanned`.
    scanned: usize,
    /// The beginning of a character that is incomplete at the end of the last chunk.
    unfinished: Unfinished,
    expecting: Expecting,
    /// The bytes discarded so far of a line that exceeds the limit.
    skipped: Option<Skipped>,
    line_bytes_max: usize,
    /// Bytes read or moved, for the tests that count work.
    #[cfg(test)]
    pub(super) work: usize,
}

/// A complete line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Its range in the text, without its line end.
    Line(Range<usize>),
    /// It exceeded the limit and was discarded.
    TooLong(Skipped),
}

/// A discarded line that exceeded the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Skipped {
    /// A comment is not part of the block around it; any other line discards its block.
    pub(super) lost: Lost,
    pub(super) bytes: u64,
}

/// What the next character may be, other than part of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expecting {
    /// A byte order mark, which is skipped at the start of a stream.
    ByteOrderMark,
    /// The LF of a CRLF whose CR was the end of the text.
    LineFeed,
    Line,
}

#[derive(Clone, Copy, Debug, Default)]
struct Unfinished {
    bytes: [u8; 4],
    len: usize,
}

impl Lines {
    pub(super) fn new(line_bytes_max: usize) -> Self {
        Self {
            text: String::new(),
            start: 0,
            scanned: 0,
            unfinished: Unfinished::default(),
            expecting: Expecting::ByteOrderMark,
            skipped: None,
            line_bytes_max,
            #[cfg(test)]
            work: 0,
        }
    }

    /// The text that the ranges of lines refer to, until [`make_room`](Self::make_room).
    #[inline]
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Whether the lines already returned take up enough of the text to be removed.
    pub(super) fn wants_room(&self) -> bool {
        // Never moves more bytes than it removes, so the total cost is linear for chunks of any
        // size.
        self.start > 0 && self.start >= self.text.len() - self.start
    }

    /// Removes the lines already returned. Their ranges become invalid.
    pub(super) fn make_room(&mut self) {
        self.count_work(self.text.len() - self.start);
        if self.start == self.text.len() {
            self.text.clear();
        } else {
            self.text.drain(..self.start);
        }
        self.scanned -= self.start;
        self.start = 0;
    }

    /// Appends received bytes. Invalid bytes become U+FFFD, one for each maximal subpart
    /// (WHATWG Encoding, "UTF-8 decoder").
    pub(super) fn push(&mut self, mut bytes: &[u8]) {
        self.count_work(bytes.len());
        if self.unfinished.len > 0 {
            bytes = self.finish_character(bytes);
            if bytes.is_empty() {
                return;
            }
        }
        let (bytes, unfinished) = split_unfinished(bytes);
        self.unfinished.bytes[..unfinished.len()].copy_from_slice(unfinished);
        self.unfinished.len = unfinished.len();
        match str::from_utf8(bytes) {
            Ok(text) => self.text.push_str(text),
            Err(_) => self.push_lossy(bytes),
        }
    }

    #[cold]
    fn push_lossy(&mut self, bytes: &[u8]) {
        self.count_work(bytes.len());
        for chunk in bytes.utf8_chunks() {
            self.text.push_str(chunk.valid());
            if !chunk.invalid().is_empty() {
                self.text.push(char::REPLACEMENT_CHARACTER);
            }
        }
    }

    /// Completes the character that the last chunk began, or replaces it if it is invalid, and
    /// returns the rest.
    fn finish_character<'a>(&mut self, mut bytes: &'a [u8]) -> &'a [u8] {
        while let Some((&byte, rest)) = bytes.split_first() {
            let Unfinished { bytes: character, len } = &mut self.unfinished;
            character[*len] = byte;
            match str::from_utf8(&character[..=*len]) {
                Ok(character) => {
                    self.text.push_str(character);
                    *len = 0;
                    return rest;
                }
                Err(error) if error.error_len().is_none() => {
                    *len += 1;
                    bytes = rest;
                }
                // The byte that makes it invalid begins the rest; it may be a line end.
                Err(_) => {
                    self.text.push(char::REPLACEMENT_CHARACTER);
                    *len = 0;
                    return bytes;
                }
            }
        }
        bytes
    }

    /// The next complete line.
    #[inline]
    pub(super) fn next(&mut self) -> Option<Found> {
        if self.expecting != Expecting::Line {
            self.meet_expectation();
        }
        let bytes = self.text.as_bytes();
        // In a stream of short events every second line is blank and needs no search.
        let end = match bytes.get(self.scanned)? {
            b'\n' | b'\r' => self.scanned,
            _ => match line_end::find(&bytes[self.scanned..]) {
                Some(offset) => self.scanned + offset,
                None => {
                    self.hold_unterminated();
                    return None;
                }
            },
        };
        self.count_work(end + 1 - self.scanned);
        let bytes = self.text.as_bytes();
        let mut next = end + 1;
        if bytes[end] == b'\r' {
            match bytes.get(next) {
                Some(b'\n') => next += 1,
                Some(_) => (),
                // The CR already ends the line: waiting for an LF, which may never come, would delay
                // its event.
                None => self.expecting = Expecting::LineFeed,
            }
        }
        let line = self.start..end;
        self.start = next;
        self.scanned = next;
        if self.skipped.is_some() || line.len() > self.line_bytes_max {
            return Some(Found::TooLong(self.skip(line)));
        }
        Some(Found::Line(line))
    }

    /// The text from the start of the next line, complete or not. Empty if something else may come
    /// first.
    #[inline(always)]
    pub(super) fn upcoming(&self) -> &[u8] {
        if self.expecting == Expecting::Line && self.skipped.is_none() {
            &self.text.as_bytes()[self.start..]
        } else {
            &[]
        }
    }

    /// The [`upcoming`](Self::upcoming) line together with the blank line after it, if both are
    /// complete, end with LF, and the line has at most `bytes_max` bytes.
    #[inline(always)]
    pub(super) fn next_with_blank(&mut self, bytes_max: usize) -> Option<Range<usize>> {
        let bytes = &self.text.as_bytes()[self.scanned..];
        let Some(searched) = line_end::find(bytes) else {
            self.hold_unterminated();
            return None;
        };
        let is_whole = bytes[searched..].starts_with(b"\n\n");
        self.count_work(searched);
        // If there is no blank line, the search need not be repeated.
        self.scanned += searched;
        let line = self.start..self.scanned;
        if !is_whole || line.len() > bytes_max {
            return None;
        }
        self.start = line.end + 2;
        self.scanned = self.start;
        Some(line)
    }

    /// Whether there can be no further line until more bytes are pushed.
    pub(super) fn is_searched(&self) -> bool {
        self.scanned == self.text.len() && self.skipped.is_none()
    }

    /// Whether the unfinished line exceeds the limit.
    pub(super) fn is_skipping(&self) -> bool {
        self.skipped.is_some()
    }

    /// The discarded part of an unfinished line that exceeds the limit.
    pub(super) fn skipped(&self) -> Option<Skipped> {
        self.skipped
    }

    /// The stored part of the unfinished line.
    pub(super) fn begun_line(&self) -> &str {
        &self.text[self.start..]
    }

    /// The number of bytes of the unfinished character.
    pub(super) fn unfinished_bytes(&self) -> usize {
        self.unfinished.len
    }

    /// Whether there is an unfinished line.
    pub(super) fn has_begun_line(&self) -> bool {
        self.start < self.text.len() || self.unfinished.len > 0 || self.skipped.is_some()
    }

    /// Resets for a new stream.
    pub(super) fn restart(&mut self) {
        self.text.clear();
        self.start = 0;
        self.scanned = 0;
        self.unfinished.len = 0;
        self.expecting = Expecting::ByteOrderMark;
        self.skipped = None;
    }

    #[cold]
    fn meet_expectation(&mut self) {
        let Some(first) = self.text[self.start..].chars().next() else { return };
        let expected = match self.expecting {
            Expecting::ByteOrderMark => BYTE_ORDER_MARK,
            Expecting::LineFeed => '\n',
            Expecting::Line => return,
        };
        self.expecting = Expecting::Line;
        if first == expected {
            self.start += first.len_utf8();
            self.scanned = self.start;
        }
    }

    #[cold]
    fn hold_unterminated(&mut self) {
        let line = self.start..self.text.len();
        self.count_work(line.end - self.scanned);
        self.scanned = line.end;
        if self.skipped.is_some() || line.len() > self.line_bytes_max {
            let skipped = self.skip(line);
            self.skipped = Some(skipped);
            self.text.truncate(self.start);
            self.scanned = self.start;
        }
    }

    /// Adds `line`, or a part of it, to the skipped part of the line.
    #[cold]
    fn skip(&mut self, line: Range<usize>) -> Skipped {
        let bytes = line.len() as u64;
        match self.skipped.take() {
            Some(skipped) => Skipped { bytes: skipped.bytes + bytes, ..skipped },
            None => {
                let is_comment = self.text[line].starts_with(':');
                let lost = if is_comment { Lost::Comment } else { Lost::Event };
                Skipped { lost, bytes }
            }
        }
    }

    #[cfg(test)]
    fn count_work(&mut self, bytes: usize) {
        self.work += bytes;
    }

    #[cfg(not(test))]
    #[inline]
    fn count_work(&self, _bytes: usize) {}
}

/// Splits off an incomplete character at the end.
#[inline]
fn split_unfinished(bytes: &[u8]) -> (&[u8], &[u8]) {
    // Its first byte is the last byte that is not a continuation byte, and one of the last three.
    let is_continuation = |byte: &u8| byte & 0b1100_0000 == 0b1000_0000;
    let tail = bytes.iter().rev().take(3).take_while(|byte| is_continuation(byte)).count() + 1;
    match bytes.split_at_checked(bytes.len().wrapping_sub(tail)) {
        Some((before, character)) if !character[0].is_ascii() => {
            match str::from_utf8(character) {
                // Complete, or invalid whatever follows: not incomplete.
                Ok(_) => (bytes, &[]),
                Err(error) if error.error_len().is_some() => (bytes, &[]),
                Err(_) => (before, character),
            }
        }
        _ => (bytes, &[]),
    }
}
