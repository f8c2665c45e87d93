//! The streams that are read, each some MiB long.

use bytes::Bytes;

/// A stream, cut as a network would cut it.
#[derive(Debug)]
pub struct Input {
    /// What it is called in the table.
    pub name: &'static str,
    /// All its bytes, in order.
    pub chunks: Vec<Bytes>,
    /// How many bytes that is.
    pub bytes: usize,
    /// What a decoder must find in it.
    pub expected: Read,
}

/// What a decoder has read: enough to see that none leaves out a part of the work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// The number of events.
    pub events: usize,
    /// The bytes of all their data.
    pub data_bytes: usize,
}

/// A TCP segment's worth of stream on an Ethernet.
const SEGMENT: usize = 1460;
/// What a client's read usually returns at most.
const READ: usize = 16 << 10;

/// All of them, `bytes` long each.
pub fn all(bytes: usize) -> Vec<Input> {
    vec![
        cut("LLM tokens, 16 KiB chunks", READ, tokens(bytes)),
        cut("LLM tokens, 1460 B chunks", SEGMENT, tokens(bytes)),
        cut("LLM tokens, 64 B chunks", 64, tokens(bytes)),
        one_event_per_chunk("LLM tokens, one event per chunk", tokens(bytes)),
        cut("id + event + data, 16 KiB chunks", READ, notes(bytes)),
        cut("id + event + data, 1460 B chunks", SEGMENT, notes(bytes)),
        cut("keep-alive comments, 16 KiB chunks", READ, comments(bytes)),
        cut("1 MiB lines, 16 KiB chunks", READ, long_lines(bytes)),
        cut("1 MiB lines, 1460 B chunks", SEGMENT, long_lines(bytes)),
        cut("ten data lines, 16 KiB chunks", READ, many_lines(bytes)),
        cut("Chinese text, 16 KiB chunks", READ, chinese(bytes)),
    ]
}

struct Stream {
    text: Vec<u8>,
    ends: Vec<usize>,
    read: Read,
}

fn repeat(bytes: usize, mut event: impl FnMut(usize, &mut Vec<u8>) -> Option<usize>) -> Stream {
    let mut stream = Stream { text: Vec::new(), ends: Vec::new(), read: Read::default() };
    let mut count = 0;
    while stream.text.len() < bytes {
        if let Some(data_bytes) = event(count, &mut stream.text) {
            stream.read.events += 1;
            stream.read.data_bytes += data_bytes;
        }
        stream.ends.push(stream.text.len());
        count += 1;
    }
    stream
}

/// An answer of a language model, a token at a time; one in eight is not all ASCII.
fn tokens(bytes: usize) -> Stream {
    const WORDS: [&str; 8] = [" the", " a", "ing", " token", ",", " stream", " of", " w\u{f6}rter"];
    repeat(bytes, |count, text| {
        let data = format!(
            "{{\"id\":\"chatcmpl-{:06}\",\"object\":\"chunk\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{}\"}}}}]}}",
            count % 1_000_000,
            WORDS[count % 8]
        );
        text.extend_from_slice(format!("data: {data}\n\n").as_bytes());
        Some(data.len())
    })
}

fn notes(bytes: usize) -> Stream {
    repeat(bytes, |count, text| {
        let data = format!("{count:064}");
        text.extend_from_slice(format!("id: {count}\nevent: note\ndata: {data}\n\n").as_bytes());
        Some(data.len())
    })
}

fn comments(bytes: usize) -> Stream {
    repeat(bytes, |_, text| {
        text.extend_from_slice(b": ping\n\n");
        None
    })
}

fn long_lines(bytes: usize) -> Stream {
    let line: Vec<u8> = (b'a'..=b'z').cycle().take(1 << 20).collect();
    repeat(bytes, |_, text| {
        text.extend_from_slice(b"data: ");
        text.extend_from_slice(&line);
        text.extend_from_slice(b"\n\n");
        Some(line.len())
    })
}

fn many_lines(bytes: usize) -> Stream {
    repeat(bytes, |count, text| {
        for line in 0..10 {
            text.extend_from_slice(format!("data: {count:072}{line:08}\n").as_bytes());
        }
        text.push(b'\n');
        Some(10 * 80 + 9)
    })
}

fn chinese(bytes: usize) -> Stream {
    let data = "\u{4e8b}\u{4ef6}\u{6d41}".repeat(10);
    repeat(bytes, |_, text| {
        text.extend_from_slice(format!("data: {data}\n\n").as_bytes());
        Some(data.len())
    })
}

fn cut(name: &'static str, chunk: usize, stream: Stream) -> Input {
    let text = Bytes::from(stream.text);
    let chunks = (0..text.len())
        .step_by(chunk)
        .map(|start| text.slice(start..text.len().min(start + chunk)))
        .collect();
    Input { name, chunks, bytes: text.len(), expected: stream.read }
}

fn one_event_per_chunk(name: &'static str, stream: Stream) -> Input {
    let text = Bytes::from(stream.text);
    let mut start = 0;
    let chunks = stream
        .ends
        .into_iter()
        .map(|end| text.slice(core::mem::replace(&mut start, end)..end))
        .collect();
    Input { name, chunks, bytes: text.len(), expected: stream.read }
}
