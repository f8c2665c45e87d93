//! A naive reader of HTTP/1 responses, and the escaping of queries and forms.

use std::fmt;

/// The end of a response's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunks(ChunkState),
    /// The body ends with the connection.
    Close,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChunkState {
    Size,
    Bytes(usize),
    /// The line end after a chunk.
    After,
    /// The line end after the last chunk.
    Last,
}

/// The head of a response.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) status: u16,
    fields: Vec<(String, String)>,
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with the cursor {:?}", self.status, self.get("last-event-id"))
    }
}

impl Head {
    /// The value of a field.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn is_stream(&self) -> bool {
        self.get("content-type").is_some_and(|kind| kind.starts_with("text/event-stream"))
    }
}

/// Parts of responses, in their order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Head(Head),
    Body(Vec<u8>),
    /// The response is complete.
    End,
}

/// Reads the responses of one connection.
#[derive(Debug, Default)]
pub(crate) struct ResponseReader {
    rest: Vec<u8>,
    framing: Option<Framing>,
}

impl ResponseReader {
    /// Reads more bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<Vec<Part>, String> {
        self.rest.extend_from_slice(bytes);
        let mut parts = Vec::new();
        while let Some(part) = self.next()? {
            if part == Part::End {
                self.framing = None;
            }
            parts.push(part);
        }
        Ok(parts)
    }

    /// Whether the connection may end here without cutting a response.
    #[cfg(test)]
    pub(crate) fn is_between_responses(&self) -> bool {
        self.framing.is_none() && self.rest.is_empty()
    }

    fn next(&mut self) -> Result<Option<Part>, String> {
        let Some(framing) = self.framing else { return self.head() };
        match framing {
            Framing::Close => Ok(self.take(self.rest.len()).map(Part::Body)),
            Framing::Length(0) => Ok(Some(Part::End)),
            Framing::Length(left) => {
                let taken = self.take(left.min(self.rest.len()));
                let length = taken.as_ref().map_or(0, Vec::len);
                self.framing = Some(Framing::Length(left - length));
                Ok(taken.map(Part::Body))
            }
            Framing::Chunks(state) => self.chunk(state),
        }
    }

    fn chunk(&mut self, state: ChunkState) -> Result<Option<Part>, String> {
        let mut state = state;
        loop {
            match state {
                ChunkState::Size => {
                    let Some(line) = self.line()? else { break };
                    let size = usize::from_str_radix(&line, 16)
                        .map_err(|_| format!("the size of a chunk is {line:?}"))?;
                    state = if size == 0 { ChunkState::Last } else { ChunkState::Bytes(size) };
                }
                ChunkState::Bytes(left) => {
                    let taken = self.take(left.min(self.rest.len()));
                    let left = left - taken.as_ref().map_or(0, Vec::len);
                    state = if left == 0 { ChunkState::After } else { ChunkState::Bytes(left) };
                    self.framing = Some(Framing::Chunks(state));
                    return Ok(taken.map(Part::Body));
                }
                ChunkState::After | ChunkState::Last => {
                    let Some(line) = self.line()? else { break };
                    if !line.is_empty() {
                        return Err(format!("after a chunk comes {line:?}"));
                    }
                    if state == ChunkState::Last {
                        return Ok(Some(Part::End));
                    }
                    state = ChunkState::Size;
                }
            }
        }
        self.framing = Some(Framing::Chunks(state));
        Ok(None)
    }

    fn head(&mut self) -> Result<Option<Part>, String> {
        let Some(length) = self.rest.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Ok(None);
        };
        let head = self.take(length + 4).unwrap_or_default();
        let head = String::from_utf8(head).map_err(|_| "a head is not UTF-8".to_owned())?;
        let mut lines = head.trim_end().split("\r\n");
        let first = lines.next().unwrap_or_default();
        let status = first.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| format!("a response begins with {first:?}"))?;
        let fields = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let head = Head { status, fields };
        self.framing = Some(match (head.get("content-length"), head.get("transfer-encoding")) {
            (Some(length), _) => Framing::Length(
                length.parse().map_err(|_| format!("the length of a body is {length:?}"))?,
            ),
            (None, Some(_)) => Framing::Chunks(ChunkState::Size),
            (None, None) if head.status == 204 => Framing::Length(0),
            (None, None) => Framing::Close,
        });
        Ok(Some(Part::Head(head)))
    }

    /// The next line, without its end.
    fn line(&mut self) -> Result<Option<String>, String> {
        let Some(length) = self.rest.windows(2).position(|two| two == b"\r\n") else {
            return Ok(None);
        };
        let line = self.take(length + 2).unwrap_or_default();
        let line = String::from_utf8(line).map_err(|_| "a line is not UTF-8".to_owned())?;
        Ok(Some(line.trim_end_matches("\r\n").to_owned()))
    }

    fn take(&mut self, length: usize) -> Option<Vec<u8>> {
        (length > 0).then(|| self.rest.drain(..length).collect())
    }
}

/// Escapes a text for a query or a form.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(char::from(byte));
            }
            _ => {
                const HEX: &[u8; 16] = b"0123456789ABCDEF";
                escaped.push('%');
                escaped.push(char::from(HEX[usize::from(byte >> 4)]));
                escaped.push(char::from(HEX[usize::from(byte & 15)]));
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_are_read_however_the_bytes_are_cut() {
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 204 No\r\n\r\n\
            HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n1\r\n!\r\n0\r\n\r\n";
        for cut in 0..text.len() {
            let mut reader = ResponseReader::default();
            let mut parts = reader.push(&text[..cut]).unwrap();
            parts.extend(reader.push(&text[cut..]).unwrap());
            assert!(reader.is_between_responses());
            let heads = parts.iter().filter(|part| matches!(part, Part::Head(_))).count();
            let ends = parts.iter().filter(|part| matches!(part, Part::End)).count();
            assert_eq!((heads, ends), (3, 3));
            let body = parts.iter().filter_map(|part| match part {
                Part::Body(bytes) => Some(bytes.as_slice()),
                _ => None,
            });
            assert_eq!(body.collect::<Vec<_>>().concat(), b"abchi!");
        }
    }
}
