//! What the restores of all systems do alike: folders that belong to another user, and parts that are unpacked into them.

use super::chain::Link;
use crate::child::{Input, Plan, User};
use crate::control::NoOutcome;
use crate::jobs::Bench;
use crate::jobs::init::file_failure;
use crate::jobs::restore_database::pour_part;
use crate::program;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::Path;
use strongroom_domain::{Failure, FailureCode};

/// The user of this name.
pub async fn as_user(bench: &Bench<'_>, name: &str) -> Result<User, NoOutcome> {
    program::user(name, &bench.state.children(), bench.control.clone()).await
}

/// How a program is called.
pub fn plan(
    bench: &Bench<'_>,
    program: &Path,
    arguments: &[&str],
    user: Option<User>,
    folder: Option<&Path>,
) -> Plan {
    Plan {
        program: program.to_owned(),
        arguments: arguments.iter().map(|&word| word.to_owned()).collect(),
        environment: program::environment(),
        folder: Some(folder.unwrap_or(Path::new("/")).to_owned()),
        input: Input::Nothing,
        user,
        notes: bench.state.children(),
        inside: None,
    }
}

/// Makes a folder for nobody but this user.
pub fn make(folder: &Path, user: Option<User>) -> Result<(), Failure> {
    fs::DirBuilder::new().mode(0o700).create(folder).map_err(|e| failed(folder, &e))?;
    give(folder, user)
}

/// Gives something to a user.
pub fn give(path: &Path, user: Option<User>) -> Result<(), Failure> {
    let Some(User { uid, gid }) = user else { return Ok(()) };
    chown(path, Some(uid), Some(gid)).map_err(|e| failed(path, &e))
}

/// Unpacks what an archive holds, and compares its digest.
pub async fn unpack(bench: &Bench<'_>, link: &Link<'_>, mut by: Plan) -> Result<(), NoOutcome> {
    let part = link.main()?;
    by.input = Input::Stream;
    let unpacked = pour_part(bench, &link.origin, part, by, |tail| {
        let space = tail.iter().any(|line| line.contains("No space left on device"));
        let code = if space { FailureCode::NoSpace } else { FailureCode::RestoreFailed };
        let said = tail.first().cloned().unwrap_or_default();
        Failure::new(code, format!("{} could not be unpacked: {said}", part.path))
    });
    unpacked.await.map_err(|e| match e {
        NoOutcome::Failed(failure) => {
            let message = format!("{}: {}", link.name, failure.message);
            Failure { message, ..failure }.into()
        }
        stopped => stopped,
    })?;
    Ok(())
}

/// What could not be done with a path.
pub fn failed(path: &Path, error: &std::io::Error) -> Failure {
    file_failure(&path.display().to_string(), error)
}
