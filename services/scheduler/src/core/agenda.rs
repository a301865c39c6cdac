//! When each plan's next nominal time comes, in the order of the times: so that looking for what is due costs nothing as long
//! as nothing is, however many plans there are.
//!
//! It is only a memory of what follows from the world, which can be lost at any time: whoever begins with an empty one finds
//! the same.

use super::World;
use super::world::Plan;
use jiff::Timestamp;
use std::collections::{BTreeSet, HashMap};
use strongroom_domain::PlanId;
use strongroom_domain::cron::Schedule;

/// What the next time of a plan follows from: where its definition stands, and the newest fact of its schedule.
type Mark = (u64, u64);

/// The next times of all plans.
#[derive(Debug, Default)]
pub struct Agenda {
    /// Up to which message it speaks.
    settled: Option<u64>,
    known: HashMap<PlanId, (Mark, Option<Timestamp>)>,
    order: BTreeSet<(Timestamp, PlanId)>,
}

impl Agenda {
    /// Takes in what has changed since it was last looked at.
    pub fn settle(&mut self, world: &World) {
        if self.settled == Some(world.sequence) {
            return;
        }
        self.settled = Some(world.sequence);
        let order = &mut self.order;
        self.known.retain(|id, (_, next)| {
            let stays = world.plans.contains_key(id);
            if let Some(next) = next.filter(|_| !stays) {
                order.remove(&(next, id.clone()));
            }
            stays
        });
        for (id, plan) in &world.plans {
            let dealt_with = world.schedules.get(id).map_or(0, |schedule| schedule.head.sequence);
            let mark = (plan.changed, dealt_with);
            if self.known.get(id).is_some_and(|(known, _)| *known == mark) {
                continue;
            }
            let next = next_of(world, id, plan);
            if let Some((_, Some(before))) = self.known.insert(id.clone(), (mark, next)) {
                order.remove(&(before, id.clone()));
            }
            order.extend(next.map(|next| (next, id.clone())));
        }
    }

    /// Plans with a time that has come, those whose came first before the others.
    pub fn until(&self, now: Timestamp) -> impl Iterator<Item = &PlanId> {
        self.order.iter().take_while(move |(at, _)| *at <= now).map(|(_, id)| id)
    }

    /// All next times, in their order.
    pub fn times(&self) -> impl Iterator<Item = (Timestamp, &PlanId)> {
        self.order.iter().map(|(at, id)| (*at, id))
    }
}

/// When the next nominal time of a plan is dealt with, jitter included.
fn next_of(world: &World, id: &PlanId, plan: &Plan) -> Option<Timestamp> {
    let (_, nominal_at) = world.next_nominal(id, plan)?;
    nominal_at.checked_add(plan.spec.schedule.as_ref()?.jitter_of(id.as_str())).ok()
}

impl World {
    /// The first nominal time of a plan that was not dealt with, and its schedule.
    pub fn next_nominal(&self, id: &PlanId, plan: &Plan) -> Option<(Schedule, Timestamp)> {
        // It was checked when the plan was defined; one that cannot be read any more runs never rather than wrongly.
        let schedule = plan.spec.schedule.as_ref()?.parse().ok()?;
        let last = self.schedules.get(id).and_then(|schedule| schedule.last_nominal_at);
        let after = last.map_or(plan.schedule_since, |last| last.max(plan.schedule_since));
        let nominal_at = schedule.next(after)?;
        Some((schedule, nominal_at))
    }
}
