//! The HTTP API: parses, authorises, decides definitions, asks the catalog, streams. It holds no state that the log does
//! not.

mod app;
mod auth;
mod body;
mod bootstrap;
mod conditions;
mod connections;
mod events;
mod exposition;
mod health;
mod http;
mod json;
mod live;
mod metrics;
mod plan_numbers;
mod problem;
mod resources;
mod route;
mod seal;
mod work;

use anyhow::Context;
use app::App;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use strongroom_bus::Bus;
use strongroom_service::{Shutdown, settings};
use tokio::sync::oneshot;

/// How the gateway works.
#[derive(Debug)]
pub struct Config {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where the first administrator's token is written.
    pub state_dir: PathBuf,
    /// The monitoring address of nats-server (`host:port`): `/readyz` is red when that one must not keep the log. Not
    /// looked at, when absent.
    pub nats_monitor: Option<String>,
    /// Told the address once it listens; port 0 is another one by then.
    pub on_listening: Option<oneshot::Sender<SocketAddr>>,
}

/// Runs until shutdown.
pub async fn run(config: Config, bus: Bus, shutdown: Shutdown) -> anyhow::Result<()> {
    let _lock = settings::lock_folder(&config.state_dir)?;
    let listener = tokio::net::TcpListener::bind(config.listen).await.with_context(|| {
        format!("{} cannot be listened on; end what listens there, or choose another address", config.listen)
    })?;
    let address = listener.local_addr()?;
    bootstrap::first_token(&bus, &config.state_dir).await?;
    // Whatever ends this ends what it started.
    let shutdown = shutdown.child_token();
    let _ends_with_this = shutdown.clone().drop_guard();
    let app = Arc::new(App::new(bus, config.nats_monitor.clone(), shutdown.clone()));
    if let Some(tell) = config.on_listening {
        // Nobody waits any more: it listens all the same.
        let _ = tell.send(address);
    }
    tracing::info!(%address, "the API listens");
    let serving = http::serve(app.clone(), listener);
    tokio::select! {
        () = serving => {}
        () = live::watch_for_ever(&app) => {}
        () = live::hear_for_ever(&app) => {}
    }
    Ok(())
}
