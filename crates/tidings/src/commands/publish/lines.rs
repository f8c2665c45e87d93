//! `tidings publish --lines`: an update for each line of standard input.

use std::io::{self, BufRead as _, Read as _};

use anyhow::Context as _;
use tokio::sync::mpsc;

/// The maximum of bytes of a line. A hub accepts less by default.
const LINE_BYTES_MAX: usize = 16 << 20;

/// The lines of standard input, each with its number. Empty lines are left out.
pub(super) struct Lines {
    lines: mpsc::Receiver<anyhow::Result<(u64, String)>>,
}

impl Lines {
    /// Reads on a separate thread, which ends with the process: a read of standard input cannot be
    /// cancelled. It reads one line ahead.
    pub(super) fn of_input() -> anyhow::Result<Self> {
        let (sender, lines) = mpsc::channel(1);
        std::thread::Builder::new()
            .name("input".into())
            .spawn(move || {
                let mut input = io::stdin().lock();
                for number in 1.. {
                    let line = read_line(&mut input, number).transpose();
                    let Some(line) = line else { break };
                    let is_empty = line.as_ref().is_ok_and(String::is_empty);
                    let is_last = line.is_err();
                    let line = line.map(|line| (number, line));
                    if !is_empty && sender.blocking_send(line).is_err() || is_last {
                        break;
                    }
                }
            })
            .context("cannot read standard input")?;
        Ok(Self { lines })
    }

    pub(super) async fn next(&mut self) -> anyhow::Result<Option<(u64, String)>> {
        self.lines.recv().await.transpose()
    }
}

/// The next line without its end, or `None` at the end of the input.
fn read_line(input: &mut impl io::BufRead, number: u64) -> anyhow::Result<Option<String>> {
    let mut line = Vec::new();
    let max = LINE_BYTES_MAX as u64 + 1;
    input.take(max).read_until(b'\n', &mut line).context("cannot read standard input")?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.len() > LINE_BYTES_MAX {
        anyhow::bail!("line {number} has more than {}", bytesize::ByteSize::b(max - 1));
    }
    let line = line.strip_suffix(b"\n").unwrap_or(&line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let line = std::str::from_utf8(line).with_context(|| format!("line {number} is not UTF-8"))?;
    Ok(Some(line.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_with_lf_or_crlf_and_have_a_bound() {
        let mut input = &b"a\r\nb\n\nlast"[..];
        let mut next = || read_line(&mut input, 1).unwrap();
        for line in ["a", "b", "", "last"] {
            assert_eq!(next().as_deref(), Some(line));
        }
        assert_eq!(next(), None);
        let long = vec![b'x'; LINE_BYTES_MAX + 1];
        assert!(read_line(&mut long.as_slice(), 7).unwrap_err().to_string().contains("line 7"));
        assert!(read_line(&mut &b"\xff\n"[..], 1).is_err());
    }
}
