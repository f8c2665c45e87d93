//! Tasks of this thread. In a simulation the seed decides which of those that can run runs next.

use tokio::task::JoinHandle;

#[cfg(feature = "simulation")]
use std::future::poll_fn;
#[cfg(feature = "simulation")]
use std::pin::pin;
#[cfg(feature = "simulation")]
use std::task::Poll;

#[cfg(feature = "simulation")]
use crate::simulated;

/// Starts a task on this thread. See [`tokio::task::spawn_local`].
#[inline]
pub(crate) fn spawn_local<F>(task: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    tokio::task::spawn_local(scheduled(task))
}

/// The task as a simulation schedules it. Without the feature `simulation` it is the task itself. With
/// the feature, a wrapper polls the task, and delays it only inside a simulation.
#[inline]
pub(crate) fn scheduled<F: Future>(task: F) -> impl Future<Output = F::Output> {
    #[cfg(feature = "simulation")]
    let task = async move {
        let mut task = pin!(task);
        poll_fn(|context| {
            if simulated::is_delayed() {
                // It comes after the others that can run now.
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            task.as_mut().poll(context)
        })
        .await
    };
    task
}
