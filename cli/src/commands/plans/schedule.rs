//! The options of a schedule, for plans and for trying one.

use crate::commands::definitions::{Changes, Limit};
use serde_json::{Map, Value, json};
use strongroom_domain::cron::{Day, DayOfMonth, Preset};

/// When something runs by itself.
#[derive(Debug, Default, clap::Args)]
pub struct ScheduleArgs {
    /// When it runs by itself: five cron fields, six with seconds first, or @daily and the like.
    #[arg(long, group = "when")]
    cron: Option<String>,
    /// Run at this minute of every hour, 0 to 59.
    #[arg(long, group = "when", value_name = "MINUTE", value_parser = clap::value_parser!(u8).range(0..=59))]
    hourly_at: Option<u8>,
    /// Run every day at this time: `02:30`.
    #[arg(long, group = "when", value_name = "TIME", value_parser = time_of_day)]
    daily_at: Option<String>,
    /// Run on these days of the week, at the time that --at says: `monday,friday`.
    #[arg(long, group = "when", requires = "at", value_name = "DAYS", value_delimiter = ',', value_parser = day)]
    weekly_on: Vec<Day>,
    /// Run on this day of the month, 1 to 28 or `last`, at the time that --at says.
    #[arg(long, group = "when", requires = "at", value_name = "DAY", value_parser = day_of_month)]
    monthly_on: Option<DayOfMonth>,
    /// The time of --weekly-on and --monthly-on: `02:30`.
    #[arg(long, value_name = "TIME", value_parser = time_of_day, conflicts_with_all = ["cron", "hourly_at", "daily_at"])]
    at: Option<String>,
    /// IANA time zone of the schedule.
    #[arg(long)]
    time_zone: Option<String>,
    /// When nothing is to run, and why; give it once for each: `monday,friday 08:00-18:00 shop hours` (every day, without
    /// days), or `2026-12-24..2026-12-27 stocktaking`. The list takes the place of the old one.
    #[arg(long = "blackout", value_name = "WINDOW", value_parser = window)]
    blackout: Vec<Value>,
    /// Anything may run at any time again.
    #[arg(long, conflicts_with = "blackout")]
    no_blackout: bool,
    /// When a run is due and the one before has not ended.
    #[arg(long, value_parser = ["skip", "queue"])]
    overlap: Option<String>,
    /// What becomes of runs that were missed while nothing ran.
    #[arg(long, value_parser = ["skip", "latest", "all"])]
    catch_up: Option<String>,
    /// How many missed runs `--catch-up all` makes up for; `none` for the usual 100.
    #[arg(long, value_name = "RUNS")]
    catch_up_limit: Option<Limit>,
    /// Spread the beginning over this many seconds.
    #[arg(long, value_name = "SECONDS")]
    jitter: Option<u32>,
    /// Which of two waiting plans goes first, 0 to 9; `none` for the usual 5.
    #[arg(long, value_name = "NUMBER")]
    priority: Option<Limit>,
    /// Do not run any more what could not begin within this many seconds; `none` to run it however late.
    #[arg(long, value_name = "SECONDS")]
    start_within: Option<Limit>,
}

impl ScheduleArgs {
    /// What is said here, as the API has it; empty when nothing is.
    pub fn fields(&self) -> Map<String, Value> {
        let windows = (self.no_blackout || !self.blackout.is_empty()).then_some(&self.blackout);
        Changes::default()
            .with(&["cron"], self.cron.clone().or_else(|| self.preset()?.cron().ok()))
            .with(&["time_zone"], self.time_zone.as_ref())
            .with(&["blackout"], windows)
            .with(&["overlap"], self.overlap.as_ref())
            .with(&["catch_up"], self.catch_up.as_ref())
            .with(&["catch_up_limit"], self.catch_up_limit)
            .with(&["jitter_s"], self.jitter)
            .with(&["priority"], self.priority)
            .with(&["start_within_s"], self.start_within)
            .done()
    }

    /// As people say it. Each part was looked at when the command line was read.
    fn preset(&self) -> Option<Preset> {
        let at = || self.at.clone();
        match (self.hourly_at, &self.daily_at, self.monthly_on) {
            (Some(minute), ..) => Some(Preset::Hour { minute }),
            (None, Some(at), _) => Some(Preset::Day { at: at.clone() }),
            (None, None, Some(on)) => Some(Preset::Month { on, at: at()? }),
            (None, None, None) if !self.weekly_on.is_empty() => {
                Some(Preset::Week { on: self.weekly_on.clone(), at: at()? })
            }
            (None, None, None) => None,
        }
    }
}

/// What is wrong with a preset, as one sentence.
fn checked(preset: &Preset) -> Result<(), String> {
    let told = |problems: Vec<strongroom_domain::FieldError>| {
        problems.into_iter().map(|problem| problem.message).collect::<Vec<_>>().join("; ")
    };
    preset.cron().map(|_| ()).map_err(told)
}

fn time_of_day(text: &str) -> Result<String, String> {
    checked(&Preset::Day { at: text.to_owned() })?;
    Ok(text.to_owned())
}

fn day(text: &str) -> Result<Day, String> {
    serde_json::from_value(json!(text)).map_err(|_| "must be a day such as monday".to_owned())
}

fn day_of_month(text: &str) -> Result<DayOfMonth, String> {
    let wrong = |_| "must be 1 to 28, which every month has, or 'last'".to_owned();
    let on = match text {
        "last" => DayOfMonth::Last,
        number => DayOfMonth::Number(number.parse().map_err(wrong)?),
    };
    checked(&Preset::Month { on, at: "00:00".to_owned() })?;
    Ok(on)
}

/// A window, as the API has it; whether its times are right is for the server to say.
fn window(text: &str) -> Result<Value, String> {
    let (first, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    if let Some((from, to)) = first.split_once("..") {
        return Ok(json!({ "kind": "dated", "from": from, "to": to, "reason": rest.trim() }));
    }
    let (days, hours, reason) = if first.contains('-') {
        (Vec::new(), first, rest)
    } else {
        let days = first.split(',').map(day).collect::<Result<Vec<_>, _>>()?;
        let (hours, reason) = rest.trim().split_once(' ').unwrap_or((rest.trim(), ""));
        (days, hours, reason)
    };
    let wrong = "must be hours such as '08:00-18:00', 'monday,friday 08:00-18:00', or dates such as '2026-12-24..2026-12-27 why'";
    let (from, to) = hours.split_once('-').ok_or(wrong)?;
    Ok(json!({ "kind": "weekly", "days": days, "from": from, "to": to, "reason": reason.trim() }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: ScheduleArgs,
    }

    fn fields(words: &[&str]) -> Result<Value, String> {
        let line = Line::try_parse_from(["x"].iter().chain(words)).map_err(|e| e.to_string())?;
        Ok(Value::Object(line.args.fields()))
    }

    #[test]
    fn what_people_say_becomes_cron() {
        for (words, cron) in [
            (vec!["--cron", "5 4 * * *"], "5 4 * * *"),
            (vec!["--hourly-at", "15"], "15 * * * *"),
            (vec!["--daily-at", "02:30"], "30 2 * * *"),
            (vec!["--weekly-on", "friday,monday", "--at", "23:05"], "5 23 * * 1,5"),
            (vec!["--monthly-on", "last", "--at", "00:00"], "0 0 L * *"),
            (vec!["--monthly-on", "28", "--at", "00:00"], "0 0 28 * *"),
        ] {
            assert_eq!(fields(&words).unwrap(), json!({ "cron": cron }), "{words:?}");
        }
        for wrong in [
            vec!["--daily-at", "24:30"],
            vec!["--hourly-at", "60"],
            vec!["--weekly-on", "monday"],
            vec!["--weekly-on", "moonday", "--at", "02:00"],
            vec!["--monthly-on", "31", "--at", "02:00"],
            vec!["--daily-at", "02:00", "--cron", "@daily"],
            vec!["--daily-at", "02:00", "--at", "03:00"],
        ] {
            assert!(fields(&wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(fields(&[]).unwrap(), json!({}), "what is not said is not changed");
    }

    #[test]
    fn what_is_known_of_a_schedule_can_be_said_and_taken_back() {
        let all = fields(&[
            "--time-zone",
            "Europe/Paris",
            "--overlap",
            "queue",
            "--catch-up",
            "all",
            "--catch-up-limit",
            "3",
            "--jitter",
            "60",
            "--priority",
            "7",
            "--start-within",
            "3600",
        ]);
        assert_eq!(
            all.unwrap(),
            json!({
                "time_zone": "Europe/Paris", "overlap": "queue", "catch_up": "all", "catch_up_limit": 3, "jitter_s": 60,
                "priority": 7, "start_within_s": 3600,
            })
        );
        let none = fields(&[
            "--priority",
            "none",
            "--start-within",
            "none",
            "--catch-up-limit",
            "none",
            "--no-blackout",
        ]);
        assert_eq!(
            none.unwrap(),
            json!({
                "priority": null, "start_within_s": null, "catch_up_limit": null, "blackout": [],
            })
        );
    }

    #[test]
    fn windows_are_hours_of_days_or_dates_each_with_its_reason() {
        let windows = fields(&[
            "--blackout",
            "08:00-18:00",
            "--blackout",
            "monday,friday 08:00-18:00 shop hours",
            "--blackout",
            "2026-12-24..2026-12-27 stock taking",
        ]);
        assert_eq!(
            windows.unwrap()["blackout"],
            json!([
                { "kind": "weekly", "days": [], "from": "08:00", "to": "18:00", "reason": "" },
                { "kind": "weekly", "days": ["monday", "friday"], "from": "08:00", "to": "18:00", "reason": "shop hours" },
                { "kind": "dated", "from": "2026-12-24", "to": "2026-12-27", "reason": "stock taking" },
            ])
        );
        for wrong in ["", "monday", "monday 08:00", "now and then"] {
            assert!(fields(&["--blackout", wrong]).is_err(), "{wrong}");
        }
    }
}
