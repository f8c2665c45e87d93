//! Logs panics of the hub with their source location. A formatted message is left out, because it
//! may quote an event's data, a topic or a token.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{PanicHookInfo, set_hook};

/// Logs all panics from now on.
pub(super) fn log_locations() {
    set_hook(Box::new(tell));
}

fn tell(panic: &PanicHookInfo<'_>) {
    let location = panic.location().map(ToString::to_string);
    let thread = std::thread::current();
    // Only a literal message is safe to log: a formatted one contains runtime values.
    let message = panic.payload().downcast_ref::<&'static str>();
    let backtrace = Backtrace::capture();
    let backtrace =
        (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    tracing::error!(
        location,
        thread = thread.name(),
        message,
        backtrace,
        "the hub panicked; please report this"
    );
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_panic_is_logged_with_its_location_and_without_runtime_values() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber =
            tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false).finish();
        let before = std::panic::take_hook();
        // Panics of other tests are printed as usual.
        let test = std::thread::current().id();
        set_hook(Box::new(move |panic| {
            if std::thread::current().id() == test { tell(panic) } else { before(panic) }
        }));
        let secret = String::from("größe-the-secret");
        tracing::subscriber::with_default(subscriber, || {
            let _ = std::panic::catch_unwind(|| drop(secret[..3].to_owned()));
            let _ = std::panic::catch_unwind(|| panic!("an invariant of ours"));
        });
        let said = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert!(said.contains("panics.rs") && said.contains("an invariant of ours"), "{said}");
        assert!(!said.contains("secret"), "{said}");
    }
}
