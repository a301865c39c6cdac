//! Running something again while its faults are transient.

use crate::Shutdown;
use std::time::Duration;

/// Runs `work` until it succeeds or shutdown comes; waits longer after each failure, at most 5 s.
///
/// Not over `AsyncFnMut`: a future that calls it could then not be shown to be `Send`, and no service could be spawned.
pub async fn until_done<T, E, F, Fut>(what: &str, shutdown: &Shutdown, mut work: F) -> Option<T>
where
    E: std::fmt::Display,
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    let mut wait = Duration::from_millis(100);
    loop {
        match work().await {
            Ok(done) => return Some(done),
            Err(e) => tracing::warn!(what, error = %e, "failed; it is tried again"),
        }
        tokio::select! {
            () = shutdown.cancelled() => return None,
            () = tokio::time::sleep(wait) => {}
        }
        wait = (wait * 2).min(Duration::from_secs(5));
    }
}
