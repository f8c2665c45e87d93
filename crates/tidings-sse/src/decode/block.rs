//! The buffers of a block: data, type and id, up to its blank line.

use alloc::string::String;
use core::ops::Range;
use core::time::Duration;

use super::{DecodeError, Discarded, Limits, Lost};

/// The unfinished block.
#[derive(Debug, Default)]
pub(super) struct Block {
    pub(super) data: Slot,
    pub(super) event_type: Slot,
    pub(super) id: Slot,
    pub(super) retry: Option<Duration>,
    pub(super) has_fields: bool,
    /// Set once the block has exceeded a limit. From then on it stores no data or type.
    pub(super) discarded: Option<Discarded>,
}

impl Block {
    /// Copies what is still in `text`, which is about to move.
    pub(super) fn keep(&mut self, text: &str) {
        self.data.keep(text);
        self.event_type.keep(text);
        self.id.keep(text);
    }

    /// Clears the block for the next one.
    pub(super) fn clear(&mut self) {
        self.data.take();
        self.event_type.take();
        self.id.take();
        self.retry = None;
        self.has_fields = false;
        self.discarded = None;
    }

    /// # Errors
    /// The discarded part, if the event exceeds its limit. The same for the other fields.
    #[inline]
    pub(super) fn add_data(
        &mut self,
        value: Range<usize>,
        text: &str,
        limits: &Limits,
    ) -> Result<(), Discarded> {
        self.has_fields = true;
        let between = usize::from(self.data.is_set());
        let data = self.data.len() + between + value.len();
        self.check_event(data + self.event_type.len(), value.len(), limits)?;
        self.data.add_line(value, text);
        Ok(())
    }

    #[inline]
    pub(super) fn set_type(
        &mut self,
        value: Range<usize>,
        limits: &Limits,
    ) -> Result<(), Discarded> {
        self.has_fields = true;
        self.check_event(self.data.len() + value.len(), value.len(), limits)?;
        self.event_type.set(value);
        Ok(())
    }

    #[inline]
    pub(super) fn set_id(&mut self, value: Range<usize>, limits: &Limits) -> Result<(), Discarded> {
        self.has_fields = true;
        if value.len() > limits.id_bytes_max {
            let error = DecodeError::IdTooLong { max: limits.id_bytes_max };
            // An earlier id in the block does not apply either.
            self.id.take();
            return Err(Discarded { lost: Lost::Event, error, bytes: value.len() as u64 });
        }
        self.id.set(value);
        Ok(())
    }

    pub(super) fn set_retry(&mut self, time: Duration) {
        self.has_fields = true;
        self.retry = Some(time);
    }

    pub(super) fn ignore_field(&mut self) -> Result<(), Discarded> {
        self.has_fields = true;
        Ok(())
    }

    /// Discards data and type, and counts them together with `excess`. The first error is kept.
    pub(super) fn discard(&mut self, excess: Discarded) {
        self.has_fields = true;
        let held = (self.data.len() + self.event_type.len()) as u64;
        let before = self.discarded.unwrap_or(Discarded { bytes: 0, ..excess });
        let bytes = before.bytes + held + excess.bytes;
        self.discarded = Some(Discarded { bytes, ..before });
        self.data.take();
        self.event_type.take();
    }

    #[cfg(test)]
    pub(super) fn work(&self) -> usize {
        self.data.work + self.event_type.work + self.id.work
    }

    /// Checks the size of the event with `added` more bytes.
    #[inline]
    fn check_event(&self, size: usize, added: usize, limits: &Limits) -> Result<(), Discarded> {
        if size > limits.event_bytes_max || self.discarded.is_some() {
            let error = DecodeError::EventTooLarge { max: limits.event_bytes_max };
            return Err(Discarded { lost: Lost::Event, error, bytes: added as u64 });
        }
        Ok(())
    }
}

/// A text that is copied only if it is no longer contiguous in the stream.
#[derive(Debug, Default)]
pub(super) struct Slot {
    place: Place,
    /// The text, if its place is `Kept`; else an unused buffer.
    kept: String,
    /// Bytes copied, for the tests that count work.
    #[cfg(test)]
    work: usize,
}

/// The position of a slot's text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Place {
    #[default]
    Nowhere,
    /// In the text of the stream.
    Stream(Range<usize>),
    /// In the slot itself.
    Kept,
}

impl Slot {
    #[inline]
    pub(super) fn is_set(&self) -> bool {
        self.place != Place::Nowhere
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        match &self.place {
            Place::Nowhere => 0,
            Place::Stream(range) => range.len(),
            Place::Kept => self.kept.len(),
        }
    }

    /// Sets the text to a range of the stream.
    #[inline]
    pub(super) fn set(&mut self, range: Range<usize>) {
        self.place = Place::Stream(range);
    }

    /// Appends a line, after an LF unless it is the first.
    #[inline]
    pub(super) fn add_line(&mut self, range: Range<usize>, text: &str) {
        if self.place == Place::Nowhere {
            return self.set(range);
        }
        self.keep(text);
        self.kept.push('\n');
        self.copy(range, text);
    }

    pub(super) fn keep(&mut self, text: &str) {
        if let Place::Stream(range) = &self.place {
            let range = range.clone();
            self.kept.clear();
            self.copy(range, text);
            self.place = Place::Kept;
        }
    }

    fn copy(&mut self, range: Range<usize>, text: &str) {
        #[cfg(test)]
        {
            self.work += range.len();
        }
        self.kept.push_str(&text[range]);
    }

    /// Unsets the slot. Its text can still be [`read`](Self::read) from the returned place, until
    /// the slot is set again.
    #[inline]
    pub(super) fn take(&mut self) -> Place {
        core::mem::take(&mut self.place)
    }

    #[inline]
    pub(super) fn read<'a>(&'a self, place: Place, text: &'a str) -> &'a str {
        match place {
            Place::Nowhere => "",
            Place::Stream(range) => &text[range],
            Place::Kept => &self.kept,
        }
    }
}
