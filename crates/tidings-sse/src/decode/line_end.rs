//! Finds line ends.
//!
//! Most lines are short, and calling `memchr`, which is made for long ones, would cost more than
//! reading them. So the first bytes are searched inline, in a form that compilers turn into a few
//! wide instructions; only the rest is left to `memchr`.

/// The number of blocks that are searched inline, after the first word.
const NEAR_BLOCKS: usize = 8;
const BLOCK: usize = 4 * WORD;
const WORD: usize = 8;

/// The index of the first LF or CR.
#[inline(always)]
pub(super) fn find(bytes: &[u8]) -> Option<usize> {
    let Some((first, mut rest)) = bytes.split_first_chunk::<WORD>() else {
        return bytes.iter().position(|&byte| byte == b'\n' || byte == b'\r');
    };
    if let Some(found) = find_in_word(first) {
        return Some(found);
    }
    for _ in 0..NEAR_BLOCKS {
        let Some((block, after)) = rest.split_first_chunk::<BLOCK>() else { break };
        if has_line_end(block) {
            return find_in_block(block).map(|found| bytes.len() - rest.len() + found);
        }
        rest = after;
    }
    memchr::memchr2(b'\n', b'\r', rest).map(|found| bytes.len() - rest.len() + found)
}

/// The loops have no early exit, and there is one for each byte value, so that they are vectorized.
#[inline(always)]
fn has_line_end(block: &[u8; BLOCK]) -> bool {
    let has = |end| block.iter().fold(0, |found, &byte| found | u8::from(byte == end));
    has(b'\n') | has(b'\r') != 0
}

#[inline(always)]
fn find_in_block(block: &[u8; BLOCK]) -> Option<usize> {
    let (words, _) = block.as_chunks();
    words
        .iter()
        .zip([0, WORD, 2 * WORD, 3 * WORD])
        .find_map(|(word, before)| Some(before + find_in_word(word)?))
}

#[inline(always)]
fn find_in_word(word: &[u8; WORD]) -> Option<usize> {
    let marks = mark_line_ends(u64::from_le_bytes(*word));
    (marks != 0).then(|| marks.trailing_zeros() as usize / 8)
}

/// Sets the high bit of the first byte that is an LF or CR, and of no byte below it.
#[inline(always)]
fn mark_line_ends(word: u64) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; WORD]);
    const HIGH_BITS: u64 = u64::from_le_bytes([0x80; WORD]);
    // A zero byte sets its own high bit by the borrow. The borrow may also mark bytes above it,
    // which does not matter, because only the first mark is used.
    let mark_zeros = |word: u64| word.wrapping_sub(ONES) & !word & HIGH_BITS;
    mark_zeros(word ^ u64::from_le_bytes([b'\n'; WORD]))
        | mark_zeros(word ^ u64::from_le_bytes([b'\r'; WORD]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_end_is_found_wherever_it_is_and_whatever_is_around_it() {
        for filler in [b'a', 0, 0x09, 0x0b, 0x0c, 0x0e, 0x80, 0x8a, 0x8d, 0xff] {
            for len in 0..400 {
                let mut bytes = vec![filler; len];
                assert_eq!(find(&bytes), None, "{filler} × {len}");
                for end in [b'\n', b'\r'] {
                    for at in (0..len).step_by(1 + len / 40) {
                        bytes[at] = end;
                        bytes[len - 1] = b'\n';
                        assert_eq!(find(&bytes), Some(at), "{filler} × {len}, {end} at {at}");
                        bytes.fill(filler);
                    }
                }
            }
        }
    }
}
