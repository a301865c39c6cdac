//! Exit codes: what scripts rely on. They are documented in `docs/cli.md` and in `strongroom --help`.

use crate::client::ClientError;
use std::process::ExitCode;

/// What the process ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Something failed in a way that has no code of its own.
    Failure = 1,
    /// The command line is wrong: the code of the argument parser, for what that cannot see.
    Usage = 2,
    /// The thing named does not exist.
    NotFound = 3,
    /// The request was answered with no: invalid, in conflict, changed since.
    Rejected = 4,
    /// No token, a wrong one, or one that may not do this.
    Refused = 5,
    /// The server does not answer, or cannot do it now.
    Unavailable = 6,
    /// The job that was waited for failed.
    JobFailed = 10,
    /// It was done, but data is missing from it.
    JobIncomplete = 11,
    /// It was cancelled, or given up because no node took it in time.
    JobStopped = 12,
}

/// Nobody reads what is printed: what a shell tells of a program that SIGPIPE has ended, as it ends others.
pub const UNREAD: i32 = 141;

/// The table for people, as the help shows it.
pub const TABLE: &str = "\
Exit codes:
   0  done
   1  failed
   2  the command line is wrong
   3  the thing named does not exist
   4  the request was refused: invalid, in conflict, or changed since it was read
   5  no token, a wrong token, or one without that right
   6  the server does not answer, or cannot do it now
  10  the job failed
  11  the job is done, but incomplete
  12  the job was cancelled or given up
 141  nobody reads what is printed any more";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl Exit {
    /// The code of an error on the way to the server and back.
    pub fn of(error: &ClientError) -> Self {
        match error {
            ClientError::Problem(problem) => match problem.status {
                401 | 403 => Self::Refused,
                404 => Self::NotFound,
                400..=499 => Self::Rejected,
                502..=504 | 507 => Self::Unavailable,
                _ => Self::Failure,
            },
            ClientError::NoToken(_) => Self::Refused,
            ClientError::Unreachable { .. } => Self::Unavailable,
            ClientError::Usage(_) => Self::Usage,
            ClientError::Declined(_) => Self::Rejected,
            ClientError::Other(_) => Self::Failure,
        }
    }

    /// The code for how a job ended; `None` when all is well.
    pub fn of_phase(phase: &str) -> Option<Self> {
        match phase {
            "complete" => None,
            "incomplete" => Some(Self::JobIncomplete),
            "cancelled" | "abandoned" => Some(Self::JobStopped),
            _ => Some(Self::JobFailed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_the_words_is_told_from_what_stands_against_them() {
        for (error, code) in [
            (ClientError::Usage("--db-port without --db-host".into()), 2),
            (ClientError::Declined("it is there already".into()), 4),
            (ClientError::NoToken("none".into()), 5),
            (ClientError::Other("odd".into()), 1),
        ] {
            assert_eq!(Exit::of(&error) as u8, code, "{error}");
        }
    }
}
