//! A naive reader of event streams, by the letter of the HTML standard (9.2.6), with the field
//! `topic` of the hub's option `topics`.

/// An event, or a block without data that has an id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) kind: String,
    pub(crate) data: String,
    pub(crate) has_data: bool,
    pub(crate) id: Option<String>,
    pub(crate) topics: Vec<String>,
}

/// Reads blocks out of bytes, however these are cut.
#[derive(Debug, Default)]
pub(crate) struct StreamReader {
    rest: Vec<u8>,
    block: Block,
}

impl StreamReader {
    /// Reads more bytes, and returns the blocks that are complete.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<Vec<Block>, String> {
        self.rest.extend_from_slice(bytes);
        let mut blocks = Vec::new();
        let mut from = 0;
        while let Some(length) = self.rest[from..].iter().position(|byte| *byte == b'\n') {
            let line = std::str::from_utf8(&self.rest[from..from + length])
                .map_err(|error| format!("a line is not UTF-8: {error}"))?;
            from += length + 1;
            if line.is_empty() {
                let block = std::mem::take(&mut self.block);
                if block != Block::default() {
                    blocks.push(block);
                }
                continue;
            }
            read_line(line, &mut self.block)?;
        }
        self.rest.drain(..from);
        Ok(blocks)
    }

    /// Whether the bytes end between two blocks.
    pub(crate) fn is_between_blocks(&self) -> bool {
        self.rest.is_empty() && self.block == Block::default()
    }
}

fn read_line(line: &str, block: &mut Block) -> Result<(), String> {
    let Some((name, value)) = line.split_once(':') else {
        return Err(format!("the hub sent a line without a colon: {line:?}"));
    };
    let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
    match name {
        "" => {}
        "event" => block.kind = value,
        "data" => {
            if block.has_data {
                block.data.push('\n');
            }
            block.has_data = true;
            block.data.push_str(&value);
        }
        "id" => block.id = Some(value),
        "topic" => block.topics.push(value),
        "retry" => {
            value.parse::<u64>().map_err(|_| format!("the hub sent the retry {value:?}"))?;
        }
        _ => return Err(format!("the hub sent the field {name:?}")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_read_however_the_bytes_are_cut() {
        let text =
            ":\nretry: 3000\nid: 1\n\nevent: x\ndata: a\ndata: b\ntopic: t\nid: 2\n\n: hi\n\n";
        for cut in 0..text.len() {
            let mut reader = StreamReader::default();
            let mut blocks = reader.push(&text.as_bytes()[..cut]).unwrap();
            blocks.extend(reader.push(&text.as_bytes()[cut..]).unwrap());
            assert!(reader.is_between_blocks());
            assert_eq!(blocks.len(), 2);
            assert_eq!(blocks[0].id.as_deref(), Some("1"));
            assert!(!blocks[0].has_data && blocks[1].has_data);
            assert_eq!((blocks[1].data.as_str(), blocks[1].kind.as_str()), ("a\nb", "x"));
        }
    }

    #[test]
    fn other_fields_are_faults() {
        assert!(StreamReader::default().push(b"other: 1\n").is_err());
        assert!(StreamReader::default().push(b"data\n").is_err());
    }
}
