//! The buffers of a block: data, type and id, until its blank line.

use alloc::string::String;
use core::ops::Range;
use core::time::Duration;

use super::{DecodeError, Discarded, Limits, Lost};

/// What has been read of the block that ends with the next blank line.
#[derive(Debug, Default)]
pub(super) struct Block {
    pub(super) data: Slot,
    pub(super) event_type: Slot,
    pub(super) id: Slot,
    pub(super) retry: Option<Duration>,
    pub(super) has_fields: bool,
    /// Set once the block has broken a limit: it holds no data or type from then on.
    pub(super) discarded: Option<Discarded>,
}

impl Block {
    /// Takes over what still lies in `text`, which is about to move.
    pub(super) fn keep(&mut self, text: &str) {
        self.data.keep(text);
        self.event_type.keep(text);
        self.id.keep(text);
    }

    /// Forgets what there is, so that the next block can begin.
    pub(super) fn clear(&mut self) {
        self.data.take();
        self.event_type.take();
        self.id.take();
        self.retry = None;
        self.has_fields = false;
        self.discarded = None;
    }

    /// # Errors
    /// What is to be discarded if the event is over its limit; so for the others.
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
            // An id before it in the block is not the event's either.
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

    /// Throws away data and type, and counts them with `excess` as lost. The first error stays.
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

    /// Checks the size that the event would have with `added` bytes more.
    #[inline]
    fn check_event(&self, size: usize, added: usize, limits: &Limits) -> Result<(), Discarded> {
        if size > limits.event_bytes_max || self.discarded.is_some() {
            let error = DecodeError::EventTooLarge { max: limits.event_bytes_max };
            return Err(Discarded { lost: Lost::Event, error, bytes: added as u64 });
        }
        Ok(())
    }
}

/// A text that stays where it arrived for as long as it lies there in one piece.
#[derive(Debug, Default)]
pub(super) struct Slot {
    place: Place,
    /// The text if its place is `Kept`; otherwise only room for one.
    kept: String,
    /// Bytes copied, for the tests that count work.
    #[cfg(test)]
    work: usize,
}

/// Where a slot's text is.
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

    /// Makes the text what is there in the stream.
    #[inline]
    pub(super) fn set(&mut self, range: Range<usize>) {
        self.place = Place::Stream(range);
    }

    /// Adds a line: after an LF, unless it is the first.
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

    /// Unsets the slot. Its text can still be [`read`](Self::read) from the place that is
    /// returned, until the slot is set again.
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
