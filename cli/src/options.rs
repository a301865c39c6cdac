//! By which option of a command a field is set that the API says is wrong: people know the options, and not the fields.

use crate::client::ClientError;
use clap::{ArgMatches, Command};

/// Fields whose options are called otherwise.
const OTHERWISE: &[(&str, &str)] = &[
    ("check.query", "check"),
    ("check.expected", "expect"),
    ("identity", "identity-file"),
    ("parallel_jobs", "jobs"),
    ("passphrase", "passphrase-file"),
    ("password", "db-password-file"),
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
    let called = [otherwise, of_server, Some(plain.replace(['_', '.'], "-")), Some(last), one_of_several];
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
            ("repository", Some("repository")),
            ("variant", Some("variant")),
            ("retention.nonsense", None),
        ] {
            assert_eq!(option(field, &plan).as_deref(), wanted, "{field}");
        }
        assert_eq!(option("on_conflict", &plan), None, "it has no such option");
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
