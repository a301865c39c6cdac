//! Why a job failed, typed, with what a person can do about it.

use serde::{Deserialize, Serialize};

/// The causes that are told apart. Unknown codes from a newer writer read as [`FailureCode::Unknown`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, strum::Display, strum::EnumIter)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum FailureCode {
    /// The passphrase does not open the repository.
    WrongPassphrase,
    /// Another process holds the repository's lock.
    RepositoryLocked,
    /// There is no repository at its place.
    RepositoryMissing,
    /// There is one already, or other files are in its place.
    RepositoryExists,
    /// Another repository lies in its place.
    RepositoryReplaced,
    /// The repository is damaged.
    RepositoryDamaged,
    /// No space left: at the destination, or for borg's cache.
    NoSpace,
    /// A path of the plan does not exist.
    SourceMissing,
    /// Borg is not installed on the node, or too old.
    BorgMissing,
    /// The archive is not in the repository.
    ArchiveMissing,
    /// The archive was made, but nothing is in it.
    ArchiveEmpty,
    /// Borg said that it was done, but the archive could not be read back.
    NotReadBack,
    /// The target of a restore is outside of the allowed folders.
    TargetRefused,
    /// The target of a restore holds something already.
    TargetExists,
    /// The paths asked for are not in the archive.
    PathNotInArchive,
    /// The node may not read or write there.
    PermissionDenied,
    /// The secret is not in the store, or not for this node.
    SecretMissing,
    /// The time limit of the plan was reached.
    TimedOut,
    /// The child was killed by a signal.
    Killed,
    /// The database server cannot be reached.
    ServerUnreachable,
    /// The database server does not take the credentials, or the role lacks a right.
    AccessDenied,
    /// There is no database of this name.
    DatabaseMissing,
    /// A program of the database system is not on the node, or too old for its server.
    ToolMissing,
    /// A program of the database system was to run in a container, and Docker did not run it.
    ContainerFailed,
    /// A database that was to be backed up is damaged, or is none.
    SourceDamaged,
    /// Somebody holds a database for himself.
    SourceLocked,
    /// The dump broke off: nothing of it was kept.
    DumpFailed,
    /// The destination cannot be reached.
    DestinationUnreachable,
    /// The destination does not take the credentials, or they lack a right.
    DestinationDenied,
    /// There is no such folder, bucket or container.
    DestinationMissing,
    /// The destination answered with an error that is none of these.
    DestinationError,
    /// What lies in the dump store is not what was stored.
    ArchiveDamaged,
    /// A hook before the backup failed, so nothing was backed up.
    HookFailed,
    /// What was to be stopped while data is read could not be stopped, so nothing was backed up.
    QuiesceFailed,
    /// What was stopped for a backup could not be started again.
    StillStopped,
    /// The node does not run the programs that the plan names.
    HooksNotAllowed,
    /// The file that was named is not there, or is not below the allowed folders.
    FileRefused,
    /// What is in the file that was named is no dump of a known form, or of another system, or more than one.
    FormatUnknown,
    /// The file that was named is cut off or damaged.
    FileDamaged,
    /// What is downloaded does not come in the form that was asked for.
    WrongForm,
    /// Nobody takes the download any more.
    ReaderGone,
    /// The database could not be restored: what was made of it is removed, and what stood there still stands.
    RestoreFailed,
    /// What the next archive needs of the last one is not there any more: nothing was backed up.
    ChainBroken,
    /// The source cannot be read in the way that the plan asks for.
    SourceUnfit,
    /// Other archives would be nothing without this one.
    ArchiveIsBase,
    /// Somebody has said that this archive must not go.
    ArchiveHeld,
    /// The archives do not hold the moment that a restore is to go to.
    UntilNotHeld,
    /// Borg ended with an error that is none of these.
    BorgError,
    /// The node failed in a way that is none of these.
    #[serde(other)]
    Unknown,
}

impl FailureCode {
    /// What a person can do about it.
    pub fn advice(self) -> &'static str {
        match self {
            Self::WrongPassphrase => {
                "Give the right passphrase with PUT on the repository, or the right secret key with the request ('identity', --identity-file), then retry."
            }
            Self::RepositoryLocked => {
                "Another borg works on this repository. Wait for it, or find it with 'borg list' on the node; never break the lock of a living process."
            }
            Self::RepositoryMissing => {
                "Check that the destination is mounted and holds the repository; if it never existed, run its init job again."
            }
            Self::RepositoryExists => {
                "Choose another name, or define the repository as what is there, with its passphrase and encryption."
            }
            Self::RepositoryReplaced => {
                "Check what is mounted at the destination. If the repository was made anew on purpose, run its init job again, which takes note of the new one."
            }
            Self::RepositoryDamaged => {
                "Run 'borg check' on the repository and keep a copy of it before any repair."
            }
            Self::NoSpace => {
                "Free space where the message says, else at the destination, at the target of a restore, or for borg's cache on the node; then retry."
            }
            Self::SourceMissing => {
                "Correct the paths of the plan, or mount what should be there, then retry."
            }
            Self::BorgMissing => "Install borg 1.2 or newer on the node (package 'borgbackup'), then retry.",
            Self::ArchiveMissing => "Scan the repository to bring the catalog in line with what is there.",
            Self::ArchiveEmpty => "Check the paths and excludes of the plan: nothing was left to back up.",
            Self::NotReadBack => {
                "Run 'borg check' on the repository; do not trust the newest archive until it passes."
            }
            Self::TargetRefused => "Choose a target inside the server's restore_roots, or extend them.",
            Self::TargetExists => "Choose an empty place, or ask for on_conflict 'overwrite' or 'keep_both'.",
            Self::PathNotInArchive => "Browse the archive for the paths that it holds.",
            Self::PermissionDenied => {
                "See whether it is mounted read-only or immutable; else give the executor's user the right to that path, or run the executor as root."
            }
            Self::SecretMissing => {
                "Give the passphrase again with PUT on the repository, or the password with PUT on the plan: it was shredded, or the node's key is new. What is encrypted to keys of people is opened by the secret key that comes with the request ('identity', --identity-file)."
            }
            Self::TimedOut => "Raise limits.max_duration_s of the plan, or leave it out.",
            Self::ServerUnreachable => {
                "Check host and port, that the server runs, and that the node may reach it."
            }
            Self::AccessDenied => {
                "Correct the user or the password (of the plan, or of the request for a restore), or give the role the rights that the message names; then try again."
            }
            Self::DatabaseMissing => "Correct the names of the databases, or name none for all of them.",
            Self::ToolMissing => {
                "Have on the node what the message names, the package or the image, then retry."
            }
            Self::ContainerFailed => {
                "See what the message says of Docker on the node. A program of the node itself is used first, unless its executor is started with --tools-in-containers always. Then retry."
            }
            Self::SourceDamaged => {
                "Restore the database from an archive before the damage, or repair it; with check switched off the plan keeps it as it is."
            }
            Self::SourceLocked => "Find who holds the database, and retry when it is free.",
            Self::DumpFailed => {
                "Read the log of the job, which ends with the words of the program; retry when the cause is gone."
            }
            Self::DestinationUnreachable => {
                "Check the address of the destination, that the service or machine there runs, and that the node may reach it; then retry."
            }
            Self::DestinationDenied => {
                "Correct the credentials with PUT on the destination, or give them the rights that the message names; then retry."
            }
            Self::DestinationMissing => {
                "Correct the destination, or make the folder, bucket or container there; then retry."
            }
            Self::DestinationError => {
                "Read the message, which ends with the words of the destination; retry when the cause is gone."
            }
            Self::ArchiveDamaged => {
                "Restore from another archive. Find out what has changed the objects of this one: the disk, the service, or a person."
            }
            Self::HookFailed => {
                "Read the log of the job, which ends with the words of the program. Correct what it needs, or let the plan go on without it (on_failure 'continue')."
            }
            Self::QuiesceFailed => {
                "Read the log of the job, which ends with the words of the program, and correct what it needs. What had been stopped before it was started again."
            }
            Self::StillStopped => {
                "Start by hand what the message names, now. The node tries its start command again every minute, when its executor is started and before the next backup of the plan, until it ends with 0."
            }
            Self::HooksNotAllowed => {
                "Put the program into a folder of its own on the node, writable by its administrator alone, and start the executor with --allow-hooks <folder>; or take it out of the plan."
            }
            Self::FileRefused => {
                "Put the file below one of the server's dump_roots, or extend them; check its path."
            }
            Self::FormatUnknown => {
                "Read what the message says of the file; unpack or convert it on the node, or name the member that is meant."
            }
            Self::WrongForm => "Ask for another form, as the message says.",
            Self::ReaderGone => {
                "Ask for the download again. A reader that takes nothing for some minutes is given up."
            }
            Self::FileDamaged => "Copy the file again from where it came from, and compare its digest.",
            Self::RestoreFailed => {
                "Read the log of the job, which ends with the words of the program. Nothing that stood there was changed."
            }
            Self::ChainBroken => {
                "Run the plan again: its next archive is a full one. Find out why: see 'Slots and spools' in docs/operations.md."
            }
            Self::SourceUnfit => {
                "Do what the message says, or choose another method or variant for the plan."
            }
            Self::ArchiveIsBase => "Delete the archives that the message names first, or keep this one.",
            Self::ArchiveHeld => {
                "Release the hold ('strongroom archives release') when it may go after all, then delete it again."
            }
            Self::UntilNotHeld => {
                "Choose a moment that the archives hold, or another archive: the message says from when to when."
            }
            Self::Killed => "Look for an out-of-memory kill or an operator on the node, then retry.",
            Self::BorgError | Self::Unknown => "Read the log of the job; retry when the cause is gone.",
        }
    }
}

/// A failure as it stands in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The typed cause.
    pub code: FailureCode,
    /// What happened, in one or two sentences, without secrets.
    pub message: String,
    /// What to do about it.
    pub advice: String,
    /// The last lines of the child's output, without secrets; at most 50 lines and 8 KiB.
    #[serde(default)]
    pub log_tail: Vec<String>,
}

impl Failure {
    /// A failure with the advice of its code and no log.
    pub fn new(code: FailureCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), advice: code.advice().to_owned(), log_tail: Vec::new() }
    }

    /// The same with the tail of a log.
    pub fn with_log(mut self, log_tail: Vec<String>) -> Self {
        self.log_tail = log_tail;
        self
    }
}

/// Something wrong inside a job that went on: collected and shown, never hidden in a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The file that it is about, when it is about one.
    #[serde(default)]
    pub path: Option<String>,
    /// What was found.
    pub message: String,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It belongs to life: a file that vanished or changed while it was read.
    Benign,
    /// Data that should be in the archive is not, or something that the plan asks for besides was not done: the job is
    /// incomplete.
    Incomplete,
}
