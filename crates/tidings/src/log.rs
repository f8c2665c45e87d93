//! Writes the hub's log to standard error on a separate thread, so that a stalled reader or a full
//! disk stops the log and not the hub.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// The maximum of bytes that wait to be written. Further lines are dropped and counted.
const WAITING_BYTES: usize = 1 << 20;
/// How long the process waits at its end for the last lines to be written.
const END_TIME: Duration = Duration::from_secs(1);

static LOG: OnceLock<&Log> = OnceLock::new();

/// The lines that wait, and the thread that writes them.
#[derive(Debug, Default)]
struct Log {
    state: Mutex<State>,
    changed: Condvar,
    dropped: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    is_writing: bool,
}

/// Starts the thread that writes the lines of [`write()`].
///
/// # Errors
/// If the thread cannot be started.
pub(crate) fn start() -> io::Result<()> {
    let log: &Log = Box::leak(Box::default());
    let run = move || log.run(&mut io::stderr());
    std::thread::Builder::new().name("log".to_owned()).spawn(run)?;
    // Not earlier: without the thread, lines that were given to it would not be written.
    let _ = LOG.set(log);
    Ok(())
}

/// Writes whole lines if the thread was started; else returns false.
pub(crate) fn write(lines: &[u8]) -> bool {
    LOG.get().map(|log| log.push(lines)).is_some()
}

/// The number of dropped lines, for the metric.
pub(crate) fn dropped() -> Arc<AtomicU64> {
    LOG.get().map(|log| Arc::clone(&log.dropped)).unwrap_or_default()
}

/// Waits until all lines are written, at most for [`END_TIME`].
pub(crate) fn finish() {
    if let Some(log) = LOG.get() {
        log.finish(END_TIME);
    }
}

/// The writer of the log's lines.
pub(crate) struct Lines;

impl Write for Lines {
    /// Each call writes whole lines.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn push(&self, lines: &[u8]) {
        let mut state = self.lock();
        if state.waiting.len() + lines.len() > WAITING_BYTES {
            self.drop_lines(lines);
            return;
        }
        state.waiting.extend_from_slice(lines);
        drop(state);
        self.changed.notify_all();
    }

    /// Writes waiting lines, forever.
    fn run(&self, out: &mut impl Write) {
        let mut piece = Vec::new();
        let mut told = 0;
        loop {
            self.take(&mut piece);
            // A failed write can be counted only: the log is the place that would report it.
            if out.write_all(&piece).and_then(|()| out.flush()).is_err() {
                self.drop_lines(&piece);
            } else {
                let dropped = self.dropped.load(Ordering::Relaxed);
                if dropped > told {
                    let lines = dropped - told;
                    told = dropped;
                    tracing::warn!(
                        lines,
                        "dropped lines of the log, because standard error was not read in time"
                    );
                }
            }
        }
    }

    /// Waits for lines, and takes all of them.
    fn take(&self, piece: &mut Vec<u8>) {
        piece.clear();
        let mut state = self.lock();
        state.is_writing = false;
        self.changed.notify_all();
        let waited = self.changed.wait_while(state, |state| state.waiting.is_empty());
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        // The two buffers are swapped, so that nothing is allocated.
        std::mem::swap(&mut state.waiting, piece);
        state.is_writing = true;
    }

    fn finish(&self, patience: Duration) {
        let is_busy = |state: &mut State| state.is_writing || !state.waiting.is_empty();
        drop(self.changed.wait_timeout_while(self.lock(), patience, is_busy));
    }

    fn drop_lines(&self, lines: &[u8]) {
        let count = lines.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.dropped.fetch_add(count, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under the lock leaves no invalid state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
    use std::time::Instant;

    use super::*;

    /// A reader that takes a piece on request.
    struct Pieces(SyncSender<Vec<u8>>);

    impl Write for Pieces {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_owned()).expect("the test reads");
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn log() -> (&'static Log, Receiver<Vec<u8>>) {
        // Its thread never ends.
        let log: &'static Log = Box::leak(Box::default());
        let (sender, pieces) = sync_channel(0);
        std::thread::spawn(move || log.run(&mut Pieces(sender)));
        (log, pieces)
    }

    #[test]
    fn lines_beyond_the_bound_are_dropped_and_counted_while_the_reader_stalls() {
        let (log, pieces) = log();
        log.push(b"first\n");
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        // The thread may have taken some of them before it stalled.
        for _ in 0..3 * WAITING_BYTES / line.len() {
            log.push(&line);
        }
        let dropped = log.dropped.load(Ordering::Relaxed);
        let least = (WAITING_BYTES / line.len()) as u64;
        assert!((least..=2 * least).contains(&dropped), "{dropped}");
        let begun = Instant::now();
        log.finish(Duration::from_millis(10));
        assert!(begun.elapsed() >= Duration::from_millis(10));
        let mut read = pieces.recv().expect("lines");
        while read.len() < (3 * least - dropped) as usize * line.len() {
            read.extend(pieces.recv().expect("lines"));
        }
        assert!(read.starts_with(b"first\nx") && read.ends_with(b"x\n"));
        log.push(b"last\n");
        assert_eq!(pieces.recv().expect("a line"), b"last\n");
        log.finish(Duration::from_secs(60));
    }

    #[test]
    fn a_thread_that_panics_leaves_the_bound_and_the_count_of_dropped_lines() {
        let (log, pieces) = log();
        // The thread panics when it writes.
        drop(pieces);
        log.push(b"first\n");
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        // The thread may have taken some of them before it panicked.
        for _ in 0..3 * WAITING_BYTES / line.len() {
            log.push(&line);
        }
        let most = (WAITING_BYTES / line.len()) as u64;
        assert!(log.dropped.load(Ordering::Relaxed) >= most);
        assert!(log.lock().waiting.len() <= WAITING_BYTES);
        // The process ends all the same.
        log.finish(Duration::from_millis(10));
    }
}
