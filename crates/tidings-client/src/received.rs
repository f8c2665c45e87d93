//! A received event.

use tidings_sse::DecodedEvent;

/// The maximum of bytes kept of an event's unknown fields. Further fields are left out.
const FIELDS_BYTES_MAX: usize = 64 << 10;

/// A received event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReceivedEvent {
    data: String,
    event_type: String,
    own_id: bool,
    last_event_id: String,
    fields: Vec<(String, String)>,
}

impl ReceivedEvent {
    pub(crate) fn new(event: DecodedEvent<'_>, fields: Vec<(String, String)>) -> Self {
        Self {
            data: event.data().to_owned(),
            event_type: event.event_type().to_owned(),
            own_id: event.id().is_some(),
            last_event_id: event.last_event_id().to_owned(),
            fields,
        }
    }

    /// The data, its lines joined by LF.
    pub fn data(&self) -> &str {
        &self.data
    }

    /// The data, by value.
    pub fn into_data(self) -> String {
        self.data
    }

    /// The data as JSON.
    ///
    /// # Errors
    /// If it is not JSON, or not a `T`.
    pub fn json<'a, T: serde::Deserialize<'a>>(&'a self) -> serde_json::Result<T> {
        serde_json::from_str(&self.data)
    }

    /// The type; `message` if the event has none.
    pub fn event_type(&self) -> &str {
        &self.event_type
    }

    /// The event's own id, if it has one.
    pub fn id(&self) -> Option<&str> {
        self.own_id.then_some(self.last_event_id.as_str())
    }

    /// The last event ID after this event: its own id, or that of an earlier event, or "".
    pub fn last_event_id(&self) -> &str {
        &self.last_event_id
    }

    /// The event's topics, if a Tidings hub was asked for them (`tidings=topics`).
    pub fn topics(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().filter(|(name, _)| name == "topic").map(|(_, value)| value.as_str())
    }

    /// Fields with names that the standard does not define, up to 64 KiB of them.
    pub fn fields(&self) -> &[(String, String)] {
        &self.fields
    }
}

/// Collects the unknown fields of the current block.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    fields: Vec<(String, String)>,
    bytes: usize,
}

impl Fields {
    pub(crate) fn add(&mut self, name: &str, value: &str) {
        // Two `String`s often take more memory than their text.
        let bytes = name.len() + value.len() + size_of::<(String, String)>();
        if self.bytes + bytes <= FIELDS_BYTES_MAX {
            self.bytes += bytes;
            self.fields.push((name.to_owned(), value.to_owned()));
        }
    }

    pub(crate) fn take(&mut self) -> Vec<(String, String)> {
        self.bytes = 0;
        std::mem::take(&mut self.fields)
    }
}
