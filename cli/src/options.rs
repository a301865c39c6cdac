//! By which option of a command a field is set that the API says is wrong: people know the options, and not the fields.

use crate::client::ClientError;
use clap::{ArgMatches, Command};

/// Fields whose options are called otherwise.
const OTHERWISE: &[(&str, &str)] = &[
    ("check.query", "check"),
    ("check.expected", "expect"),
    ("identity", "identity-file"),
    ("max_concurrent_jobs", "max-jobs"),
    ("parallel_jobs", "jobs"),
    ("passphrase", "passphrase-file"),
    ("password", "db-password-file"),
    ("policy.minimum", "keep-minimum"),
    ("policy.time_zone", "retention-time-zone"),
    ("retention.minimum", "keep-minimum"),
    ("retention_days", "days"),
    ("retention_schedule", "retention-cron"),
    ("retention_schedule.cron", "retention-cron"),
    ("retention_schedule.time_zone", "retention-time-zone"),
    ("source.format", "dump-format"),
    ("source.method", "db-method"),
    ("target.path", "to"),
    ("until.lsn", "until-lsn"),
    ("until.time", "until"),
];

/// The options of the command that was given.
pub fn of(command: &Command, matches: &ArgMatches) -> Vec<String> {
    let (mut command, mut matches) = (command, matches);
    while let Some((name, inner)) = matches.subcommand()
        && let Some(found) = command.find_subcommand(name)
    {
        (command, matches) = (found, inner);
    }
    command.get_arguments().filter_map(|argument| argument.get_long().map(str::to_owned)).collect()
}

/// Names the options of fields that are wrong.
pub fn name(mut error: ClientError, options: &[String]) -> ClientError {
    if let ClientError::Problem(problem) = &mut error {
        for wrong in &mut problem.errors {
            wrong.option = option(&wrong.field, options);
        }
    }
    error
}

fn option(field: &str, options: &[String]) -> Option<String> {
    // Without what says which of several it is.
    let plain: String = field.split('[').next().unwrap_or_default().to_owned();
    let segments: Vec<&str> = plain.split('.').collect();
    let last = segments.last()?.replace('_', "-");
    let of_server = segments.contains(&"connection").then(|| format!("db-{last}"));
    let otherwise = OTHERWISE.iter().find(|(name, _)| *name == plain).map(|(_, option)| (*option).to_owned());
    let one_of_several = last.strip_suffix('s').map(str::to_owned);
    let without_unit = last.strip_suffix("-s").map(str::to_owned);
    let whole = plain.replace(['_', '.'], "-");
    let called = [otherwise, of_server, Some(whole), Some(last), one_of_several, without_unit];
    called.into_iter().flatten().find(|name| options.contains(name))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::args::Cli;
    use crate::client::{FieldProblem, Problem};
    use clap::CommandFactory;

    fn options(words: &[&str]) -> Vec<String> {
        let command = Cli::command();
        let matches = command.clone().try_get_matches_from(words).unwrap();
        of(&command, &matches)
    }

    #[test]
    fn fields_are_named_by_the_options_of_the_command_that_has_them() {
        let restore = options(&["strongroom", "archives", "restore-database", "id", "shop"]);
        for (field, wanted) in [
            ("on_conflict", Some("on-conflict")),
            ("no_owner", Some("no-owner")),
            ("parallel_jobs", Some("jobs")),
            ("as", Some("as")),
            ("check.query", Some("check")),
            ("check.expected", Some("expect")),
            ("connection.port", Some("db-port")),
            ("connection.auth_database", Some("db-auth-database")),
            ("password", Some("db-password-file")),
            ("identity", Some("identity-file")),
            ("database", None),
            ("source.paths[0]", None),
        ] {
            assert_eq!(option(field, &restore).as_deref(), wanted, "{field}");
        }
        let plan = options(&["strongroom", "plans", "set", "p"]);
        for (field, wanted) in [
            ("source.paths[0]", Some("path")),
            ("source.databases[2]", Some("database")),
            ("source.connection.host", Some("db-host")),
            ("source.postgresql.connection.host", Some("db-host")),
            ("schedule.cron", Some("cron")),
            ("schedule.time_zone", Some("time-zone")),
            ("schedule.blackout[1].from", Some("blackout")),
            ("schedule.priority", Some("priority")),
            ("schedule.start_within_s", Some("start-within")),
            ("schedule.catch_up_limit", Some("catch-up-limit")),
            ("schedule.jitter_s", Some("jitter")),
            ("limits.max_duration_s", Some("max-duration")),
            ("retention.keep_within", Some("keep-within")),
            ("retention.keep_last", Some("keep-last")),
            ("retention.keep_quarterly", Some("keep-quarterly")),
            ("retention.minimum", Some("keep-minimum")),
            ("retention.require_verified", Some("require-verified")),
            ("retention.time_zone", Some("retention-time-zone")),
            ("retention_schedule", Some("retention-cron")),
            ("retention_schedule.cron", Some("retention-cron")),
            ("retention_schedule.time_zone", Some("retention-time-zone")),
            ("repository", Some("repository")),
            ("variant", Some("variant")),
            ("retention.nonsense", None),
        ] {
            assert_eq!(option(field, &plan).as_deref(), wanted, "{field}");
        }
        assert_eq!(option("on_conflict", &plan), None, "it has no such option");
        let retention = options(&["strongroom", "plans", "retention", "p"]);
        for (field, wanted) in [
            ("policy.keep_daily", Some("keep-daily")),
            ("policy.minimum", Some("keep-minimum")),
            ("policy.time_zone", Some("retention-time-zone")),
            ("schedule.cron", Some("cron")),
            ("schedule.time_zone", Some("time-zone")),
            ("from", Some("from")),
            ("until", Some("until")),
        ] {
            assert_eq!(option(field, &retention).as_deref(), wanted, "{field}");
        }
        let preview = options(&["strongroom", "schedules", "preview"]);
        for (field, wanted) in [
            ("cron", "cron"),
            ("blackout[0].to", "blackout"),
            ("start_within_s", "start-within"),
            ("count", "count"),
        ] {
            assert_eq!(option(field, &preview).as_deref(), Some(wanted), "{field}");
        }
        let hold = options(&["strongroom", "archives", "hold", "id", "--reason", "x"]);
        assert_eq!(option("until", &hold).as_deref(), Some("until"));
        let cleanup = options(&["strongroom", "repositories", "cleanup", "site", "--days", "1"]);
        assert_eq!(option("retention_days", &cleanup).as_deref(), Some("days"));
    }

    #[test]
    fn a_problem_is_told_with_them() {
        let wrong = |field: &str| FieldProblem {
            field: field.into(),
            message: "is wrong".into(),
            ..FieldProblem::default()
        };
        let problem = Problem {
            code: "invalid".into(),
            detail: Some("x".into()),
            errors: vec![wrong("on_conflict"), wrong("odd")],
            ..Problem::default()
        };
        let told = name(ClientError::Problem(problem), &["on-conflict".to_owned()]).to_string();
        assert!(told.contains("\n  on_conflict (--on-conflict): is wrong\n  odd: is wrong"), "{told}");
    }
}
