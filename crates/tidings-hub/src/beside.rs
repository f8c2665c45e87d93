//! Work beside the shards: on threads of their own, so that it delays no stream.

use tokio::task::JoinError;

#[cfg(feature = "simulation")]
use crate::simulated;

/// Does work that takes long or blocks. It is done even if the returned future is dropped.
///
/// # Errors
/// If the work panics, or the runtime is shutting down.
pub(crate) async fn run<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    #[cfg(feature = "simulation")]
    if simulated::is_entered() {
        let later = async move {
            // Other tasks run first, as they may beside a thread.
            tokio::task::yield_now().await;
            work()
        };
        return tokio::spawn(later).await;
    }
    tokio::task::spawn_blocking(work).await
}

/// The number of cores that the process may use.
pub(crate) fn cores() -> usize {
    #[cfg(feature = "simulation")]
    if simulated::is_entered() {
        return 2;
    }
    std::thread::available_parallelism().map_or(1, usize::from)
}
