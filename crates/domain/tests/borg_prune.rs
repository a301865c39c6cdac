//! The rules of retention against borg's own: what `borg prune --dry-run --list` prints of thousands of made histories is what
//! `rules_keep` says, with the rule and the number of each archive. And what `decide` keeps is never less than that.
//!
//! Borg's code runs in one Python process for all of them (`borg_prune.py`). The histories come from a fixed seed, so that
//! they are the same at each run. They are full of what is hard: archives of one moment, a second around midnight, the hours
//! in which clocks change, the ends of years, zones off the whole hour, one that has left out a day, and checkpoints.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};
use strongroom_domain::ArchiveId;
use strongroom_domain::retention::{Candidate, Count, Facts, Kept, Policy, Rule, decide, rules_keep};
use uuid::Uuid;

const HISTORIES: usize = 4000;
const ZONES: [&str; 12] = [
    "UTC",
    "Europe/Paris",
    "Europe/Berlin",
    "America/New_York",
    "America/Sao_Paulo",
    "America/Havana",
    "America/St_Johns",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "Pacific/Chatham",
    "Pacific/Apia",
    "Africa/Casablanca",
];

/// Marsaglia's xorshift: any even spread will do, as long as it is the same at each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: i64) -> i64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        i64::try_from((self.0 >> 8) % u64::try_from(n).unwrap()).unwrap()
    }

    fn one_in(&mut self, n: i64) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.below(i64::try_from(from.len()).unwrap())).unwrap()]
    }
}

struct History {
    zone: &'static str,
    now: Timestamp,
    policy: Policy,
    /// By name.
    archives: BTreeMap<String, Timestamp>,
}

fn is_checkpoint(name: &str) -> bool {
    name.ends_with(".checkpoint")
}

impl History {
    fn make(dice: &mut Dice) -> Self {
        let zone = dice.pick(&ZONES);
        // From 2009 to 2027: in the years before 2012 Newfoundland put clocks back over midnight, and Samoa left out a day.
        let end_s = 1_230_768_000 + dice.below(18 * 365 * 86_400);
        let most = if dice.one_in(4) { 150 } else { 25 };
        let (count, mut times) = (1 + dice.below(most), Vec::new());
        let anchors = anchors(zone, end_s);
        let shape = dice.below(4);
        let step_s = dice.pick(&[60, 900, 3600, 3600, 6 * 3600, 86_400, 86_400, 7 * 86_400, 31 * 86_400]);
        let span_s = dice.pick(&[7200, 3 * 86_400, 90 * 86_400, 5 * 365 * 86_400]);
        for n in 0..count {
            let at_s = match shape {
                0 => end_s - n * step_s,
                1 => end_s - n * step_s - dice.below(step_s),
                2 => dice.pick(&anchors) + dice.pick(&[-3601, -3600, -1801, -2, -1, 0, 1, 1799, 3599, 3600]),
                _ => end_s - dice.below(span_s),
            };
            let us = if dice.one_in(3) { dice.below(1_000_000) } else { 0 };
            times.push(Timestamp::from_microsecond(at_s * 1_000_000 + us).unwrap());
            if dice.one_in(10) {
                times.push(dice.pick(&times));
            }
        }
        let mut archives = BTreeMap::new();
        for at in times {
            let end = if dice.one_in(12) { ".checkpoint" } else { "" };
            archives.insert(format!("{:04x}{end}", dice.below(0x1_0000)), at);
        }
        let newest = archives.values().max().unwrap();
        let later_s = dice.pick(&[0, 1, 3600, 86_400, 40 * 86_400, -7200]);
        let now = *newest + SignedDuration::from_secs(later_s);
        Self { zone, now, policy: policy(dice, zone), archives }
    }

    fn request(&self) -> Value {
        let policy = &self.policy;
        let count = |count| match count {
            Count::Number(number) => i64::from(number),
            Count::All => -1,
        };
        let archives: Vec<_> =
            self.archives.iter().map(|(name, at)| json!([name, at.as_microsecond()])).collect();
        json!({
            "zone": self.zone, "now_us": self.now.as_microsecond(), "archives": archives,
            "policy": {
                "within": policy.keep_within, "secondly": count(policy.keep_last),
                "hourly": count(policy.keep_hourly), "daily": count(policy.keep_daily),
                "weekly": count(policy.keep_weekly), "monthly": count(policy.keep_monthly),
                "quarterly_3monthly": count(policy.keep_quarterly), "yearly": count(policy.keep_yearly),
            },
        })
    }
}

/// Midnights, ends of years and changes of clocks before a moment.
fn anchors(zone: &str, end_s: i64) -> Vec<i64> {
    let zone = TimeZone::get(zone).unwrap();
    let end = Timestamp::from_second(end_s).unwrap();
    let here = end.to_zoned(zone.clone());
    let mut anchors: Vec<i64> = zone.preceding(end).take(3).map(|t| t.timestamp().as_second()).collect();
    let mut midnights = Vec::new();
    for day in 0..4 {
        midnights.push(here.date() - jiff::Span::new().days(day));
    }
    for years in 0..4 {
        // The 1st is in the old year's last ISO week or the new one's first; the 4th is always in the first, and some of
        // these begin before the 1st.
        for day in [1, 4] {
            midnights.push(jiff::civil::date(here.year() - years, 1, day));
        }
    }
    for date in midnights {
        anchors.push(date.to_zoned(zone.clone()).unwrap().timestamp().as_second());
    }
    anchors
}

fn policy(dice: &mut Dice, zone: &str) -> Policy {
    let mut count = || match dice.below(8) {
        0..=3 => Count::NONE,
        4 => Count::Number(1),
        5 if dice.one_in(3) => Count::All,
        _ => Count::Number(u32::try_from(1 + dice.below(12)).unwrap()),
    };
    let mut policy = Policy {
        keep_last: count(),
        keep_hourly: count(),
        keep_daily: count(),
        keep_weekly: count(),
        keep_monthly: count(),
        keep_quarterly: count(),
        keep_yearly: count(),
        time_zone: Some(zone.to_owned()),
        ..Policy::default()
    };
    if dice.one_in(4) {
        policy.keep_within = Some(dice.pick(&["1H", "12H", "2d", "30d", "2w", "6m", "1y"]).to_owned());
    }
    if policy.parse().is_err() {
        policy.keep_daily = Count::Number(1);
    }
    policy
}

/// Borg's answers, one for each request.
fn ask_borg(requests: Vec<Value>) -> Vec<Value> {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/borg_prune.py");
    let mut child = Command::new("/usr/bin/python3")
        .arg(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let lines: String = requests.iter().map(|request| format!("{request}\n")).collect();
    // Beside, for a pipe holds less than all of it, on both sides. It ends early when Python does; that is seen below.
    let writer = std::thread::spawn(move || stdin.write_all(lines.as_bytes()).is_ok());
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success() && writer.join().unwrap(),
        "asking borg's own code failed; the package 'borgbackup' is needed, which 'cargo xtask test' installs"
    );
    let answers: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(answers.len(), requests.len());
    answers
}

/// In borg's words.
fn in_words(kept: Kept) -> (String, u64) {
    let rule = match kept.rule {
        Rule::Last => "secondly".to_owned(),
        Rule::Quarterly => "quarterly_3monthly".to_owned(),
        rule => rule.to_string(),
    };
    (if kept.oldest { format!("{rule}[oldest]") } else { rule }, u64::from(kept.nth))
}

#[test]
fn the_rules_keep_what_borg_keeps_and_for_the_same_reason() {
    let mut dice = Dice(0x5eed_0fa1_1ba5_e5ed);
    let histories: Vec<History> = (0..HISTORIES).map(|_| History::make(&mut dice)).collect();
    let answers = ask_borg(histories.iter().map(History::request).collect());
    let (mut rules_seen, mut pruned, mut ties, mut checkpoints) = (BTreeSet::new(), 0, 0, 0);
    for (history, answer) in histories.iter().zip(&answers) {
        let rules = history.policy.parse().unwrap();
        let mut borg: BTreeMap<String, (String, u64)> = BTreeMap::new();
        for (name, why) in answer["kept"].as_object().unwrap() {
            borg.insert(name.clone(), (why[0].as_str().unwrap().to_owned(), why[1].as_u64().unwrap()));
        }
        // Borg leaves checkpoints out of its rules. Of equal times the later name is the newer, so it is given first.
        let archives: Vec<(&String, Timestamp)> =
            history.archives.iter().rev().map(|(name, at)| (name, *at)).collect();
        let whole: Vec<_> = archives.iter().filter(|(name, _)| !is_checkpoint(name)).copied().collect();
        let times: Vec<Timestamp> = whole.iter().map(|(_, at)| *at).collect();
        let kept = rules_keep(&rules, &times, history.now);
        let ours: BTreeMap<String, (String, u64)> = whole
            .iter()
            .zip(&kept)
            .filter_map(|((name, _), kept)| Some(((*name).clone(), in_words((*kept)?))))
            .collect();
        let borg_rules: BTreeMap<_, _> = borg
            .iter()
            .filter(|(name, _)| !is_checkpoint(name))
            .map(|(name, why)| (name.clone(), why.clone()))
            .collect();
        assert_eq!(ours, borg_rules, "{}", history.request());

        // With all guards, and with checkpoints as what they are: incomplete archives.
        let candidates: Vec<Candidate> = (1..)
            .zip(&archives)
            .map(|(n, (name, at))| Candidate {
                complete: !is_checkpoint(name),
                ..Candidate::new(ArchiveId(Uuid::from_u128(n)), (*name).clone(), *at)
            })
            .collect();
        let decision = decide(&rules, &candidates, &Facts::default(), history.now);
        let lost: Vec<_> = decision.going().filter(|verdict| borg.contains_key(&verdict.name)).collect();
        assert!(lost.is_empty(), "{lost:?} of {}", history.request());

        rules_seen.extend(borg.values().map(|(rule, _)| rule.clone()));
        pruned += answer["pruned"].as_array().unwrap().len();
        ties += times.len() - times.iter().collect::<BTreeSet<_>>().len();
        checkpoints += archives.len() - whole.len();
    }
    // The histories are what they are meant to be.
    assert_eq!(rules_seen.len(), 16, "each rule, each one's oldest, within and checkpoints: {rules_seen:?}");
    assert!(pruned > 10_000 && ties > 1000 && checkpoints > 1000, "{pruned} {ties} {checkpoints}");
}

#[test]
fn time_spans_are_read_as_borg_reads_them() {
    let texts = [
        "1H", "24H", "1d", "30d", "007d", "2w", "6m", "12m", "1y", "1000y", "", "d", "0d", "00H", "-1d", "7",
        "d7", "7D", "7h", "7M", "7Y", "7s", "1.5d", "7 days", "1d12H", "d d", "7é",
    ];
    let now: Timestamp = "2026-06-01T00:00:00Z".parse().unwrap();
    let answers = ask_borg(texts.iter().map(|text| json!({ "interval": text })).collect());
    for (text, answer) in texts.iter().zip(answers) {
        let policy = Policy { keep_within: Some((*text).to_owned()), ..Policy::default() };
        let Ok(rules) = policy.parse() else {
            assert_eq!(answer["hours"], Value::Null, "{text:?} is good for borg");
            continue;
        };
        let hours = answer["hours"].as_i64().unwrap_or_else(|| panic!("{text:?} is not good for borg"));
        // What is just as old is not within, and what is a microsecond younger is.
        let since = now - SignedDuration::from_hours(hours);
        let kept = rules_keep(&rules, &[since, since + SignedDuration::from_micros(1)], now);
        assert_eq!(kept.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true], "{text:?}");
    }
}
