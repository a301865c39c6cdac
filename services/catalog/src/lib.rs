//! Folds the log into views and answers questions.
//!
//! The views are a cache of the log: deleting them costs time, never data, and what is built again equals what was there,
//! byte for byte. [`core`] is pure: folds and answers over a small key-value store. Around it, `disk` is the one door to
//! sled, `desk` holds the views as they stand, `follow` reads the log into them, `answer` answers from them, and `files`
//! keeps the file indexes of archives that somebody browses.

mod answer;
pub mod core;
mod desk;
mod disk;
mod files;
mod follow;

use crate::core::store::{Key, StoreError};
use anyhow::Context as _;
use desk::Desk;
use files::Files;
use follow::Follow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use strongroom_bus::{Bus, Position};
use strongroom_service::{Shutdown, settings};
use tokio::sync::mpsc;

/// How the catalog works.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where it keeps its views; its own folder, used by nobody else. Deleting it costs time, never data.
    pub state_dir: PathBuf,
}

/// Runs until it is told to end.
pub async fn run(config: Config, bus: Bus, shutdown: Shutdown) -> anyhow::Result<()> {
    // Whatever ends this ends what it started.
    let shutdown = shutdown.child_token();
    let _ends_with_this = shutdown.clone().drop_guard();
    let _lock = settings::lock_folder(&config.state_dir)?;
    let (desk, files) = open(&config.state_dir, &shutdown).await?;
    let (redrives, asked) = mpsc::channel(16);
    let answers = answer::Answers { bus: bus.clone(), desk: desk.clone(), files: files.clone(), redrives };
    let follow = Follow::new(bus, desk.clone(), files.clone(), shutdown.clone(), asked);
    let result = tokio::select! {
        result = follow.run() => result,
        () = answers.serve() => Ok(()),
    };
    shutdown.cancel();
    close(desk, files).await;
    result
}

/// Folds the log into the views of this folder until its end is reached, and gives the position: a rebuild, when the
/// folder is new.
pub async fn rebuild_once(bus: Bus, state_dir: &Path) -> anyhow::Result<Position> {
    let shutdown = Shutdown::new();
    let _lock = settings::lock_folder(state_dir)?;
    let (desk, files) = open(state_dir, &shutdown).await?;
    let (_redrives, asked) = mpsc::channel(1);
    let follow = Follow::new(bus, desk.clone(), files.clone(), shutdown.clone(), asked);
    let mut seen = desk.seen();
    let (end, fold) = (shutdown.clone(), follow.run());
    let watch = async move {
        let seen = seen.wait_for(|seen| seen.caught_up || seen.problem.is_some()).await.map(|s| s.clone());
        end.cancel();
        seen
    };
    let (folded, seen) = tokio::join!(
        async {
            let folded = fold.await;
            shutdown.cancel();
            folded
        },
        async {
            tokio::select! {
                seen = watch => Some(seen),
                () = shutdown.cancelled() => None,
            }
        }
    );
    close(desk, files).await;
    folded?;
    let seen = seen.context("the fold ended before the log did")??;
    anyhow::ensure!(seen.problem.is_none(), seen.problem.unwrap_or_default());
    Ok(seen.position())
}

/// All keys and values of the views in this folder, sorted: to compare them. No catalog may be running there.
pub fn dump(state_dir: &Path) -> Result<Vec<(Key, Vec<u8>)>, StoreError> {
    disk::Disk::open(&views(state_dir), disk::CACHE_BYTES)?.dump()
}

fn views(state_dir: &Path) -> PathBuf {
    state_dir.join("views")
}

async fn open(state_dir: &Path, shutdown: &Shutdown) -> anyhow::Result<(Arc<Desk>, Arc<Files>)> {
    let (views, indexes, shutdown) = (views(state_dir), state_dir.join("indexes"), shutdown.clone());
    tokio::task::spawn_blocking(move || {
        let desk = Desk::open(views).context("the catalog's views")?;
        let files = Files::open(indexes, shutdown).context("the catalog's indexes")?;
        Ok((Arc::new(desk), Arc::new(files)))
    })
    .await?
}

/// Waits until nothing works on the folders any more, so that they can be opened again.
async fn close(desk: Arc<Desk>, files: Arc<Files>) {
    while Arc::strong_count(&desk) > 1 || Arc::strong_count(&files) > 1 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    // sled flushes when it is dropped.
    let _ = tokio::task::spawn_blocking(move || drop((desk, files))).await;
}
