//! Handing every delivery out twice, to show that every handler is safe to repeat.
//!
//! Delivery is at least once, and a second delivery is rare enough to be believed impossible. With
//! `STRONGROOM_FAULTS=deliver-twice` it is the rule: the tests of faults run the whole system like that.

use crate::Fault;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// What was handed out once and comes again; nothing, outside of tests.
#[derive(Clone)]
pub struct Twice<T>(Option<Arc<Mutex<VecDeque<T>>>>);

impl<T: Clone> Twice<T> {
    /// As the environment says.
    pub fn from_environment() -> Self {
        let wanted = std::env::var("STRONGROOM_FAULTS").is_ok_and(|f| f == "deliver-twice");
        Self(wanted.then(Default::default))
    }

    /// What is to come again, or else what `pull` gives, which then comes again the next time.
    pub async fn or_pull<Fut>(&self, pull: impl FnOnce() -> Fut) -> Result<Option<T>, Fault>
    where
        Fut: Future<Output = Result<Option<T>, Fault>>,
    {
        let Some(again) = &self.0 else { return pull().await };
        let waiting = again.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        if waiting.is_some() {
            return Ok(waiting);
        }
        let first = pull().await?;
        again.lock().unwrap_or_else(PoisonError::into_inner).extend(first.clone());
        Ok(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_comes_twice_when_asked_for_and_once_when_not() {
        for (again, expected) in
            [(Twice(Some(Default::default())), [1, 1, 3, 3]), (Twice(None), [1, 2, 3, 4])]
        {
            let mut came = Vec::new();
            for next in 1..=4 {
                let pulled = again.or_pull(|| std::future::ready(Ok(Some(next))));
                came.extend(pulled.await.unwrap());
            }
            assert_eq!(came, expected);
        }
    }
}
