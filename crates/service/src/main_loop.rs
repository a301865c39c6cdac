//! A service's life: it runs until it is told to end, and is run again when it fails.

use crate::{Shutdown, telemetry};
use std::process::ExitCode;

/// The whole of a service's `main`: tracing on, run, and a clear last word when it fails.
pub fn main<F>(name: &'static str, run: F) -> ExitCode
where
    F: AsyncFnOnce(Shutdown) -> anyhow::Result<()>,
{
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            eprintln!("{name}: {e}");
            return ExitCode::FAILURE;
        }
    };
    let guard = telemetry::start(name);
    let result = runtime.block_on(async {
        let shutdown = Shutdown::new();
        tokio::spawn(until_signal(shutdown.clone()));
        run(shutdown).await
    });
    // Children and blocking threads get a moment; a stuck one must not keep the process.
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    drop(guard);
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{name}: {e:#}");
            ExitCode::FAILURE
        }
    }
}

/// Cancels `shutdown` at SIGINT or SIGTERM.
pub async fn until_signal(shutdown: Shutdown) {
    use tokio::signal::unix::{SignalKind, signal};
    let terminate = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminate => {}
        () = shutdown.cancelled() => {}
    }
    shutdown.cancel();
}
