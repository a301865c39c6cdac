//! Which plans are late, and which are so no longer: a fact when it begins and one when it ends.
//!
//! The accident that this prevents: backups that stopped weeks ago, and nobody was told, because nothing failed. So it does
//! not matter why no archive came: the scheduler was down, a node away, the queue full, the runs failed, the archives were
//! deleted. Any scheduler that runs finds it by looking at the state and the clock.

use super::World;
use super::due::Due;
use super::world::Plan;
use jiff::{SignedDuration, Timestamp};
use std::collections::HashMap;
use strongroom_domain::cron::Schedule;
use strongroom_domain::lateness::{Known, PlanStanding, Standing, standing};
use strongroom_domain::schedule::{InTime, Overdue};
use strongroom_domain::{Event, EventId, Kind, PlanId};

/// How each plan stood when it was last looked at, and up to which message that was known. In memory only.
pub type Standings = HashMap<PlanId, (u64, Standing)>;

/// How a plan stands now.
pub fn of_plan(world: &World, id: &PlanId, plan: &Plan, now: Timestamp) -> Standing {
    let spec = plan.spec.schedule.as_ref();
    let schedule: Option<Schedule> = match spec.map(|spec| spec.parse()) {
        // It was understood when it was defined, and runs never now: that is no exemption.
        Some(Err(_)) if plan.paused.is_none() => return Standing::Overdue { since: plan.promises_since() },
        parsed => parsed.and_then(Result::ok),
    };
    let kept = world.keeping.plans.get(id);
    let known = Known {
        schedule: schedule.as_ref(),
        last_good_at: kept.and_then(|kept| kept.last_good_at),
        since: plan.promises_since(),
        paused: plan.paused.is_some(),
    };
    // What a schedule promises comes as much later as its jobs are asked for later.
    let by_schedule = plan.spec.objective.rpo_s.is_none();
    let jitter =
        spec.filter(|_| by_schedule).map_or(SignedDuration::ZERO, |spec| spec.jitter_of(id.as_str()));
    let later = |at: Timestamp| at.checked_add(jitter).unwrap_or(Timestamp::MAX);
    match standing(&plan.spec.objective, known, now.checked_sub(jitter).unwrap_or(Timestamp::MIN)) {
        Standing::InTime { until } => Standing::InTime { until: later(until) },
        Standing::Overdue { since } => Standing::Overdue { since: later(since) },
        exempt => exempt,
    }
}

/// How all plans stand, those that are late first, the latest of them before the others.
pub fn of_all(world: &World, now: Timestamp) -> Vec<PlanStanding> {
    let of = |(id, plan): (&PlanId, &Plan)| {
        let kept = world.keeping.plans.get(id);
        let schedule = plan.spec.schedule.as_ref().and_then(|spec| spec.parse().ok());
        let target = plan.spec.objective.target(schedule.as_ref(), now);
        PlanStanding {
            plan: id.clone(),
            standing: of_plan(world, id, plan, now),
            target_s: target.and_then(|target| u64::try_from(target.as_secs()).ok()),
            last_good_at: kept.and_then(|kept| kept.last_good_at),
            failures_in_a_row: kept.map_or(0, |kept| kept.failures_in_a_row),
        }
    };
    let mut all: Vec<PlanStanding> = world.plans.iter().map(of).collect();
    all.sort_by_key(|plan| match plan.standing {
        Standing::Overdue { since } => (0, since),
        Standing::InTime { until } => (1, until),
        Standing::Exempt { .. } => (2, Timestamp::MAX),
    });
    all
}

/// What is to be written down now.
pub fn due(world: &World, standings: &mut Standings, now: Timestamp) -> Vec<Due> {
    standings.retain(|plan, _| world.plans.contains_key(plan));
    let halted = |id: &PlanId| world.is_halted(Kind::Plan, id) || world.is_halted(Kind::Schedule, id);
    let plans = world.plans.iter().filter(|(id, _)| !halted(id));
    plans.filter_map(|(id, plan)| due_of(world, standings, id, plan, now)).collect()
}

fn due_of(world: &World, standings: &mut Standings, id: &PlanId, plan: &Plan, now: Timestamp) -> Option<Due> {
    let kept = world.keeping.plans.get(id);
    let changed = kept.map_or(0, |kept| kept.changed);
    let before = standings.get(id).filter(|(known, _)| *known == changed).map(|(_, standing)| *standing);
    let standing = match before {
        // The instant was found out when it was last looked at, and nothing has happened since.
        Some(Standing::InTime { until }) if now >= until => Standing::Overdue { since: until },
        // A clock that was set back makes nothing undone.
        Some(standing) => standing,
        None => of_plan(world, id, plan, now),
    };
    standings.insert(id.clone(), (changed, standing));
    let schedule = world.schedules.get(id);
    let overdue_since = schedule.and_then(|schedule| schedule.overdue_since);
    let last_good_at = kept.and_then(|kept| kept.last_good_at);
    let event = match (standing, overdue_since) {
        (Standing::Overdue { since }, None) => {
            let failures_in_a_row = kept.map_or(0, |kept| kept.failures_in_a_row);
            Event::ScheduleOverdue(Overdue { since, last_good_at, failures_in_a_row })
        }
        (Standing::InTime { .. }, Some(overdue_since)) => {
            Event::ScheduleInTime(InTime { overdue_since, last_good_at, exempt: None })
        }
        (Standing::Exempt { why }, Some(overdue_since)) => {
            Event::ScheduleInTime(InTime { overdue_since, last_good_at, exempt: Some(why) })
        }
        _ => return None,
    };
    let head = schedule.map(|schedule| schedule.head.clone()).unwrap_or_default();
    let word = if matches!(event, Event::ScheduleOverdue(_)) { "overdue" } else { "in-time" };
    let fact = EventId::of_command(&format!("{word}/{id}/{}", head.sequence), 0);
    Some(Due { plan: id.clone(), head, event, id: fact })
}
