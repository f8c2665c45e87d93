//! Writes events to standard output.

use std::borrow::Cow;
use std::io::{self, Write as _};
use std::ops::Range;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tidings_client::ReceivedEvent;
use tidings_sse::{Event, EventId, EventType, encode};

use crate::args::Format;
use crate::console;

/// The maximum of bytes after the stored position that are compared with events that arrive again.
#[cfg(unix)]
const UNKEPT_BYTES_MAX: u64 = 64 << 20;

/// Standard output, and its length if it is a file.
pub(crate) struct Output {
    format: Format,
    is_coloured: bool,
    /// The end of the output, if it is a file.
    end: Option<End>,
    /// Output of an earlier run after its stored position. It is not written again.
    unkept: Vec<u8>,
}

/// The end of a file at the stored position.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct End {
    device: u64,
    inode: u64,
    bytes: u64,
}

impl Output {
    pub(crate) fn new(format: Format) -> Self {
        let is_coloured = console::is_coloured(&io::stdout());
        Self { format, is_coloured, end: None, unkept: Vec::new() }
    }

    /// Starts tracking the end of the output, given its end at the stored position.
    #[cfg(unix)]
    pub(crate) fn watch(&mut self, kept: Option<End>) -> io::Result<()> {
        use std::fs::File;
        use std::io::{Read as _, Seek as _, SeekFrom};
        use std::os::fd::AsFd as _;
        use std::os::unix::fs::MetadataExt as _;

        let file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Ok(());
        }
        let (device, inode) = (metadata.dev(), metadata.ino());
        let end = End { device, inode, bytes: metadata.len() };
        self.end = Some(end);
        let Some(kept) = kept else { return Ok(()) };
        let is_same = (kept.device, kept.inode) == (device, inode);
        if !is_same || kept.bytes >= end.bytes || end.bytes - kept.bytes > UNKEPT_BYTES_MAX {
            return Ok(());
        }
        // Standard output is usually not open for reading, so it is opened again.
        let mut file = File::open("/dev/stdout")?;
        file.seek(SeekFrom::Start(kept.bytes))?;
        file.take(end.bytes - kept.bytes).read_to_end(&mut self.unkept)?;
        Ok(())
    }

    /// Does nothing: other systems have no number that identifies a file. So an event that was
    /// partly written when the process was killed is written again.
    #[cfg(not(unix))]
    pub(crate) fn watch(&mut self, _kept: Option<End>) -> io::Result<()> {
        Ok(())
    }

    /// The current end of the output, if it is a file.
    pub(crate) fn end(&self) -> Option<End> {
        let end = self.end?;
        Some(End { bytes: end.bytes - self.unkept.len() as u64, ..end })
    }

    /// Writes an event and flushes the output.
    pub(crate) fn write(&mut self, event: &ReceivedEvent) -> io::Result<()> {
        let (mut bytes, time) = self.render(event);
        // It was written at an earlier time.
        adopt(&mut bytes, time, &self.unkept);
        let mut rest = bytes.as_slice();
        if !self.unkept.is_empty() {
            let same = self.unkept.len().min(bytes.len());
            if self.unkept[..same] == bytes[..same] {
                self.unkept.drain(..same);
                rest = &bytes[same..];
            } else {
                // Another program wrote it, so it stays.
                self.unkept.clear();
            }
        }
        if rest.is_empty() {
            return Ok(());
        }
        let mut out = console::out();
        out.write_all(rest)?;
        out.flush()?;
        if let Some(end) = &mut self.end {
            end.bytes += rest.len() as u64;
        }
        Ok(())
    }

    /// The text of an event, and where in it the time is.
    fn render(&self, event: &ReceivedEvent) -> (Vec<u8>, Range<usize>) {
        let time = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        match self.format {
            Format::Text => in_text(event, &time, self.is_coloured),
            Format::Json => in_json(event, &time),
            Format::Data => (format!("{}\n", event.data()).into_bytes(), 0..0),
            Format::Stream => (in_stream(event), 0..0),
        }
    }
}

/// Replaces the time by the one at the same place in `written`, as far as that has one.
fn adopt(bytes: &mut [u8], time: Range<usize>, written: &[u8]) {
    let end = time.end.min(written.len());
    let Some(earlier) = written.get(time.start..end) else { return };
    let is_of_time = |byte: &u8| byte.is_ascii_digit() || b"-T:.Z".contains(byte);
    if earlier.iter().all(is_of_time) {
        bytes[time.start..end].copy_from_slice(earlier);
    }
}

/// A line with the time, the topics, the type and the id, then the data, indented.
fn in_text(event: &ReceivedEvent, time: &str, is_coloured: bool) -> (Vec<u8>, Range<usize>) {
    let (faint, bold, end) =
        if is_coloured { ("\x1b[2m", "\x1b[1m", "\x1b[0m") } else { ("", "", "") };
    let mut text = format!("{faint}{time}{end}");
    let place = faint.len()..faint.len() + time.len();
    for topic in event.topics() {
        text.push_str(&format!("  topic={bold}{}{end}", printable(topic)));
    }
    text.push_str(&format!("  type={}", printable(event.event_type())));
    if !event.last_event_id().is_empty() {
        text.push_str(&format!("  {faint}id={}{end}", printable(event.last_event_id())));
    }
    text.push('\n');
    for line in event.data().split('\n').filter(|_| !event.data().is_empty()) {
        text.push_str("  ");
        text.push_str(&printable(line));
        text.push('\n');
    }
    (text.into_bytes(), place)
}

/// The text with its control characters escaped, so that an event cannot control the terminal.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    let is_harmless = |c: char| !c.is_control() || c == '\t';
    if text.chars().all(is_harmless) {
        return text.into();
    }
    let mut printable = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_harmless(c) {
            printable.push(c);
        } else {
            printable.extend(c.escape_default());
        }
    }
    printable.into()
}

/// The time comes first, so that its place is known.
fn in_json(event: &ReceivedEvent, time: &str) -> (Vec<u8>, Range<usize>) {
    const BEFORE: &str = "{\"time\":\"";
    let json = |text: &str| serde_json::Value::from(text).to_string();
    let topics: Vec<_> = event.topics().map(json).collect();
    let line = format!(
        "{BEFORE}{time}\",\"topics\":[{}],\"type\":{},\"id\":{},\"data\":{}}}\n",
        topics.join(","),
        json(event.event_type()),
        json(event.last_event_id()),
        json(event.data()),
    );
    (line.into_bytes(), BEFORE.len()..BEFORE.len() + time.len())
}

fn in_stream(event: &ReceivedEvent) -> Vec<u8> {
    let mut again = Event::new(event.data());
    if event.event_type() != "message"
        && let Ok(event_type) = EventType::new(event.event_type())
    {
        again = again.with_event_type(event_type);
    }
    if let Some(Ok(id)) = event.id().map(EventId::new) {
        again = again.with_event_id(id);
    }
    let mut bytes = Vec::new();
    encode::event(again.as_ref(), &mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(printable("a\tb \u{1b}[2J\u{7}ö"), "a\tb \\u{1b}[2J\\u{7}ö");
    }

    #[test]
    fn the_time_of_a_partly_written_line_is_kept() {
        let check = |written: &str, expected: &str| {
            let mut bytes = b"x 2026-11-30T12:00:00.000Z\n".to_vec();
            adopt(&mut bytes, 2..26, written.as_bytes());
            assert_eq!(String::from_utf8(bytes).unwrap(), expected);
        };
        check("x 2025-01-01T01:01:01.111Z\ny", "x 2025-01-01T01:01:01.111Z\n");
        check("x 2025", "x 2025-11-30T12:00:00.000Z\n");
        check("x hello, world, this is text", "x 2026-11-30T12:00:00.000Z\n");
        check("", "x 2026-11-30T12:00:00.000Z\n");
    }
}
