//! Course: archives come one after the other, and the policy is applied in between.

use super::decide::Desk;
use super::{Candidate, Facts, Rules};
use jiff::Timestamp;

/// How many archives are looked at in all, counted once each time: some seconds of work. A policy that keeps 300 archives
/// can be followed over 60,000 runs.
const MOST_LOOKS: usize = 20_000_000;

/// Archives come one after the other, and the policy is applied in between.
pub(super) struct Course<'a> {
    pub desk: Desk<'a>,
    /// The indices of those that exist, ascending: the newest first.
    pub present: Vec<usize>,
    looks_left: usize,
}

impl<'a> Course<'a> {
    pub fn new(rules: &'a Rules, candidates: &'a [Candidate]) -> Self {
        Self { desk: Desk::new(rules, candidates), present: Vec::new(), looks_left: MOST_LOOKS }
    }

    /// An archive is made.
    pub fn add(&mut self, i: usize) {
        let at = self.present.partition_point(|other| *other < i);
        self.present.insert(at, i);
    }

    /// The policy is applied; `false` when there has been work enough, and then it was not.
    pub fn apply(&mut self, now: Timestamp, known_at: Timestamp) -> bool {
        match self.looks_left.checked_sub(self.present.len()) {
            Some(left) => self.looks_left = left,
            None => return false,
        }
        if self.desk.gate(&self.present, &Facts::default(), now, known_at).is_some() {
            return true;
        }
        self.desk.judge(&self.present, now, known_at);
        let desk = &self.desk;
        self.present.retain(|i| desk.stays(*i));
        true
    }

    /// Those that exist, the newest first.
    pub fn archives(&self) -> impl Iterator<Item = &'a Candidate> {
        self.present.iter().filter_map(|i| self.desk.candidates.get(*i).copied())
    }
}
