//! Standard output and standard error of a command. Their readers may close them at any time.

use std::fmt;
use std::future::pending;
use std::io::{self, IsTerminal, StdoutLock, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::log;

/// Set once standard output has no reader.
static READER_IS_GONE: AtomicBool = AtomicBool::new(false);
/// The first error of printing a line.
static FAILURE: OnceLock<io::Error> = OnceLock::new();

/// Prints a line on standard error. A command continues if standard error is closed.
macro_rules! say {
    ($($text:tt)*) => { $crate::console::print_error(format_args!($($text)*)) };
}
pub(crate) use say;

/// See [`say!`].
pub(crate) fn print_error(text: fmt::Arguments<'_>) {
    // If there is a log thread, the line goes through it: in order, and without waiting.
    if !log::write(format!("{text}\n").as_bytes()) {
        let _ = writeln!(io::stderr().lock(), "{text}");
    }
}

/// Prints a line on standard output. If that fails, the command ends with the error: see
/// [`finish`].
macro_rules! put {
    ($($text:tt)*) => { $crate::console::print(format_args!($($text)*)) };
}
pub(crate) use put;

/// See [`put!`].
pub(crate) fn print(text: fmt::Arguments<'_>) {
    if FAILURE.get().is_none()
        && let Err(error) = writeln!(out(), "{text}")
    {
        let _ = FAILURE.set(error);
    }
}

/// Reports whether every [`put!`] succeeded.
///
/// # Errors
/// If a line could not be printed.
pub(crate) fn finish() -> Result<(), &'static io::Error> {
    match FAILURE.get() {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// Standard output, locked. A failed write is an error that names standard output; `println!`
/// would panic.
pub(crate) fn out() -> Out {
    Out(io::stdout().lock())
}

/// See [`out`].
pub(crate) struct Out(StdoutLock<'static>);

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(told)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(told)
    }
}

fn told(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::BrokenPipe => READER_IS_GONE.store(true, Ordering::Relaxed),
        // The caller tries again.
        io::ErrorKind::Interrupted => return error,
        _ => {}
    }
    io::Error::new(error.kind(), format!("cannot write to standard output: {error}"))
}

/// Whether text for this stream may have colours: on a terminal, unless `NO_COLOR` is set.
pub(crate) fn is_coloured(stream: &impl IsTerminal) -> bool {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    stream.is_terminal() && !is_set("NO_COLOR") && !is_dumb
}

/// Whether standard output is known to have no reader.
pub(crate) fn reader_is_gone() -> bool {
    READER_IS_GONE.load(Ordering::Relaxed)
}

/// Waits until the reader closes standard output, so that `… | head` ends together with `head` and
/// not with the next event. A file never closes. If the system does not report it, the next write
/// fails instead.
#[cfg(unix)]
pub(crate) async fn reader_gone() {
    use std::os::fd::AsFd as _;

    use tokio::io::Interest;
    use tokio::net::unix::pipe::Sender;

    let watched = io::stdout().as_fd().try_clone_to_owned();
    // Nothing is written through it, so it need not be non-blocking.
    let watched = watched.and_then(Sender::from_owned_fd_unchecked);
    let Ok(watched) = watched else { return pending().await };
    if watched.ready(Interest::ERROR).await.is_err() {
        return pending().await;
    }
    READER_IS_GONE.store(true, Ordering::Relaxed);
}

/// Never ends: only Unix reports it before the next write.
#[cfg(not(unix))]
pub(crate) async fn reader_gone() {
    pending().await
}
