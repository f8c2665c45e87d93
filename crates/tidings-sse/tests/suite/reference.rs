//! The standard's algorithm, sentence by sentence, with no thought of speed: all the bytes at
//! once, each step on the whole result of the one before.

use std::time::Duration;

use crate::decoding::Seen;

/// The expected items of a stream of these bytes.
pub(crate) fn read(bytes: &[u8]) -> Vec<Seen> {
    let text = decode_utf8(bytes);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut stream = Stream::default();
    for line in lines(text) {
        stream.interpret(&line);
    }
    stream.seen
}

/// WHATWG Encoding, "UTF-8 decoder", with its variables under their names there.
fn decode_utf8(bytes: &[u8]) -> String {
    let mut output = String::new();
    let (mut code_point, mut bytes_needed, mut bytes_seen) = (0, 0, 0);
    let (mut lower_boundary, mut upper_boundary) = (0x80, 0xbf);
    let mut position = 0;
    while let Some(&byte) = bytes.get(position) {
        position += 1;
        if bytes_needed == 0 {
            match byte {
                0x00..=0x7f => output.push(char::from(byte)),
                0xc2..=0xdf => (bytes_needed, code_point) = (1, u32::from(byte & 0x1f)),
                0xe0..=0xef => {
                    if byte == 0xe0 {
                        lower_boundary = 0xa0;
                    }
                    if byte == 0xed {
                        upper_boundary = 0x9f;
                    }
                    (bytes_needed, code_point) = (2, u32::from(byte & 0xf));
                }
                0xf0..=0xf4 => {
                    if byte == 0xf0 {
                        lower_boundary = 0x90;
                    }
                    if byte == 0xf4 {
                        upper_boundary = 0x8f;
                    }
                    (bytes_needed, code_point) = (3, u32::from(byte & 0x7));
                }
                _ => output.push('\u{fffd}'),
            }
            continue;
        }
        let is_in_range = (lower_boundary..=upper_boundary).contains(&byte);
        (lower_boundary, upper_boundary) = (0x80, 0xbf);
        if !is_in_range {
            (code_point, bytes_needed, bytes_seen) = (0, 0, 0);
            // "Restore byte to ioQueue."
            position -= 1;
            output.push('\u{fffd}');
            continue;
        }
        code_point = (code_point << 6) | u32::from(byte & 0x3f);
        bytes_seen += 1;
        if bytes_seen == bytes_needed {
            output.push(char::from_u32(code_point).expect("the boundaries leave no surrogate"));
            (code_point, bytes_needed, bytes_seen) = (0, 0, 0);
        }
    }
    if bytes_needed > 0 {
        output.push('\u{fffd}');
    }
    output
}

/// The lines that have an end.
fn lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\r' => {
                characters.next_if_eq(&'\n');
                lines.push(std::mem::take(&mut line));
            }
            '\n' => lines.push(std::mem::take(&mut line)),
            _ => line.push(character),
        }
    }
    lines
}

#[derive(Default)]
struct Stream {
    data: String,
    event_type: String,
    /// The last event ID buffer. It is never reset.
    id: String,
    has_id: bool,
    has_fields: bool,
    seen: Vec<Seen>,
}

impl Stream {
    fn interpret(&mut self, line: &str) {
        if line.is_empty() {
            self.dispatch();
        } else if let Some(comment) = line.strip_prefix(':') {
            self.seen.push(Seen::Comment(comment.to_owned()));
        } else if let Some((name, value)) = line.split_once(':') {
            self.process(name, value.strip_prefix(' ').unwrap_or(value));
        } else {
            self.process(line, "");
        }
    }

    fn process(&mut self, name: &str, value: &str) {
        self.has_fields = true;
        match name {
            "event" => self.event_type = value.to_owned(),
            "data" => self.data = format!("{}{value}\n", self.data),
            "id" if value.contains('\0') => (),
            "id" => {
                self.id = value.to_owned();
                self.has_id = true;
            }
            "retry" if value.is_empty() => (),
            "retry" if value.chars().all(|digit| "0123456789".contains(digit)) => {
                let largest = u128::from(u64::MAX);
                let digits = value.trim_start_matches('0');
                let time = if digits.len() > 20 {
                    largest
                } else {
                    digits.bytes().fold(0, |time, digit| time * 10 + u128::from(digit - b'0'))
                };
                let time = u64::try_from(time.min(largest)).expect("it is not larger");
                self.seen.push(Seen::Retry(Duration::from_millis(time)));
            }
            "retry" => (),
            _ => self.seen.push(Seen::Field(name.to_owned(), value.to_owned())),
        }
    }

    fn dispatch(&mut self) {
        let data = std::mem::take(&mut self.data);
        let event_type = std::mem::take(&mut self.event_type);
        let has_id = std::mem::take(&mut self.has_id);
        let has_fields = std::mem::take(&mut self.has_fields);
        if let Some(data) = data.strip_suffix('\n') {
            self.seen.push(Seen::Event {
                event_type: if event_type.is_empty() { "message".to_owned() } else { event_type },
                data: data.to_owned(),
                own_id: has_id.then(|| self.id.clone()),
                last_event_id: self.id.clone(),
            });
        } else if has_fields {
            if has_id {
                self.seen.push(Seen::LastEventId(self.id.clone()));
            }
            self.seen.push(Seen::NoEvent);
        }
    }
}
