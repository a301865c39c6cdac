//! One node's executor: takes the work that was admitted to it, does it with borg, and reports.
//!
//! It writes no facts and looks nothing up. What it says carries the epoch of its admission, and when that is no longer
//! the present one it kills its child and says nothing.

mod attempt;
mod borg;
mod cache;
mod census;
mod child;
mod clusters;
mod container;
mod control;
pub mod core;
mod dump_store;
mod foreign;
mod found;
mod gpg;
mod heartbeat;
mod hook;
mod jobs;
mod manifests;
mod measure;
mod mongodb;
mod mounts;
mod mysql;
mod names;
mod orphans;
mod parts;
mod pipeline;
mod postgresql;
mod program;
mod quiesce;
mod repository;
mod sample;
mod scratch;
mod sources;
mod specials;
mod spool;
mod state;
pub mod stores;
mod streams;
mod unfinished;
mod worker;
mod zipping;

pub use container::{ContainerSettings, When};

use anyhow::Context;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use strongroom_bus::NodeBus;
use strongroom_domain::NodeId;
use strongroom_service::{Shutdown, clock};

/// How an executor works.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its name.
    pub node: NodeId,
    /// Where it keeps its key, borg's cache and what it must remember. Two executors never share one.
    pub state_dir: PathBuf,
    /// How many jobs it does at once.
    pub capacity: usize,
    /// The borg that it uses.
    pub borg: PathBuf,
    /// Folders in which programs lie that plans may run as hooks; none, when empty.
    pub allow_hooks: Vec<PathBuf>,
    /// Folders in which programs of database systems are looked for before the `PATH`.
    pub programs: Vec<PathBuf>,
    /// Whether and in which images such programs run that the node does not have.
    pub containers: ContainerSettings,
    /// How often it asks whether an attempt still stands.
    pub lease_every: Duration,
    /// How often it says that it lives.
    pub heartbeat_every: Duration,
}

impl Config {
    /// The usual way.
    pub fn new(node: NodeId, state_dir: PathBuf) -> Self {
        Self {
            node,
            state_dir,
            capacity: 8,
            borg: PathBuf::from("borg"),
            allow_hooks: Vec::new(),
            programs: Vec::new(),
            containers: ContainerSettings::default(),
            lease_every: Duration::from_secs(2),
            heartbeat_every: Duration::from_secs(5),
        }
    }
}

/// Runs until shutdown. What an earlier life has left is ended before any work is taken.
pub async fn run(config: Config, bus: NodeBus, shutdown: Shutdown) -> anyhow::Result<()> {
    let mut state = state::State::open(&config.state_dir).context("the executor's state folder")?;
    state.stopped = state.stopped.with_docker(config.containers.named_host());
    let containers = container::Containers::new(config.containers.clone(), config.node.clone(), &state);
    // Before the hands that feed them: the end of what is fed is not the end of what was to be.
    containers.clear().await;
    orphans::end_all(&state.children()).await.context("ending what an earlier life has left")?;
    // As soon as may be: something that people use may be down. What does not start now is tried again.
    let children = state.children();
    tokio::select! {
        _ = state.stopped.mend(&children, 1) => {}
        () = shutdown.cancelled() => return Ok(()),
    }
    let restores = state.restores();
    // What a large restore has left takes a while to remove.
    tokio::task::spawn_blocking(move || scratch::clear(&restores)).await?;
    streams::clear(&state.streams());
    found::clear(&state.findings(), clock::now().into());
    let borg = borg::Borg::new(&config.borg, &state)?;
    let worker = Arc::new(worker::Worker::new(config, state, borg, bus, containers));
    heartbeat::join(&worker, &shutdown).await;
    // The heart beats until the last attempt has ended, or the scheduler would take it from us while it is wound up.
    tokio::select! {
        () = heartbeat::beat_for_ever(&worker) => {}
        () = worker.state.stopped.mend_for_ever(&children) => {}
        () = worker::work(&worker, &shutdown) => {}
    }
    Ok(())
}
