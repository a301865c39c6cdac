//! Rules: what `borg prune` keeps, archive for archive. Nothing here looks at what an archive is worth; guards do.

use super::period::{Moment, Rule};
use super::{Count, Policy};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// A policy that was understood: [`Policy::parse`].
#[derive(Debug, Clone)]
pub struct Rules {
    pub(super) policy: Policy,
    pub(super) within: Option<SignedDuration>,
    pub(super) zone: TimeZone,
}

impl Rules {
    /// As people wrote it.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Where its days begin.
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }
}

/// Which rule keeps an archive. It is one only: an archive that is kept does not count in the rules that follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The rule.
    pub rule: Rule,
    /// It is the so manieth that this rule keeps, the newest first, from 1 on.
    pub nth: u32,
    /// Whether it is kept only because the rule found fewer than it may keep: then it keeps the oldest archive of all, so
    /// that a long rule reaches back to the beginning (borg 1.2 and newer: `daily[oldest]`).
    pub oldest: bool,
}

/// What the rules of the policy keep at `now`, alone and without any guard; one answer for each of `made_at`, which can be in
/// any order. Of equal times the one that comes first counts as the newer.
///
/// The same as `borg prune` 1.2 and 1.4, `prune_within` and `prune_split`. Borg takes the later in the order of names for
/// the newer of equal times, and so does [`super::decide`].
pub fn rules_keep(rules: &Rules, made_at: &[Timestamp], now: Timestamp) -> Vec<Option<Kept>> {
    let moments: Vec<_> = made_at.iter().map(|at| Moment::new(*at, &rules.zone)).collect();
    let mut order: Vec<(Timestamp, usize)> = made_at.iter().enumerate().map(|(i, at)| (*at, i)).collect();
    order.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    let order: Vec<usize> = order.into_iter().map(|(_, i)| i).collect();
    let mut marks = vec![Mark::default(); moments.len()];
    apply(rules, &moments, &order, now, &mut marks);
    marks.into_iter().map(|mark| mark.kept).collect()
}

/// What the rules say of one archive.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Mark {
    pub kept: Option<Kept>,
    /// The first rule by which another archive of the same period is kept and this one is not, and which that is.
    pub covered: Option<(Rule, usize)>,
}

/// Applies all rules to the archives in `order`, the newest first; `moments` and `marks` are by index.
pub(super) fn apply(rules: &Rules, moments: &[Moment], order: &[usize], now: Timestamp, marks: &mut [Mark]) {
    if let Some(within) = rules.within {
        // What is exactly as old is not within; what is dated later than now is.
        let since = now.checked_sub(within).unwrap_or(Timestamp::MIN);
        let young = order.iter().filter(|i| moments.get(**i).is_some_and(|moment| moment.at > since));
        for (nth, i) in (1..).zip(young) {
            if let Some(mark) = marks.get_mut(*i) {
                mark.kept = Some(Kept { rule: Rule::Within, nth, oldest: false });
            }
        }
    }
    for rule in Rule::COUNTED {
        match rules.policy.count(rule) {
            Count::NONE => {}
            Count::Number(most) => split(rule, Some(most), moments, order, marks),
            Count::All => split(rule, None, moments, order, marks),
        }
    }
}

/// Keeps the newest of each period, until there are `most` that no rule before has kept.
fn split(rule: Rule, most: Option<u32>, moments: &[Moment], order: &[usize], marks: &mut [Mark]) {
    let mut nth = 0;
    // Where clocks go back over midnight a day comes, another, and the first again: as in borg these are three.
    let mut newest_of_period: Option<(i64, usize)> = None;
    let mut oldest = None;
    for i in order {
        let (Some(moment), Some(mark)) = (moments.get(*i), marks.get_mut(*i)) else { continue };
        let period = moment.period(rule);
        oldest = Some(*i);
        match newest_of_period {
            Some((same, newest)) if same == period => {
                mark.covered = mark.covered.or(Some((rule, newest)));
                continue;
            }
            _ if most == Some(nth) => return,
            _ => newest_of_period = Some((period, *i)),
        }
        if mark.kept.is_none() {
            nth += 1;
            mark.kept = Some(Kept { rule, nth, oldest: false });
        }
    }
    let fewer = most.is_some_and(|most| nth < most);
    if let Some(mark) = oldest.filter(|_| fewer).and_then(|i| marks.get_mut(i))
        && mark.kept.is_none()
    {
        mark.kept = Some(Kept { rule, nth: nth + 1, oldest: true });
    }
}
