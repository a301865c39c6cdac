//! The options of a retention policy, for plans and for trying one.

use crate::commands::definitions::Changes;
use serde_json::{Map, Value};
use strongroom_domain::retention::Count;

/// Which archives are kept. Every archive that any of the rules keeps stays, and an archive counts in one of them.
#[derive(Debug, Default, clap::Args)]
pub struct PolicyArgs {
    /// Keep so many of the newest archives; `all`, or `none` for no such rule, here and in the next ones.
    #[arg(long, value_name = "NUMBER", value_parser = count)]
    keep_last: Option<Count>,
    /// Keep the newest archive of so many hours in which there is one.
    #[arg(long, value_name = "HOURS", value_parser = count)]
    keep_hourly: Option<Count>,
    /// Of so many days.
    #[arg(long, value_name = "DAYS", value_parser = count)]
    keep_daily: Option<Count>,
    /// Of so many weeks, which begin on Monday.
    #[arg(long, value_name = "WEEKS", value_parser = count)]
    keep_weekly: Option<Count>,
    /// Of so many months.
    #[arg(long, value_name = "MONTHS", value_parser = count)]
    keep_monthly: Option<Count>,
    /// Of so many quarters of the calendar.
    #[arg(long, value_name = "QUARTERS", value_parser = count)]
    keep_quarterly: Option<Count>,
    /// Of so many years.
    #[arg(long, value_name = "YEARS", value_parser = count)]
    keep_yearly: Option<Count>,
    /// Keep all that are younger: a number and H, d, w, m (31 days) or y, such as `30d`; `none` for no such rule.
    #[arg(long, value_name = "SPAN")]
    keep_within: Option<String>,
    /// Keep so many of the newest good archives whatever the rules say; at least 1.
    #[arg(long, value_name = "NUMBER")]
    keep_minimum: Option<u32>,
    /// Remove nothing while no drill has proved the newest archive.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    require_verified: Option<bool>,
    /// Whose hours, days and weeks: an IANA time zone; also that of --retention-cron, beside it. `none` for UTC.
    #[arg(long, value_name = "ZONE")]
    retention_time_zone: Option<String>,
}

impl PolicyArgs {
    /// What is said here, as the API has it; empty when nothing is.
    pub fn fields(&self) -> Map<String, Value> {
        Changes::default()
            .with(&["keep_last"], self.keep_last)
            .with(&["keep_hourly"], self.keep_hourly)
            .with(&["keep_daily"], self.keep_daily)
            .with(&["keep_weekly"], self.keep_weekly)
            .with(&["keep_monthly"], self.keep_monthly)
            .with(&["keep_quarterly"], self.keep_quarterly)
            .with(&["keep_yearly"], self.keep_yearly)
            .with(&["keep_within"], self.keep_within.as_deref().map(or_null))
            .with(&["minimum"], self.keep_minimum)
            .with(&["require_verified"], self.require_verified)
            .with(&["time_zone"], self.time_zone())
            .done()
    }

    /// The zone, when it is said.
    pub fn time_zone(&self) -> Option<Value> {
        self.retention_time_zone.as_deref().map(or_null)
    }
}

fn or_null(text: &str) -> Value {
    if text == "none" { Value::Null } else { Value::from(text) }
}

fn count(text: &str) -> Result<Count, String> {
    match text {
        "all" => Ok(Count::All),
        "none" => Ok(Count::NONE),
        number => {
            number.parse().map(Count::Number).map_err(|_| "must be a number, 'all' or 'none'".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use clap::Parser;
    use serde_json::json;
    use strongroom_domain::retention::Policy;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: PolicyArgs,
    }

    fn fields(words: &str) -> Result<Value, String> {
        let line = Line::try_parse_from(std::iter::once("x").chain(words.split_whitespace()));
        line.map(|line| Value::Object(line.args.fields())).map_err(|e| e.to_string())
    }

    #[test]
    fn every_rule_of_a_policy_can_be_said() {
        let all = "--keep-last 1 --keep-hourly 2 --keep-daily 3 --keep-weekly 4 --keep-monthly 5 --keep-quarterly 6 \
                   --keep-yearly all --keep-within 30d --keep-minimum 2 --require-verified --retention-time-zone Europe/Paris";
        let said = fields(all).unwrap();
        let policy: Policy = serde_json::from_value(said.clone()).unwrap();
        assert_eq!(policy.problems(), []);
        assert_eq!(serde_json::to_value(policy).unwrap(), said, "no field of a policy is without an option");
    }

    #[test]
    fn what_was_said_can_be_taken_back() {
        let none = fields(
            "--keep-daily none --keep-within none --require-verified=false --retention-time-zone none",
        );
        assert_eq!(
            none.unwrap(),
            json!({ "keep_daily": 0, "keep_within": null, "require_verified": false, "time_zone": null })
        );
        assert_eq!(fields("").unwrap(), json!({}));
        assert!(fields("--keep-daily some").is_err() && fields("--keep-daily -1").is_err());
    }
}
