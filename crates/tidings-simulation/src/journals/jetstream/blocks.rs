//! Recently read parts of the stream, kept for other readers.

use std::collections::VecDeque;
use std::sync::Arc;

use tidings_core::limits::BATCH_BYTES;
use tidings_core::model::{Position, Record};

use super::connection::Failure;
use super::shared::Shared;
use super::state::Generation;

/// A part of the stream.
#[derive(Debug)]
pub(super) struct Block {
    after: Position,
    /// The block covers positions up to this one.
    pub(super) through: Position,
    pub(super) records: Vec<Arc<Record>>,
    /// The ends of the spans between two messages that have no message.
    pub(super) holes: Vec<Position>,
    generation: Generation,
    bytes: u64,
}

#[derive(Debug, Default)]
pub(super) struct Blocks {
    /// The most recently used block is last.
    kept: VecDeque<Arc<Block>>,
    bytes: u64,
}

impl Blocks {
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    fn find(&mut self, generation: Generation, after: Position) -> Option<Arc<Block>> {
        // A read that began before a reset may finish after `clear`.
        let has_it = |one: &Arc<Block>| {
            one.generation == generation && one.after <= after && after < one.through
        };
        let index = self.kept.iter().position(has_it)?;
        let block = self.kept.remove(index)?;
        self.kept.push_back(Arc::clone(&block));
        Some(block)
    }

    fn keep(&mut self, block: &Arc<Block>, bytes_max: u64) {
        self.bytes += block.bytes;
        self.kept.push_back(Arc::clone(block));
        while self.bytes > bytes_max
            && let Some(oldest) = self.kept.pop_front()
        {
            self.bytes -= oldest.bytes;
        }
    }
}

impl Shared {
    /// The messages after `after`, as many as one block holds. The block may still have messages
    /// that were trimmed since.
    pub(super) async fn block(
        &self,
        generation: Generation,
        after: Position,
    ) -> Result<Arc<Block>, Failure> {
        let kept = self.blocks.lock().find(generation, after);
        if let Some(block) = kept {
            return Ok(block);
        }
        let _turn = self.reading.acquire().await.expect("it is never closed");
        // Another task may have read the block while this one waited for its turn.
        let kept = self.blocks.lock().find(generation, after);
        if let Some(block) = kept {
            return Ok(block);
        }
        let count = self.options.block_messages;
        let bytes = 16 * BATCH_BYTES as u64;
        let asked = self.connection.ask(|server, node| server.range(node, after, count, bytes));
        let (stored, is_end) = asked.await?;
        let mut block = Block {
            after,
            through: after,
            records: Vec::new(),
            holes: Vec::new(),
            generation,
            // A block without updates takes memory too.
            bytes: 256,
        };
        for one in &stored {
            if one.position > block.through.next() {
                block.holes.push(one.position.previous());
                block.bytes += size_of::<Position>() as u64;
            }
            block.through = one.position;
            if let Some(record) = one.decode(generation.epoch) {
                block.bytes += record.memory_bytes();
                block.records.push(record);
            }
        }
        let block = Arc::new(block);
        if !is_end {
            self.blocks.lock().keep(&block, self.options.blocks_bytes);
        }
        Ok(block)
    }
}
