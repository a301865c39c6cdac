#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use super::answer::Answer;
use super::ladder::Ladder;
use super::ledger::{Ledger, notification_id};
use super::message;
use super::outcome::{aggregate, is_told, outcome};
use super::signature::{NotAKey, SigningKey};
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;
use strongroom_bus::{Context, Poison, Recorded};
use strongroom_domain::channel::{self, Target};
use strongroom_domain::definition::Retired;
use strongroom_domain::job::{self, JobSpec, Requested, Trigger};
use strongroom_domain::repository::{Access, Encryption};
use strongroom_domain::{Aggregate, Event, EventId, Failure, FailureCode, Kind};
use uuid::Uuid;

const JOB: &str = "01980000-0000-7000-8000-000000000001";

fn now() -> Timestamp {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

/// A log in memory: each event at the next sequence.
#[derive(Default)]
struct Log(Vec<Recorded>);

impl Log {
    fn add(&mut self, aggregate: Aggregate, event: Event) -> EventId {
        let sequence = self.0.len() as u64 + 1;
        let id = EventId(Uuid::from_u128(u128::from(sequence)));
        self.0.push(Recorded {
            sequence,
            aggregate,
            id,
            at: now(),
            version: 1,
            previous: String::new(),
            hash: String::new(),
            source: "/test".into(),
            context: Context::default(),
            event,
        });
        id
    }

    fn channel(&mut self, id: &str) {
        let target = Target::Webhook { url: "http://127.0.0.1/".into(), signing_key: None };
        let spec = channel::Spec { target, description: String::new() };
        self.add(Aggregate::new(Kind::Channel, id), Event::ChannelDefined(spec));
    }

    fn requested(&mut self) {
        let access = Access {
            repository: "web".parse().unwrap(),
            location: "/srv/web".into(),
            encryption: Encryption::None,
            passphrase: None,
            store: None,
            recipients: Vec::new(),
            deduplicate: false,
            identity: None,
        };
        self.requested_by(JobSpec::ScanRepository { access }, Trigger::Manual);
    }

    fn requested_by(&mut self, spec: JobSpec, trigger: Trigger) {
        let (server, node) = ("www1".parse().unwrap(), "local".parse().unwrap());
        let requested = Requested { spec, server, node, trigger, deadline_s: None };
        self.add(Aggregate::new(Kind::Job, JOB), Event::JobRequested(requested));
    }

    fn failed(&mut self) -> EventId {
        let failure = Failure::new(FailureCode::NoSpace, "x".repeat(5000));
        self.add(Aggregate::new(Kind::Job, JOB), Event::JobFailed(job::Failed { epoch: 1, failure }))
    }

    fn fold(&self, since: u64) -> Ledger {
        let mut ledger = Ledger::new(since);
        for event in &self.0 {
            ledger.apply(event).unwrap();
            // Everything may come twice.
            ledger.apply(event).unwrap();
        }
        ledger
    }
}

/// A log with two channels and a job that failed; the id of that fact.
fn failed_job() -> (Log, EventId) {
    let mut log = Log::default();
    log.channel("ops");
    log.channel("chat");
    log.requested();
    let about = log.failed();
    (log, about)
}

fn ladder() -> Ladder {
    Ladder::new(vec![Duration::from_secs(5), Duration::from_secs(30)])
}

#[test]
fn every_channel_that_is_there_is_told_of_a_job_that_ended_until_a_fact_says_so() {
    let (mut log, about) = failed_job();
    // One that comes later is not told, and one that goes later is given up by a fact.
    log.channel("late");
    log.add(Aggregate::new(Kind::Channel, "chat"), Event::ChannelRetired(Retired::default()));
    let ledger = log.fold(0);
    let mut told: Vec<_> = ledger.pending().iter().map(|(_, p)| p.channel.to_string()).collect();
    told.sort();
    assert_eq!(told, ["chat", "ops"]);
    assert!(ledger.channel(&"chat".parse().unwrap()).is_none());

    for (channel, answer) in [("ops", Answer::Taken { status: 204 }), ("chat", Answer::Retired)] {
        let id = notification_id(about, &channel.parse().unwrap());
        let (_, pending) = ledger.pending().into_iter().find(|(i, _)| *i == id).unwrap();
        log.add(aggregate(id), outcome(pending, answer, &ladder(), now()));
    }
    let ledger = log.fold(0);
    assert_eq!(ledger.pending(), []);
    assert_eq!(ledger.totals(), (1, 1));
}

#[test]
fn an_index_that_nobody_asked_for_is_told_of_only_when_it_fails() {
    let index = serde_json::json!({
        "kind": "index-archive",
        "access": { "repository": "web", "location": "/srv/web", "encryption": "none" },
        "archive": { "id": Uuid::nil(), "name": "a", "borg_id": "aa" },
    });
    let done = serde_json::json!({
        "epoch": 1, "log_tail": [], "outcome": {
            "result": { "kind": "index-archive", "index": { "chunks": 1, "entries": 1, "sha256": "00" } },
            "completeness": "complete", "findings": [], "incomplete_total": 0, "benign_total": 0,
        },
    });
    let told = |trigger: Trigger, fails: bool| {
        let mut log = Log::default();
        log.channel("ops");
        log.requested_by(serde_json::from_value(index.clone()).unwrap(), trigger);
        if fails {
            log.failed();
        } else {
            let done = serde_json::from_value(done.clone()).unwrap();
            log.add(Aggregate::new(Kind::Job, JOB), Event::JobSucceeded(done));
        }
        log.fold(0).pending().len()
    };
    assert_eq!(told(Trigger::System, false), 0);
    assert_eq!(told(Trigger::System, true), 1);
    assert_eq!(told(Trigger::Manual, false), 1);
}

#[test]
fn what_somebody_waits_for_is_told_to_nobody_else_and_what_touches_a_database_is() {
    let access = serde_json::json!({ "repository": "web", "location": "/srv/web", "encryption": "none" });
    let archive = serde_json::json!({ "id": Uuid::nil(), "name": "a", "borg_id": "aa" });
    let told = |spec: serde_json::Value| {
        let mut log = Log::default();
        log.channel("ops");
        log.requested_by(serde_json::from_value(spec).unwrap(), Trigger::Manual);
        log.failed();
        log.fold(0).pending().len()
    };
    let download =
        serde_json::json!({ "kind": "download", "access": access, "archive": archive, "form": "tar" });
    let restore = |dry_run: bool| {
        serde_json::json!({
            "kind": "restore-dump", "path": "/srv/dumps/x.sql", "allowed_roots": ["/srv/dumps"], "dry_run": dry_run,
            "into": { "type": "postgresql", "database": "shop" },
        })
    };
    let test = serde_json::json!({ "kind": "test-source", "source": { "type": "sqlite", "paths": ["/a"] } });
    assert_eq!([told(download), told(test), told(restore(true))], [0, 0, 0]);
    assert_eq!(told(restore(false)), 1, "a restore that works on no repository is told as well");
}

#[test]
fn history_is_not_told_but_what_was_begun_is_gone_on_with() {
    let (mut log, about) = failed_job();
    let id = notification_id(about, &"ops".parse().unwrap());
    let ledger = log.fold(0);
    let (_, pending) = ledger.pending().into_iter().find(|(i, _)| *i == id).unwrap();
    log.add(aggregate(id), outcome(pending, Answer::none("refused"), &ladder(), now()));
    let end = log.0.len() as u64;
    let again = log.fold(end);
    assert_eq!(again.pending().iter().map(|(i, p)| (*i, p.attempts)).collect::<Vec<_>>(), [(id, 1)]);
    log.requested();
    log.failed();
    assert_eq!(log.fold(end).pending().len(), 3);
}

#[test]
fn attempts_climb_the_ladder_and_end() {
    let (mut log, about) = failed_job();
    let id = notification_id(about, &"ops".parse().unwrap());
    let mut waits = Vec::new();
    for _ in 0..2 {
        let ledger = log.fold(0);
        let (_, pending) = ledger.pending().into_iter().find(|(i, _)| *i == id).unwrap();
        let event = outcome(pending, Answer::of_http(500, None, now()), &ladder(), now());
        let Event::NotificationAttempted(attempted) = &event else { panic!("{event:?}") };
        waits.push(attempted.next_at.duration_since(now()).as_secs());
        log.add(aggregate(id), event);
    }
    assert_eq!(waits, [5, 30]);
    let ledger = log.fold(0);
    let (_, pending) = ledger.pending().into_iter().find(|(i, _)| *i == id).unwrap();
    assert_eq!((pending.attempts, pending.due_at), (2, now() + SignedDuration::from_secs(30)));
    let event = outcome(pending, Answer::of_http(500, None, now()), &ladder(), now());
    let Event::NotificationFailed(failed) = &event else { panic!("{event:?}") };
    assert_eq!((failed.attempts, failed.problem.as_str()), (3, "it answered 500"));
    // An attempt that the log knows is not told a second time.
    let known: Vec<Event> = log.0.iter().map(|e| e.event.clone()).collect();
    assert!(is_told(known.iter(), 2) && !is_told(known.iter(), 3));
}

#[test]
fn what_an_answer_means() {
    for status in [200, 202, 204] {
        assert_eq!(Answer::of_http(status, None, now()), Answer::Taken { status });
    }
    assert_eq!(Answer::of_http(410, None, now()), Answer::Gone);
    let wait = |text| match Answer::of_http(429, Some(text), now()) {
        Answer::NotTaken { wait, .. } => wait.map(|w| w.as_secs()),
        other => panic!("{other:?}"),
    };
    assert_eq!(wait("120"), Some(120));
    assert_eq!(wait("Fri, 02 Jan 2026 03:05:05 GMT"), Some(60));
    assert_eq!(wait("Thu, 01 Jan 2026 03:05:05 GMT"), None, "in the past");
    assert_eq!(wait("soon"), None);
    assert!(matches!(Answer::of_http(302, None, now()), Answer::NotTaken { status: Some(302), .. }));
}

#[test]
fn the_other_side_can_ask_for_a_longer_wait_and_for_no_shorter_one() {
    let at = |asked| {
        let again = ladder().again_at(1, now(), Some(Duration::from_secs(asked))).unwrap();
        again.duration_since(now()).as_secs()
    };
    assert_eq!((at(1), at(7), at(u64::MAX)), (5, 7, 24 * 3600));
    assert_eq!(ladder().again_at(3, now(), Some(Duration::from_secs(1))), None);
    assert!(Ladder::new(vec![Duration::MAX]).again_at(1, now(), None).is_some());
}

#[test]
fn an_aggregate_that_cannot_be_read_halts_alone_and_can_be_taken_in_later() {
    let (mut log, _) = failed_job();
    // The request cannot be read at first.
    let mut ledger = Ledger::new(0);
    for event in &log.0[..2] {
        ledger.apply(event).unwrap();
    }
    let job = Aggregate::new(Kind::Job, JOB);
    let poison =
        Poison { sequence: 3, aggregate: Some(job.clone()), subject: String::new(), reason: String::new() };
    ledger.poison(&poison);
    ledger.apply(&log.0[3]).unwrap();
    assert_eq!((ledger.pending().len(), ledger.sequence()), (0, 4));
    assert_eq!(ledger.halted_at(&job.to_string()), Some(3));
    // The others go on.
    log.channel("more");
    ledger.apply(&log.0[4]).unwrap();
    assert!(ledger.channel(&"more".parse().unwrap()).is_some());
    let history: Vec<Recorded> = log.0.iter().filter(|e| e.aggregate == job).cloned().collect();
    ledger.redrive(&job, &history).unwrap();
    assert_eq!(ledger.halted().count(), 0);
    assert_eq!(ledger.pending().len(), 3, "all channels that are there by now");
    // An end without a beginning halts as well, with a reason.
    let mut alone = Ledger::new(0);
    let mut end = log.0[3].clone();
    end.sequence = 1;
    assert!(alone.apply(&end).is_err());
    assert_eq!(alone.halted_at(&job.to_string()), Some(1));
}

#[test]
fn a_message_says_what_happened_and_is_short() {
    let (log, _) = failed_job();
    let ledger = log.fold(0);
    let (_, pending) = ledger.pending().into_iter().next().unwrap();
    let body = pending.told.body(pending.ended_at);
    assert!(body.len() < 20_000);
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["type"], "job.finished");
    assert_eq!(body["timestamp"], "2026-01-02T03:04:05Z");
    let data = &body["data"];
    assert_eq!(data["job"], JOB);
    assert_eq!(
        (&data["kind"], &data["phase"], &data["server"], &data["repository"]),
        (&"scan-repository".into(), &"failed".into(), &"www1".into(), &"web".into())
    );
    assert_eq!(data["failure"]["code"], "no_space");
    assert_eq!(data["failure"]["advice"], FailureCode::NoSpace.advice());
    assert_eq!(data["failure"]["message"].as_str().unwrap().len(), 2000);
    let test: serde_json::Value =
        serde_json::from_slice(&message::test_body(&"ops".parse().unwrap(), now())).unwrap();
    assert_eq!((&test["type"], &test["data"]["channel"]), (&"channel.test".into(), &"ops".into()));
}

/// The vector of the specification's own libraries.
#[test]
fn a_signature_is_that_of_standard_webhooks() {
    let key = SigningKey::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let signature = key.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
    assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    for bad in ["", "whsec_", "whsec_?", "not base64!"] {
        assert_eq!(SigningKey::parse(bad).err(), Some(NotAKey), "{bad}");
    }
}

#[test]
fn a_state_that_was_saved_is_the_same_when_it_is_read() {
    let (log, _) = failed_job();
    let ledger = log.fold(0);
    let text = serde_json::to_string(&ledger).unwrap();
    assert_eq!(serde_json::from_str::<Ledger>(&text).unwrap(), ledger);
}

#[test]
fn a_plan_that_is_late_is_told_once_when_it_begins_and_once_when_it_ends() {
    let mut log = Log::default();
    log.channel("ops");
    let since: Timestamp = "2026-01-01T05:00:00Z".parse().unwrap();
    let plan = Aggregate::new(Kind::Schedule, "web");
    let overdue = strongroom_domain::schedule::Overdue { since, last_good_at: None, failures_in_a_row: 0 };
    log.add(plan.clone(), Event::ScheduleOverdue(overdue));
    let bodies = |log: &Log| -> Vec<serde_json::Value> {
        let ledger = log.fold(0);
        let all = ledger.pending();
        all.iter().map(|(_, p)| serde_json::from_slice(&p.told.body(p.ended_at)).unwrap()).collect()
    };
    let told = bodies(&log);
    assert_eq!(
        (told.len(), &told[0]["type"], &told[0]["data"]["plan"]),
        (1, &"plan.overdue".into(), &"web".into())
    );
    assert_eq!(told[0]["data"]["since"], "2026-01-01T05:00:00Z");
    assert!(told[0]["data"]["advice"].as_str().unwrap().contains("node"), "{told:?}");
    let again =
        strongroom_domain::schedule::InTime { overdue_since: since, last_good_at: Some(now()), exempt: None };
    log.add(plan, Event::ScheduleInTime(again));
    let told = bodies(&log);
    assert_eq!(
        (told.len(), &told[1]["type"], &told[1]["data"]["overdue"]),
        (2, &"plan.in_time".into(), &false.into())
    );
    // What was remembered across a restart is the same.
    let ledger = log.fold(0);
    let kept: Ledger = serde_json::from_value(serde_json::to_value(&ledger).unwrap()).unwrap();
    assert_eq!(kept, ledger);
}
