//! The views as they stand: what is folded into them, and what is read from them.

use crate::core::checkpoint::Halted;
use crate::core::fold::{RedriveError, State};
use crate::core::store::{Base, StoreError};
use crate::disk::{CACHE_BYTES, Disk};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use strongroom_bus::{Delivery, Poison, Position, Recorded};
use strongroom_domain::Aggregate;
use tokio::sync::{Notify, watch};

/// How far the views are, for those who wait for it.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Which log; empty before it is known.
    pub generation: Arc<str>,
    /// The last sequence that the views hold.
    pub sequence: u64,
    /// Whether the end of the log was reached since the start.
    pub caught_up: bool,
    /// Why the fold stands still, when it does.
    pub problem: Option<String>,
}

impl Seen {
    /// As a position.
    pub fn position(&self) -> Position {
        Position { generation: self.generation.to_string(), sequence: self.sequence }
    }
}

/// The views with their store.
pub struct Desk {
    folder: PathBuf,
    // Writers hold it for the moment of a batch, readers for a whole answer: an answer speaks for one position.
    disk: RwLock<Option<Disk>>,
    state: Mutex<State>,
    seen: watch::Sender<Seen>,
    damaged: Notify,
}

impl Desk {
    /// Opens the views in this folder, or begins them anew when they cannot be read.
    pub fn open(folder: PathBuf) -> Result<Self, StoreError> {
        let (disk, state) = match load(&folder) {
            Err(StoreError::Damaged(problem)) => {
                tracing::warn!(problem, "the views are damaged; they are built again from the log");
                wipe(&folder)?;
                load(&folder)?
            }
            other => other?,
        };
        let seen = watch::Sender::new(Seen::default());
        Ok(Self {
            folder,
            disk: RwLock::new(Some(disk)),
            state: Mutex::new(state),
            seen,
            damaged: Notify::new(),
        })
    }

    /// Says which log is folded now, and how long it is. Views of another log, or of more than this one has, are thrown
    /// away. Gives the checkpoint.
    pub fn begin(&self, generation: &str, last: u64) -> Result<u64, StoreError> {
        let checkpoint = self.state().checkpoint.clone();
        if !checkpoint.fits(generation, last) {
            if checkpoint.sequence > 0 {
                tracing::warn!(
                    views.generation = checkpoint.generation,
                    views.sequence = checkpoint.sequence,
                    log.generation = generation,
                    log.sequence = last,
                    "the views are of another log or another format; they are built again"
                );
            }
            self.wipe()?;
            *self.state() = State::start(generation);
        }
        let sequence = self.state().checkpoint.sequence;
        let generation: Arc<str> = generation.into();
        self.seen.send_modify(|seen| {
            // Whoever waited for the end of another log waits for the end of this one.
            seen.caught_up &= seen.generation == generation;
            seen.generation = generation;
            seen.sequence = sequence;
        });
        Ok(sequence)
    }

    /// Takes the next part of the log in; gives what was set aside.
    pub fn take_in(&self, items: &[Delivery]) -> Result<Vec<Poison>, StoreError> {
        let mut state = self.state();
        let folded = {
            let disk = self.disk();
            state.fold(base(&disk)?, items)?
        };
        self.write(folded.writes, state.checkpoint.sequence)?;
        Ok(folded.set_aside)
    }

    /// Takes a halted aggregate in again, from its history.
    pub fn redrive(&self, aggregate: &Aggregate, history: &[Recorded]) -> Result<(), RedriveError> {
        let mut state = self.state();
        let folded = {
            let disk = self.disk();
            state.redrive(base(&disk)?, aggregate, history)?
        };
        Ok(self.write(folded.writes, state.checkpoint.sequence)?)
    }

    /// The end of the log was reached.
    pub fn caught_up(&self) {
        self.seen.send_if_modified(|seen| !std::mem::replace(&mut seen.caught_up, true));
    }

    /// The fold stands still from now on.
    pub fn stopped(&self, problem: String) {
        self.seen.send_modify(|seen| seen.problem = Some(problem));
    }

    /// How far it is, to look and to wait.
    pub fn seen(&self) -> watch::Receiver<Seen> {
        self.seen.subscribe()
    }

    /// Reads from the views as they are at one position. Damage that is found is told to the fold.
    pub fn read<R, E: From<StoreError>>(
        &self,
        read: impl FnOnce(&dyn Base) -> Result<R, E>,
    ) -> Result<(Position, R), E> {
        let disk = self.disk();
        let position = self.seen.borrow().position();
        let result = read(base(&disk)?)?;
        Ok((position, result))
    }

    /// Says that something that cannot be read was found.
    pub fn tell_damage(&self) {
        self.damaged.notify_one();
    }

    /// Waits for word of damage.
    pub async fn damage(&self) {
        self.damaged.notified().await;
    }

    /// Throws the views away: the next [`Desk::begin`] starts from nothing.
    pub fn forget(&self) -> Result<(), StoreError> {
        self.wipe()?;
        *self.state() = State::start("");
        self.seen.send_modify(|seen| {
            seen.caught_up = false;
            seen.sequence = 0;
        });
        Ok(())
    }

    /// All aggregates that are halted.
    pub fn halted(&self) -> Vec<Halted> {
        self.state().halts.values().cloned().collect()
    }

    /// How many records there are, for metrics.
    pub fn numbers(&self) -> Vec<(String, i64)> {
        self.state().counts.numbers()
    }

    fn write(&self, writes: crate::core::store::Writes, sequence: u64) -> Result<(), StoreError> {
        let disk = self.disk.write().unwrap_or_else(PoisonError::into_inner);
        disk.as_ref().ok_or_else(closed)?.write(writes)?;
        self.seen.send_modify(|seen| seen.sequence = sequence);
        Ok(())
    }

    fn wipe(&self) -> Result<(), StoreError> {
        let mut disk = self.disk.write().unwrap_or_else(PoisonError::into_inner);
        // sled holds its folder until it is dropped.
        disk.take();
        wipe(&self.folder)?;
        *disk = Some(Disk::open(&self.folder, CACHE_BYTES)?);
        Ok(())
    }

    fn disk(&self) -> RwLockReadGuard<'_, Option<Disk>> {
        self.disk.read().unwrap_or_else(PoisonError::into_inner)
    }

    // A fold that panicked leaves a state that is thrown away with the views, so a poisoned lock is not an error.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn load(folder: &std::path::Path) -> Result<(Disk, State), StoreError> {
    let disk = Disk::open(folder, CACHE_BYTES)?;
    let state = State::load(&disk)?.unwrap_or_else(|| State::start(""));
    Ok((disk, state))
}

fn wipe(folder: &std::path::Path) -> Result<(), StoreError> {
    match std::fs::remove_dir_all(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(StoreError::Disk(format!("{}: {e}", folder.display())))
        }
        _ => Ok(()),
    }
}

fn base<'a>(disk: &'a RwLockReadGuard<'_, Option<Disk>>) -> Result<&'a dyn Base, StoreError> {
    Ok(disk.as_ref().ok_or_else(closed)?)
}

fn closed() -> StoreError {
    StoreError::Disk("the views could not be opened again".into())
}
