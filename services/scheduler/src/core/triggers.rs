//! Which nominal times have come, and whether each is run or skipped.
//!
//! The accidents that this prevents are P5 and P6: times that were lost over a restart, ran twice, or ran on top of one
//! another. Every nominal time ends in exactly one fact, oldest first.

use super::World;
use super::agenda::Agenda;
use super::due::Due;
use super::world::Plan;
use jiff::{SignedDuration, Timestamp};
use strongroom_domain::cron::{CatchUp, Overlap, Schedule};
use strongroom_domain::schedule::{Fired, SkipReason, Skipped};
use strongroom_domain::{Event, EventId, JobId, Kind, PlanId};

/// A time that comes this much too late was missed; less is a busy machine.
pub const GRACE: SignedDuration = SignedDuration::from_secs(60);
/// The next fact that is due for each plan; called again until there is none.
pub fn due(world: &World, agenda: &mut Agenda, now: Timestamp) -> Vec<Due> {
    agenda.settle(world);
    let plans = agenda.until(now).filter(|id| is_readable(world, id));
    plans.filter_map(|id| due_of(world, id, world.plans.get(id)?, now)).collect()
}

/// Whether a plan's own history and its schedule's can be read: half of one could run what was paused, or run it twice.
fn is_readable(world: &World, id: &PlanId) -> bool {
    !world.is_halted(Kind::Plan, id) && !world.is_halted(Kind::Schedule, id)
}

fn due_of(world: &World, id: &PlanId, plan: &Plan, now: Timestamp) -> Option<Due> {
    let spec = plan.spec.schedule.as_ref()?;
    let until = now.checked_sub(spec.jitter_of(id.as_str())).ok()?;
    let (schedule, nominal_at) = world.next_nominal(id, plan).filter(|(_, at)| *at <= until)?;
    let event = match skip_reason(world, id, plan, &schedule, nominal_at, until) {
        None => Event::ScheduleFired(Fired { nominal_at, job: JobId::of_trigger(id, nominal_at) }),
        Some(reason) => Event::ScheduleSkipped(Skipped { nominal_at, reason }),
    };
    let word = if matches!(event, Event::ScheduleFired(_)) { "fired" } else { "skipped" };
    Some(Due {
        plan: id.clone(),
        head: world.schedules.get(id).map(|s| s.head.clone()).unwrap_or_default(),
        id: EventId::of_command(&format!("trigger/{id}/{nominal_at}/{word}"), 0),
        event,
    })
}

fn skip_reason(
    world: &World,
    id: &PlanId,
    plan: &Plan,
    schedule: &Schedule,
    nominal_at: Timestamp,
    until: Timestamp,
) -> Option<SkipReason> {
    let spec = plan.spec.schedule.as_ref()?;
    if plan.paused.is_some() || plan.resumed_at.is_some_and(|resumed| nominal_at <= resumed) {
        return Some(SkipReason::Paused);
    }
    if schedule.swallowed_by(nominal_at).is_some() {
        return Some(SkipReason::Blackout);
    }
    let late = until.duration_since(nominal_at) > GRACE;
    // Times that nothing runs at make up for nothing.
    let open = std::iter::successors(schedule.next_open(nominal_at), |at| schedule.next_open(*at));
    let newer = |n: usize| open.take_while(|at| *at <= until).take(n).count() >= n;
    let missed = match spec.catch_up {
        CatchUp::Skip => late,
        CatchUp::Latest => late && newer(1),
        CatchUp::All => late && newer(usize::try_from(spec.catch_up_limit()).unwrap_or(usize::MAX)),
    };
    if missed {
        return Some(SkipReason::Missed);
    }
    if spec.expired(nominal_at, until) {
        return Some(SkipReason::Expired);
    }
    (spec.overlap == Overlap::Skip && world.has_open_run(id)).then_some(SkipReason::Overlap)
}

/// When the next nominal time of any plan comes, jitter included.
pub fn next_at(world: &World, agenda: &mut Agenda) -> Option<Timestamp> {
    agenda.settle(world);
    agenda.times().find(|(_, id)| is_readable(world, id)).map(|(at, _)| at)
}
