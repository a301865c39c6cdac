//! The checkpoint: where the notifier was, so that a start does not read years of history, and from where on it tells.
//!
//! It is a memo and not the truth: without its state the log is folded again from the beginning. Only `since` cannot be
//! computed again, and without it nothing that ended before the present start is told.

use crate::core::ledger::Ledger;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use strongroom_service::file;

const FILE: &str = "checkpoint.json";
/// Grows whenever [`Ledger`] means something else than before; a state of another number is folded anew.
const SCHEMA: u32 = 2;
/// How many events are worth a new memo.
const WORTH: u64 = 500;

#[derive(Serialize, Deserialize)]
struct Content {
    generation: String,
    since: u64,
    schema: u32,
    ledger: serde_json::Value,
}

/// The file, and what it held.
pub struct Memo {
    path: PathBuf,
    generation: String,
    saved_at: u64,
    /// The state to go on from.
    pub ledger: Ledger,
}

impl Memo {
    /// Reads the checkpoint; at the first start, and on another log than before, the telling begins at `end`.
    pub fn open(state_dir: &Path, generation: &str, end: u64) -> anyhow::Result<Self> {
        let path = state_dir.join(FILE);
        let content = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice::<Content>(&bytes)
                .inspect_err(
                    |e| tracing::warn!(error = %e, "the checkpoint cannot be read; it is begun anew"),
                )
                .ok(),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(e) => return Err(e.into()),
        };
        let content = content.filter(|c| c.generation == generation);
        let since = content.as_ref().map_or(end, |c| c.since);
        let ledger = content
            .filter(|c| c.schema == SCHEMA)
            .and_then(|c| serde_json::from_value::<Ledger>(c.ledger).ok())
            .unwrap_or_else(|| Ledger::new(since));
        let mut memo = Self { path, generation: generation.to_owned(), saved_at: ledger.sequence(), ledger };
        let ledger = memo.ledger.clone();
        memo.write(&ledger)?;
        Ok(memo)
    }

    /// Saves when enough has happened since.
    pub fn save_when_worth(&mut self, ledger: &Ledger) -> anyhow::Result<()> {
        if ledger.sequence() >= self.saved_at + WORTH { self.write(ledger) } else { Ok(()) }
    }

    /// Saves.
    pub fn write(&mut self, ledger: &Ledger) -> anyhow::Result<()> {
        let content = Content {
            generation: self.generation.clone(),
            since: ledger.since(),
            schema: SCHEMA,
            ledger: serde_json::to_value(ledger)?,
        };
        file::write_private(&self.path, &serde_json::to_vec(&content)?)?;
        self.saved_at = ledger.sequence();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn telling_begins_at_the_first_start_and_anew_on_another_log() {
        let folder = tempfile::tempdir().unwrap();
        let open = |generation: &str, end| Memo::open(folder.path(), generation, end).unwrap().ledger;
        assert_eq!(open("a", 7).since(), 7);
        assert_eq!(open("a", 9).since(), 7, "it goes on where it began");
        assert_eq!(open("b", 3).since(), 3);
        std::fs::write(folder.path().join(FILE), "{").unwrap();
        assert_eq!(open("b", 5).since(), 5);
    }

    #[test]
    fn a_state_of_an_older_program_is_folded_anew_from_the_same_beginning() {
        let folder = tempfile::tempdir().unwrap();
        Memo::open(folder.path(), "a", 7).unwrap();
        let path = folder.path().join(FILE);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("\"sequence\":0", "\"sequence\":\"?\"")).unwrap();
        let again = Memo::open(folder.path(), "a", 90).unwrap().ledger;
        assert_eq!((again.since(), again.sequence()), (7, 0));
    }
}
