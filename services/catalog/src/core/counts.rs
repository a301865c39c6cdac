//! How many records each index leads to, for metrics: kept beside the views, counted anew at start.

use super::key::{ALL_ARCHIVES, JOBS_BY_PHASE, NUMBER, SUFFIX};
use super::store::{Base, StoreError};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// The numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts(BTreeMap<Vec<u8>, i64>);

impl Counts {
    /// Counts what is there.
    pub fn of(base: &dyn Base) -> Result<Self, StoreError> {
        let mut counts = Self::default();
        for prefix in [JOBS_BY_PHASE, ALL_ARCHIVES] {
            base.scan(prefix, None, &mut |key, block| {
                let index = key.get(..key.len().saturating_sub(NUMBER)).unwrap_or_default();
                let entries = i64::try_from(block.len() / SUFFIX).unwrap_or(i64::MAX);
                counts.change(index, entries);
                Ok(ControlFlow::Continue(()))
            })?;
        }
        Ok(counts)
    }

    /// Records more or less in this index.
    pub fn change(&mut self, index: &[u8], by: i64) {
        if !index.starts_with(JOBS_BY_PHASE) && index != ALL_ARCHIVES {
            return;
        }
        match self.0.get_mut(index) {
            Some(count) => *count += by,
            None => {
                self.0.insert(index.to_vec(), by);
            }
        }
        self.0.retain(|_, count| *count != 0);
    }

    /// Metrics by name.
    pub fn numbers(&self) -> Vec<(String, i64)> {
        let mut numbers = vec![("archives".to_owned(), self.0.get(ALL_ARCHIVES).copied().unwrap_or(0))];
        for (index, count) in &self.0 {
            if let Some(phase) = index.strip_prefix(JOBS_BY_PHASE) {
                let phase = String::from_utf8_lossy(phase.strip_suffix(&[0]).unwrap_or(phase));
                numbers.push((format!("jobs{{phase=\"{phase}\"}}"), *count));
            }
        }
        numbers
    }
}
