//! Writes events to standard output.

use std::io::{self, Write as _};

use serde::{Deserialize, Serialize};
use serde_json::json;
use tidings_client::ReceivedEvent;
use tidings_sse::{Event, EventId, EventType, encode};

use crate::console;

/// The maximum of bytes after the stored position that are compared with events that arrive again.
#[cfg(unix)]
const UNKEPT_BYTES_MAX: u64 = 64 << 20;

/// The format of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The fields of the event stream.
    Stream,
    Data,
    Json,
    JsonWithTopics,
}

/// Standard output, and its length if it is a file.
pub(crate) struct Output {
    form: Form,
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
    pub(crate) fn new(form: Form) -> Self {
        Self { form, end: None, unkept: Vec::new() }
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
        let bytes = self.render(event);
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

    fn render(&self, event: &ReceivedEvent) -> Vec<u8> {
        let mut line = match self.form {
            Form::Data => event.data().to_owned(),
            Form::Stream => return in_stream(event),
            Form::Json | Form::JsonWithTopics => {
                let mut line = json!({
                    "type": event.event_type(),
                    "id": event.last_event_id(),
                    "data": event.data(),
                });
                let topics: Vec<_> = event.topics().collect();
                if self.form == Form::JsonWithTopics || !topics.is_empty() {
                    line["topics"] = topics.into();
                }
                line.to_string()
            }
        };
        line.push('\n');
        line.into_bytes()
    }
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
