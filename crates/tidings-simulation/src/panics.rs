//! Panics of a simulation. They are noticed wherever they happen, also where the runtime or the hub
//! would catch them.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    /// The messages since the simulation began. `None` outside of one.
    static MESSAGES: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Runs a simulation on this thread.
///
/// # Errors
/// The message of the first panic that was not taken yet.
pub(crate) fn watch<T>(body: impl FnOnce() -> T) -> Result<T, String> {
    install();
    MESSAGES.set(Some(Vec::new()));
    let ended = catch_unwind(AssertUnwindSafe(body));
    let first = MESSAGES.take().and_then(|messages| messages.into_iter().next());
    match (ended, first) {
        (Ok(result), None) => Ok(result),
        (_, Some(message)) => Err(message),
        (Err(_), None) => Err("a panic without a message".to_owned()),
    }
}

/// The message of the first panic so far.
pub(crate) fn first() -> Option<String> {
    MESSAGES.with_borrow(|messages| messages.as_ref()?.first().cloned())
}

fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |info| {
            // A coroutine that is cancelled unwinds by a panic.
            if info.payload().is::<generator::Error>() {
                return;
            }
            let is_noted = MESSAGES.try_with(|messages| {
                let Ok(mut messages) = messages.try_borrow_mut() else { return false };
                let Some(messages) = messages.as_mut() else { return false };
                messages.push(info.to_string());
                true
            });
            if !is_noted.unwrap_or(false) {
                before(info);
            }
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_in_a_task_is_noticed() {
        let found = watch(|| {
            crate::run::run(7, async || {
                let failed = tokio::task::spawn_local(async { panic!("in a task") });
                assert!(failed.await.is_err());
                assert!(first().is_some());
            });
        });
        assert!(found.is_err_and(|message| message.contains("in a task")));
        assert!(first().is_none());
    }

    #[test]
    fn a_panic_of_the_simulation_ends_it() {
        let found = watch(|| crate::run::run(7, async || panic!("in the simulation")));
        assert!(found.is_err_and(|message| message.contains("in the simulation")));
        assert_eq!(watch(|| 1), Ok(1));
    }
}
