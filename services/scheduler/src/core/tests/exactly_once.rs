//! Several schedulers on one log, each of which sees it a little later and has a clock of its own, which is set back and
//! forth: every nominal time of a plan has exactly one fact, and every one that fired has one job.

use super::*;
use crate::core::agenda::Agenda;
use crate::core::triggers::due;
use proptest::prelude::*;
use std::collections::BTreeMap;
use strongroom_bus::Head;
use strongroom_domain::schedule::SkipReason;

/// Something that happens.
#[derive(Debug, Clone)]
enum Step {
    /// Time passes, in seconds.
    Passes(i64),
    /// Somebody sets the clock of a scheduler, by so many seconds from the true time.
    Sets(usize, i64),
    /// A scheduler reads on, by so many messages.
    Reads(usize, usize),
    /// A scheduler does what it thinks is due.
    Acts(usize),
    /// A scheduler is killed, and another one comes up in its place.
    Dies(usize),
}

const SCHEDULERS: usize = 3;

fn step() -> impl Strategy<Value = Step> {
    let which = 0..SCHEDULERS;
    prop_oneof![
        4 => (1_i64..900).prop_map(Step::Passes),
        1 => (which.clone(), -7200_i64..7200).prop_map(|(n, by)| Step::Sets(n, by)),
        4 => (which.clone(), 0_usize..12).prop_map(|(n, count)| Step::Reads(n, count)),
        4 => which.clone().prop_map(Step::Acts),
        1 => which.prop_map(Step::Dies),
    ]
}

/// A scheduler: what it has read, and how wrong its clock is.
struct Scheduler {
    world: World,
    agenda: Agenda,
    read: usize,
    wrong_s: i64,
}

impl Scheduler {
    fn new(log: &Given) -> Self {
        // What it needs to know of its plans was there before it came up.
        let mut new = Self { world: World::default(), agenda: Agenda::default(), read: 0, wrong_s: 0 };
        new.reads(log, 6 + 3);
        new
    }

    fn reads(&mut self, log: &Given, count: usize) {
        for event in log.events.iter().skip(self.read).take(count) {
            self.world.apply(event);
            self.read += 1;
        }
    }

    /// Appends what it thinks is due, as the journal does: guarded by the end of the aggregate.
    fn acts(&mut self, log: &mut Given) {
        let now = log.now + SignedDuration::from_secs(self.wrong_s);
        for fact in due(&self.world, &mut self.agenda, now) {
            append(log, &format!("schedule.{}", fact.plan), &fact.head, fact.event);
        }
        for (job, fired) in &self.world.fired {
            let request = Event::JobRequested(fired.request.clone().unwrap());
            append(log, &format!("job.{job}"), &Head::default(), request);
        }
    }
}

fn append(log: &mut Given, aggregate: &str, head: &Head, event: Event) {
    let is = Aggregate::parse(aggregate).unwrap();
    let end = log.events.iter().rev().find(|e| e.aggregate == is).map(Recorded::head).unwrap_or_default();
    if end == *head {
        log.event(aggregate, event);
    }
}

fn check(log: &Given) -> Result<(), TestCaseError> {
    let mut facts: BTreeMap<String, Vec<(Timestamp, Option<JobId>)>> = BTreeMap::new();
    let mut jobs: BTreeMap<String, usize> = BTreeMap::new();
    for event in &log.events {
        let id = event.aggregate.id.clone();
        match &event.event {
            Event::ScheduleFired(e) => facts.entry(id).or_default().push((e.nominal_at, Some(e.job))),
            Event::ScheduleSkipped(e) => facts.entry(id).or_default().push((e.nominal_at, None)),
            Event::JobRequested(_) => *jobs.entry(id).or_default() += 1,
            _ => {}
        }
    }
    for (plan, facts) in facts {
        let plan = &log.world.plans[&plan.parse().unwrap()];
        let schedule = plan.spec.schedule.as_ref().unwrap().parse().unwrap();
        let times: Vec<Timestamp> = facts.iter().map(|(at, _)| *at).collect();
        // None is left out and none is doubled, up to the latest that any clock has shown.
        let all = schedule.between(plan.schedule_since, *times.last().unwrap(), times.len() + 10);
        prop_assert_eq!(&times, &all);
        for job in facts.iter().filter_map(|(_, job)| *job) {
            prop_assert_eq!(jobs.get(&job.to_string()), Some(&1));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]
    #[test]
    fn every_nominal_time_has_one_fact_and_one_job_whatever_clocks_and_kills_do(
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let mut log = Given::a_fleet();
        for (n, catch_up) in ["all", "latest", "skip"].into_iter().enumerate() {
            let cron = ["*/10 * * * *", "7 * * * *", "*/15 * * * *"][n];
            log.plan(&format!("p{n}"), json!({ "cron": cron, "catch_up": catch_up, "overlap": "queue" }));
        }
        let mut schedulers: Vec<Scheduler> = (0..SCHEDULERS).map(|_| Scheduler::new(&log)).collect();
        for step in steps {
            match step {
                Step::Passes(seconds) => log.now += SignedDuration::from_secs(seconds),
                Step::Sets(n, wrong_s) => schedulers[n].wrong_s = wrong_s,
                Step::Reads(n, count) => schedulers[n].reads(&log, count),
                Step::Acts(n) => schedulers[n].acts(&mut log),
                Step::Dies(n) => schedulers[n] = Scheduler::new(&log),
            }
        }
        // In the end all clocks are right, all is read, and all that is due is done.
        loop {
            let before = log.events.len();
            for scheduler in &mut schedulers {
                scheduler.wrong_s = 0;
                scheduler.reads(&log, usize::MAX);
                scheduler.acts(&mut log);
            }
            if log.events.len() == before {
                break;
            }
        }
        check(&log)?;
        for (id, plan) in &log.world.plans {
            let schedule = plan.spec.schedule.as_ref().unwrap().parse().unwrap();
            let last = log.world.schedules.get(id).and_then(|s| s.last_nominal_at).unwrap_or(plan.schedule_since);
            prop_assert!(schedule.next(last).unwrap() > log.now, "{id} has a time that nobody has dealt with");
        }
        let missed = |e: &Recorded| matches!(&e.event, Event::ScheduleSkipped(s) if s.reason != SkipReason::Missed);
        prop_assert!(!log.events.iter().any(missed), "they queue, and are skipped only when they were missed");
    }
}
