use super::*;
use crate::core::agenda::Agenda;
use crate::core::triggers::{due, next_at};
use proptest::prelude::*;
use strongroom_domain::schedule::SkipReason;

fn daily() -> serde_json::Value {
    json!({ "cron": "0 3 * * *", "time_zone": "UTC" })
}

/// Takes down everything that is due, as the shell does; gives (nominal time, why it was skipped).
fn take_all(given: &mut Given) -> Vec<(Timestamp, Option<SkipReason>)> {
    let mut out = Vec::new();
    while let Some(next) = due(&given.world, &mut Agenda::default(), given.now).into_iter().next() {
        out.push(match &next.event {
            Event::ScheduleFired(e) => (e.nominal_at, None),
            Event::ScheduleSkipped(e) => (e.nominal_at, Some(e.reason)),
            other => panic!("{other:?}"),
        });
        given.event(&format!("schedule.{}", next.plan), next.event);
    }
    out
}

fn end_all(given: &mut Given) {
    let fired: Vec<JobId> = given.world.fired.keys().copied().collect();
    for id in fired {
        let request = given.world.fired.get(&id).unwrap().request.clone().unwrap();
        given.event(&format!("job.{id}"), Event::JobRequested(request));
        given.event(&format!("job.{id}"), Event::JobCancelled(job::Cancelled { epoch: 0 }));
    }
}

#[test]
fn a_plan_runs_at_its_time_and_not_for_times_before_it_was_defined() {
    let mut given = Given::a_fleet();
    given.after(3600).plan("p", daily());
    assert_eq!(due(&given.world, &mut Agenda::default(), given.now), []);
    assert_eq!(next_at(&given.world, &mut Agenda::default()), Some("2026-03-01T03:00:00Z".parse().unwrap()));
    given.after(2 * 3600);
    assert_eq!(take_all(&mut given), [("2026-03-01T03:00:00Z".parse().unwrap(), None)]);
    let fired = given.world.fired.values().next().unwrap().request.clone().unwrap();
    assert_eq!((fired.node.as_str(), fired.spec.kind()), ("n", "backup"));
}

#[test]
fn what_was_missed_is_made_up_for_as_the_plan_says() {
    for (catch_up, expected) in [
        ("skip", vec![Some(SkipReason::Missed); 3]),
        ("latest", vec![Some(SkipReason::Missed), Some(SkipReason::Missed), None]),
        ("all", vec![None, None, None]),
    ] {
        let mut given = Given::a_fleet();
        given.plan("p", json!({ "cron": "0 3 * * *", "catch_up": catch_up, "overlap": "queue" }));
        given.after(3 * 86_400);
        let became: Vec<_> = take_all(&mut given).into_iter().map(|(_, reason)| reason).collect();
        assert_eq!(became, expected, "{catch_up}");
    }
}

#[test]
fn a_run_that_has_not_ended_is_not_run_over() {
    let mut given = Given::a_fleet();
    given.plan("p", json!({ "cron": "* * * * *" }));
    given.after(60);
    assert_eq!(take_all(&mut given).len(), 1);
    given.after(60);
    assert_eq!(take_all(&mut given)[0].1, Some(SkipReason::Overlap), "asked for, not even requested yet");
    end_all(&mut given);
    given.after(60);
    assert_eq!(take_all(&mut given)[0].1, None);
}

#[test]
fn a_paused_plan_skips_its_times() {
    let mut given = Given::a_fleet();
    given.plan("p", daily());
    given.event("plan.p", Event::PlanPaused(read(json!({ "reason": "holidays" }))));
    given.after(86_400);
    assert_eq!(take_all(&mut given)[0].1, Some(SkipReason::Paused));
    given.event("plan.p", Event::PlanResumed(read(json!({}))));
    given.after(86_400);
    assert_eq!(take_all(&mut given)[0].1, None);
}

#[test]
fn a_time_within_a_pause_that_nobody_looked_at_is_not_run_after_it() {
    let mut given = Given::a_fleet();
    given.plan("p", daily());
    given.event("plan.p", Event::PlanPaused(read(json!({ "reason": "holidays" }))));
    given.after(86_400).event("plan.p", Event::PlanResumed(read(json!({}))));
    assert_eq!(take_all(&mut given), [("2026-03-01T03:00:00Z".parse().unwrap(), Some(SkipReason::Paused))]);
    given.after(86_400);
    assert_eq!(take_all(&mut given), [("2026-03-02T03:00:00Z".parse().unwrap(), None)]);
    end_all(&mut given);
    // To resume what runs already takes no time from it.
    given.after(86_400).event("plan.p", Event::PlanResumed(read(json!({}))));
    assert_eq!(take_all(&mut given)[0].1, None);
}

#[test]
fn a_halted_plan_or_schedule_waits_and_stops_no_other() {
    for halted in ["plan.p", "schedule.p"] {
        let mut given = Given::a_fleet();
        given.plan("p", daily());
        given.plan("q", daily());
        given.world.poison(99, Aggregate::parse(halted));
        given.after(86_400);
        let plans: Vec<String> =
            due(&given.world, &mut Agenda::default(), given.now).iter().map(|d| d.plan.to_string()).collect();
        assert_eq!(plans, ["q"], "{halted}");
        let next = due(&given.world, &mut Agenda::default(), given.now).remove(0);
        given.event("schedule.q", next.event);
        assert!(
            next_at(&given.world, &mut Agenda::default()).is_some_and(|at| at > given.now),
            "{halted} is not waited for"
        );
    }
}

#[test]
fn a_clock_that_is_set_back_runs_nothing_again() {
    let mut given = Given::a_fleet();
    given.plan("p", daily());
    given.after(4 * 3600);
    assert_eq!(take_all(&mut given).len(), 1);
    given.after(-3 * 3600);
    assert_eq!(take_all(&mut given), []);
    given.after(3 * 3600);
    assert_eq!(take_all(&mut given), []);
}

proptest! {
    /// However the clock runs and whenever the scheduler looks: each nominal time has exactly one fact, in order.
    #[test]
    fn every_time_becomes_one_fact(
        start in proptest::sample::select(vec!["2026-03-28T20:00:00Z", "2026-10-24T20:00:00Z"]),
        steps in proptest::collection::vec((-7200i64..30_000, any::<bool>(), any::<bool>()), 1..25),
        cron in proptest::sample::select(vec!["*/30 * * * *", "0 * * * *", "30 2 * * *", "0 0 * * 1-5"]),
        zone in proptest::sample::select(vec!["UTC", "Europe/Paris", "America/New_York"]),
        catch_up in proptest::sample::select(vec!["skip", "latest", "all"]),
    ) {
        let mut given = Given::a_fleet();
        given.now = start.parse().unwrap();
        given.plan("p", json!({ "cron": cron, "time_zone": zone, "catch_up": catch_up }));
        let (from, mut furthest, mut seen) = (given.now, given.now, Vec::new());
        for (seconds, ends, restarts) in steps {
            given.after(seconds);
            furthest = furthest.max(given.now);
            seen.extend(take_all(&mut given).into_iter().map(|(at, _)| at));
            if ends {
                end_all(&mut given);
            }
            if restarts {
                given.world = World::default();
                given.events.iter().for_each(|event| given.world.apply(event));
            }
        }
        let spec: strongroom_domain::cron::ScheduleSpec = read(json!({ "cron": cron, "time_zone": zone }));
        let expected = spec.parse().unwrap().between(from, furthest, 10_000);
        prop_assert_eq!(seen, expected);
    }
}

#[test]
fn a_time_in_a_blackout_is_skipped_and_says_so_and_the_next_one_runs() {
    let mut given = Given::a_fleet();
    let window = json!({ "kind": "weekly", "days": ["sunday"], "from": "02:00", "to": "04:00" });
    given.plan("p", json!({ "cron": "0 3 * * *", "blackout": [window] }));
    // 1 March 2026 is a Sunday.
    given.after(4 * 3600);
    let became: Vec<_> = take_all(&mut given).into_iter().map(|(_, reason)| reason).collect();
    assert_eq!(became, [Some(SkipReason::Blackout)]);
    given.after(23 * 3600);
    assert_eq!(take_all(&mut given)[0].1, None);
}

#[test]
fn a_time_whose_deadline_has_passed_is_not_run_any_more_and_neither_is_its_job() {
    let mut given = Given::a_fleet();
    given.plan("p", json!({ "cron": "0 3 * * *", "start_within_s": 3600, "priority": 9 }));
    given.after(5 * 3600);
    assert_eq!(take_all(&mut given)[0].1, Some(SkipReason::Expired));
    // The next day it fires in time, and waits in vain for its turn.
    given.after(22 * 3600 + 60);
    assert_eq!(take_all(&mut given)[0].1, None);
    let (id, request) =
        given.world.fired.iter().map(|(id, f)| (*id, f.request.clone().unwrap())).next().unwrap();
    assert_eq!(request.spec.priority(), 19);
    given.event(&format!("job.{id}"), Event::JobRequested(request));
    let hearing = crate::core::upkeep::Hearing::new(given.now);
    let late = |given: &Given| crate::core::upkeep::upkeep(&given.world, &hearing, given.now, 60);
    assert_eq!(late(&given), []);
    given.after(3600);
    let facts = late(&given);
    let Event::JobAbandoned(given_up) = &facts[0].event else { panic!("{facts:?}") };
    assert!(given_up.reason.contains("start_within_s"), "{given_up:?}");
}

#[test]
fn a_time_in_a_blackout_makes_up_for_none_that_was_missed_before_it() {
    let mut given = Given::a_fleet();
    // 28 February 2026 is a Saturday; 1 March, when the plan is defined, a Sunday; it is Saturdays that are kept free.
    let window = json!({ "kind": "weekly", "days": ["saturday"], "from": "00:00", "to": "24:00" });
    given.plan("p", json!({ "cron": "0 2 * * *", "blackout": [window], "catch_up": "latest" }));
    given.after(5 * 86_400);
    take_all(&mut given);
    end_all(&mut given);
    // Down from Friday at one o'clock to Saturday at three: Friday's run is the latest that there is.
    given.after(2 * 86_400 - 21 * 3600);
    let became: Vec<_> = take_all(&mut given).into_iter().map(|(_, reason)| reason).collect();
    assert_eq!(became, [None, Some(SkipReason::Blackout)]);
}
