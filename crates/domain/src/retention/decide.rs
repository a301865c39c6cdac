//! Decide: rules propose, guards object, and of both comes a verdict for each archive.
//!
//! Guards that no policy turns off: a held archive stays; the newest archive stays, and the newest good one; so do the
//! `minimum` newest good ones, and the newest that a drill has proved, both of the good ones and of all; and whatever any archive that stays was made on. An
//! archive that is not good (incomplete, or refuted by a drill) takes no good one's place: the rules are applied to the good
//! ones as if there were no others, and then to all, and what either keeps is kept. So a plan whose archives are all
//! incomplete has a history too, and one bad night pushes nothing out.

use super::gate::gate;
use super::period::Moment;
use super::rules::{Mark, apply};
use super::{Candidate, Decision, Gate, Gone, Outcome, Reason, Rule, Rules, Verdict};
use crate::ArchiveId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// What is known beside the archives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// How many runs of the plan have failed since the last one that succeeded.
    #[serde(default)]
    pub failures_in_a_row: u32,
    /// Since when the plan is late, if it is.
    #[serde(default)]
    pub overdue_since: Option<Timestamp>,
    /// Whether the plan is paused.
    #[serde(default)]
    pub paused: bool,
}

/// What becomes of each archive at `now`.
///
/// Deleting what it says, or any part of that, and deciding again at the same `now` gives no archive that was not in the first
/// list: what stays is what a period, a count or a guard looks at. That does not hold when time has passed, when archives were
/// made, held, released or tested meanwhile, or when the policy is another: so a stored list is held against a new decision
/// before it is acted on ([`Decision::objections`]).
///
/// Of archives of the same moment the one with the later name is the newer, as in borg, and of the same name the one with the
/// greater id.
pub fn decide(rules: &Rules, candidates: &[Candidate], facts: &Facts, now: Timestamp) -> Decision {
    let mut desk = Desk::new(rules, candidates);
    let present: Vec<usize> = (0..desk.candidates.len()).collect();
    // What drills have found is taken as known, whatever their clocks say.
    desk.judge(&present, now, Timestamp::MAX);
    let gated = desk.gate(&present, facts, now, Timestamp::MAX);
    let verdicts = present.iter().filter_map(|i| desk.verdict(*i, now)).collect();
    Decision { decided_at: now, verdicts, gated }
}

/// Archives by their age, and what was found out about each: all that is needed to decide again and again over a part of
/// them, without making a list for each time.
pub(super) struct Desk<'a> {
    rules: &'a Rules,
    /// The newest first; what stands at an index here is about the archive with that index everywhere.
    pub candidates: Vec<&'a Candidate>,
    pub moments: Vec<Moment>,
    bases: Vec<Option<usize>>,
    listed_twice: Vec<bool>,
    /// What the rules say of the good ones.
    of_good: Vec<Mark>,
    /// What they say of all.
    of_all: Vec<Mark>,
    guards: Vec<Guards>,
}

/// What speaks for an archive beside the rules.
#[derive(Debug, Clone, Copy, Default)]
struct Guards {
    held: bool,
    newest: bool,
    newest_good: bool,
    last_proved: bool,
    minimum: Option<(u32, u32)>,
    base_of: Option<usize>,
}

impl Guards {
    fn any(&self) -> bool {
        self.held
            || self.newest
            || self.newest_good
            || self.last_proved
            || self.minimum.is_some()
            || self.base_of.is_some()
    }
}

impl<'a> Desk<'a> {
    pub fn new(rules: &'a Rules, candidates: &'a [Candidate]) -> Self {
        let mut candidates: Vec<&Candidate> = candidates.iter().collect();
        candidates.sort_by(|a, b| (b.made_at, &b.name, b.id).cmp(&(a.made_at, &a.name, a.id)));
        let mut index: HashMap<ArchiveId, usize> = HashMap::with_capacity(candidates.len());
        let mut listed_twice = vec![false; candidates.len()];
        for (i, candidate) in candidates.iter().enumerate() {
            if let Some(other) = index.insert(candidate.id, i) {
                for twice in [i, other] {
                    if let Some(flag) = listed_twice.get_mut(twice) {
                        *flag = true;
                    }
                }
            }
        }
        let base = |candidate: &&Candidate| candidate.base.and_then(|base| index.get(&base).copied());
        Self {
            rules,
            moments: candidates.iter().map(|c| Moment::new(c.made_at, &rules.zone)).collect(),
            bases: candidates.iter().map(base).collect(),
            listed_twice,
            of_good: vec![Mark::default(); candidates.len()],
            of_all: vec![Mark::default(); candidates.len()],
            guards: vec![Guards::default(); candidates.len()],
            candidates,
        }
    }

    /// Finds out about those at these indices, which must ascend, as if there were no others.
    pub fn judge(&mut self, present: &[usize], now: Timestamp, known_at: Timestamp) {
        for i in present {
            for marks in [&mut self.of_good, &mut self.of_all] {
                if let Some(mark) = marks.get_mut(*i) {
                    *mark = Mark::default();
                }
            }
            if let (Some(guards), Some(candidate)) = (self.guards.get_mut(*i), self.candidates.get(*i)) {
                let held = candidate.holds.iter().any(|hold| hold.holds(now));
                *guards = Guards { held, ..Guards::default() };
            }
        }
        let is_good = |i: &&usize| self.candidates.get(**i).is_some_and(|c| c.is_good(known_at));
        let (good, others): (Vec<usize>, Vec<usize>) = present.iter().partition(is_good);
        apply(self.rules, &self.moments, &good, now, &mut self.of_good);
        if !others.is_empty() {
            apply(self.rules, &self.moments, present, now, &mut self.of_all);
        }
        self.guard(present.first(), |guards| guards.newest = true);
        self.guard(good.first(), |guards| guards.newest_good = true);
        // Of the good ones, and of all: what is incomplete takes no good one's place here either.
        let is_proved = |i: &&usize| self.candidates.get(**i).is_some_and(|c| c.proof.is_proved(known_at));
        let proved = [good.iter().find(is_proved), present.iter().find(is_proved)];
        for i in proved {
            self.guard(i, |guards| guards.last_proved = true);
        }
        // Where there are not enough good ones, others are better than nothing.
        let minimum = self.rules.policy.minimum.max(1);
        let newest: Vec<_> = good.iter().chain(&others).take(minimum as usize).collect();
        for (nth, i) in (1..).zip(newest) {
            self.guard(Some(i), |guards| guards.minimum = Some((nth, minimum)));
        }
        self.guard_bases(present);
    }

    fn guard(&mut self, i: Option<&usize>, set: impl FnOnce(&mut Guards)) {
        if let Some(guards) = i.and_then(|i| self.guards.get_mut(*i)) {
            set(guards);
        }
    }

    /// Of each archive that stays, all that it rests on stays. Each is come to once, so it ends, in a circle too.
    fn guard_bases(&mut self, present: &[usize]) {
        for i in present {
            if !self.stays(*i) {
                continue;
            }
            let mut above = *i;
            while let Some(base) = self.bases.get(above).copied().flatten() {
                match self.guards.get_mut(base) {
                    Some(guards) if guards.base_of.is_none() => guards.base_of = Some(above),
                    _ => break,
                }
                above = base;
            }
        }
    }

    fn kept_by_rule(&self, i: usize) -> Option<super::Kept> {
        let of = |marks: &[Mark]| marks.get(i).and_then(|mark| mark.kept);
        of(&self.of_good).or(of(&self.of_all))
    }

    /// Whether the archive stays, by what [`Desk::judge`] has found.
    pub fn stays(&self, i: usize) -> bool {
        self.kept_by_rule(i).is_some()
            || self.guards.get(i).is_none_or(Guards::any)
            || self.listed_twice.get(i).is_none_or(|twice| *twice)
    }

    /// Why nothing may go, if so.
    pub fn gate(
        &self,
        present: &[usize],
        facts: &Facts,
        now: Timestamp,
        known_at: Timestamp,
    ) -> Option<Gate> {
        let newest = present.first().and_then(|i| self.candidates.get(*i)).copied();
        gate(self.rules, newest, facts, now, known_at)
    }

    fn verdict(&self, i: usize, now: Timestamp) -> Option<Verdict> {
        let candidate = self.candidates.get(i)?;
        let outcome =
            if self.stays(i) { Outcome::Keep { reasons: self.reasons(i, now) } } else { self.go(i) };
        Some(Verdict {
            archive: candidate.id,
            name: candidate.name.clone(),
            made_at: candidate.made_at,
            added_bytes: candidate.added_bytes,
            outcome,
        })
    }

    fn go(&self, i: usize) -> Outcome {
        let of = |marks: &[Mark]| marks.get(i).and_then(|mark| mark.covered);
        let covered = of(&self.of_good).or(of(&self.of_all));
        let why = covered.and_then(|(rule, by)| {
            let by = self.candidates.get(by)?;
            Some(Gone::Covered { rule, by: by.id, name: by.name.clone() })
        });
        Outcome::Go { why: why.unwrap_or(Gone::NoRule) }
    }

    fn reasons(&self, i: usize, now: Timestamp) -> Vec<Reason> {
        let (Some(candidate), Some(guards)) = (self.candidates.get(i), self.guards.get(i)) else {
            return Vec::new();
        };
        let policy = &self.rules.policy;
        let mut reasons = Vec::new();
        if let Some(kept) = self.kept_by_rule(i) {
            reasons.push(match (kept.rule, &policy.keep_within) {
                (Rule::Within, Some(within)) => Reason::Within { within: within.clone() },
                (rule, _) => {
                    Reason::Rule { rule, nth: kept.nth, of: policy.count(rule), oldest: kept.oldest }
                }
            });
        }
        reasons.extend(candidate.holds.iter().filter(|hold| hold.holds(now)).map(|hold| Reason::Held {
            name: hold.name.clone(),
            by: hold.by.clone(),
            why: hold.reason.clone(),
            until: hold.until,
        }));
        if let Some(of) = guards.base_of.and_then(|of| self.candidates.get(of)) {
            reasons.push(Reason::Base { of: of.id, name: of.name.clone() });
        }
        if guards.newest_good {
            reasons.push(Reason::NewestGood);
        } else if guards.newest {
            reasons.push(Reason::Newest);
        }
        if let Some((nth, of)) = guards.minimum {
            reasons.push(Reason::Minimum { nth, of });
        }
        if guards.last_proved {
            reasons.push(Reason::LastProved);
        }
        if self.listed_twice.get(i).is_some_and(|twice| *twice) {
            reasons.push(Reason::ListedTwice);
        }
        reasons
    }
}
