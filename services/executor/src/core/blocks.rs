//! PostgreSQL's archives of changed blocks: what a server must be for them, and what its programs say.
//!
//! The accident that this file prevents: changed blocks that are put on files which they do not belong to. The base must be
//! of the same cluster and history, and the list of its files the very one that was kept with it.

use super::wal::State;
use strongroom_domain::chain::{Base, Blocks, WalPosition};
use strongroom_domain::{Failure, FailureCode};

/// The oldest server that knows which of its blocks have changed.
pub const OLDEST: u32 = 17;
/// Since when `pg_combinebackup` can link files in place of copying them.
const LINKS: u32 = 18;

/// What makes a server take note of it.
const SUMMARIZE: &str = "ALTER SYSTEM SET summarize_wal = on; SELECT pg_reload_conf()";
/// How the programs begin what they say of a server that does not begin a backup.
const NOT_BEGUN: [&str; 2] = ["could not initiate base backup", "could not upload manifest"];

/// Why changed blocks cannot be had of a server; its timeline, when they can.
pub fn cannot_be_followed(state: &State, major: u32, version: &str) -> Result<u32, Failure> {
    let unfit = |message: String| Err(Failure::new(FailureCode::SourceUnfit, message));
    if major < OLDEST {
        return unfit(format!(
            "the server has version {version}, and changed blocks are known from {OLDEST} on; let the plan say 'increments': 'wal'"
        ));
    }
    let Some(timeline) = state.timeline.filter(|_| !state.in_recovery) else {
        return unfit("the server follows another one, of which changed blocks are not taken; take the one that it follows, or the variant 'full'".into());
    };
    if state.summarize_wal.as_deref() != Some("on") {
        return unfit(format!(
            "the server takes no note of the blocks that change (summarize_wal is off): {SUMMARIZE}"
        ));
    }
    Ok(timeline)
}

/// Whether blocks that have changed since an archive can be had: where that is, and what ties it to the next one.
pub fn goes_on_from<'a>(
    state: &State,
    base: &'a Base,
    timeline: u32,
) -> Result<(&'a WalPosition, &'a Blocks), Failure> {
    let position = state.is_the_server_of(base, timeline)?;
    let blocks = position.blocks.as_ref().ok_or_else(|| {
        let message = format!(
            "nothing can be added to {}: it is followed by the server's log, and not by blocks",
            base.archive.name
        );
        Failure::new(FailureCode::ChainBroken, message)
    })?;
    Ok((position, blocks))
}

/// The cause of an end of `pg_basebackup --incremental` with an error. The server speaks the language that it was set up
/// with: of what it refuses to begin, all that is not known is mended by a full archive.
pub fn cause(tail: &[String]) -> FailureCode {
    let said = |words: &str| tail.iter().any(|line| line.contains(words));
    if said("unless WAL summarization is enabled") {
        return FailureCode::SourceUnfit;
    }
    match super::postgresql::cause(tail) {
        // It was shut down, or somebody has ended it.
        FailureCode::DumpFailed if said("terminating connection") => FailureCode::DumpFailed,
        FailureCode::DumpFailed if NOT_BEGUN.iter().any(|words| said(words)) => FailureCode::ChainBroken,
        code => code,
    }
}

/// What people read of its last lines, with what they can do.
pub fn words(tail: &[String]) -> String {
    let words = super::postgresql::words(tail);
    let more = match cause(tail) {
        FailureCode::SourceUnfit => format!("; {SUMMARIZE}"),
        FailureCode::ChainBroken => {
            "; what the server has noted must reach back to the last archive, and of differential ones to the full one (summarize_wal on all the time, wal_summary_keep_time)".to_owned()
        }
        _ => String::new(),
    };
    words + &more
}

/// How `pg_combinebackup` of a version puts archives together, which are folders by these names, the full one first.
pub fn combine(major: u32, folders: &[String], into: &str) -> Vec<String> {
    // What it makes is on the disk before it has its name, and nobody looks into the folders that share files with it.
    let mut arguments = vec!["--no-sync".to_owned(), format!("--output={into}")];
    arguments.extend((major >= LINKS).then(|| "--link".to_owned()));
    arguments.extend(folders.iter().cloned());
    arguments
}

#[cfg(test)]
mod tests;
