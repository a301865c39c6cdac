//! Keeping a service running: one that fails or panics is started again, the others go on.

use std::time::Duration;
use strongroom_service::Shutdown;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// After how long of good work an earlier failure is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// Runs a service until shutdown; again after a failure, with a pause that grows to 10 s.
pub fn keep<F, R>(services: &mut JoinSet<()>, name: &'static str, shutdown: &Shutdown, run: F)
where
    F: Fn(Shutdown) -> R + Send + Sync + 'static,
    R: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let shutdown = shutdown.clone();
    services.spawn(async move {
        let mut pause = Duration::from_millis(200);
        while !shutdown.is_cancelled() {
            let began = Instant::now();
            // A task of its own, so that a panic is the end of this life of the service and of nothing else.
            let life = tokio::spawn(run(shutdown.clone()));
            match life.await {
                Ok(Ok(())) if shutdown.is_cancelled() => break,
                Ok(Ok(())) => tracing::warn!(service = name, "it ended by itself; it is started again"),
                Ok(Err(e)) => tracing::error!(
                    service = name,
                    error = format!("{e:#}"),
                    "it failed; it is started again"
                ),
                Err(e) => tracing::error!(service = name, error = %e, "it broke; it is started again"),
            }
            if began.elapsed() > FORGOTTEN {
                pause = Duration::from_millis(200);
            }
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(Duration::from_secs(10));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test(start_paused = true)]
    async fn a_service_that_fails_or_panics_is_started_again() {
        let (mut services, shutdown, lives) = (JoinSet::new(), Shutdown::new(), Arc::new(AtomicU32::new(0)));
        let (counted, end) = (lives.clone(), shutdown.clone());
        keep(&mut services, "test", &shutdown, move |_| {
            let life = counted.fetch_add(1, Ordering::SeqCst);
            let end = end.clone();
            async move {
                match life {
                    0 => anyhow::bail!("first"),
                    1 => panic!("second"),
                    2 => Ok(()),
                    _ => {
                        end.cancel();
                        Ok(())
                    }
                }
            }
        });
        while services.join_next().await.is_some() {}
        assert_eq!(lives.load(Ordering::SeqCst), 4);
    }
}
