//! `strongroom archives`.

use super::definitions::{Changes, escape};
use super::into::Into;
use super::{Outcome, Session, download, jobs};
use crate::args::Output;
use crate::client::ClientError;
use crate::output::Format::{Bytes, Duration, Plain, Rate, Time};
use crate::output::{self, Column};
use crate::secret;
use clap::Subcommand;
use serde_json::{Value, json};
use std::path::PathBuf;

const COLUMNS: &[Column] = &[
    ("id", "/id", Plain),
    ("plan", "/plan", Plain),
    ("server", "/server", Plain),
    ("repository", "/repository", Plain),
    ("made", "/facts/started_at", Time),
    ("files", "/facts/stats/files", Plain),
    ("original", "/facts/stats/original_size_bytes", Bytes),
    ("new", "/facts/stats/deduplicated_size_bytes", Bytes),
    ("variant", "/facts/dump/physical/variant", Plain),
    ("incomplete", "/incomplete", Plain),
    ("missing", "/missing", Plain),
    ("held by", "/holds/0/by", Plain),
];

const HOLDS: &[Column] = &[
    ("held as", "/name", Plain),
    ("by", "/by", Plain),
    ("until", "/until", Time),
    ("why", "/reason", Plain),
];

const DUMPED: &[Column] = &[
    ("dumped", "/kind", Plain),
    ("database", "/database", Plain),
    ("format", "/format", Plain),
    ("size", "/size_bytes", Bytes),
    ("tables", "/census/tables_total", Plain),
    ("rows", "/census/rows_total", Plain),
    ("path", "/path", Plain),
];

const FIELDS: &[Column] = &[
    ("id", "/id", Plain),
    ("name", "/facts/name", Plain),
    ("borg id", "/facts/borg_id", Plain),
    ("plan", "/plan", Plain),
    ("server", "/server", Plain),
    ("repository", "/repository", Plain),
    ("job", "/job", Plain),
    ("host", "/facts/hostname", Plain),
    ("began", "/facts/started_at", Time),
    ("ended", "/facts/ended_at", Time),
    ("files", "/facts/stats/files", Plain),
    ("original", "/facts/stats/original_size_bytes", Bytes),
    ("compressed", "/facts/stats/compressed_size_bytes", Bytes),
    ("new in repository", "/facts/stats/deduplicated_size_bytes", Bytes),
    ("repository size", "/facts/stats/repository_size_bytes", Bytes),
    ("duration", "/facts/stats/duration_ms", Duration),
    ("average rate", "/facts/stats/average_rate_bytes_per_s", Rate),
    ("variant", "/facts/dump/physical/variant", Plain),
    ("made on", "/facts/dump/physical/base/name", Plain),
    ("holds until", "/facts/dump/physical/position/stopped_at", Time),
    ("entries in index", "/facts/index/entries", Plain),
    ("incomplete", "/incomplete", Plain),
    ("missing", "/missing", Plain),
    ("comment", "/facts/comment", Plain),
];

const ENTRIES: &[Column] = &[
    ("mode", "/mode", Plain),
    ("owner", "/user", Plain),
    ("group", "/group", Plain),
    ("size", "/size_bytes", Bytes),
    ("changed", "/modified_at", Time),
    ("path", "/path", Plain),
];

/// What a hold is called when nobody says.
const HOLD: &str = "hold";

/// What can be done with them.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The newest ones.
    List {
        /// Of this plan.
        #[arg(long)]
        plan: Option<String>,
        /// Of this server.
        #[arg(long)]
        server: Option<String>,
        /// In this repository.
        #[arg(long)]
        repository: Option<String>,
        /// How many at most.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// One of them, with all of borg's numbers.
    Show {
        /// Its id.
        id: String,
    },
    /// A folder of one.
    Browse {
        /// Its id.
        id: String,
        /// Which folder; the top when absent.
        #[arg(default_value = "")]
        path: String,
        /// How many entries at most.
        #[arg(long, default_value_t = 1000)]
        limit: usize,
    },
    /// Download a file or a dump out of it, or paths as a tar or a zip, without anything being restored on its server.
    Download {
        /// Its id.
        id: String,
        /// A path in the archive. One alone comes as the file that it is, several as a tar; all of it, when absent.
        paths: Vec<String>,
        /// In which form.
        #[arg(long, value_parser = ["raw", "tar", "zip"])]
        format: Option<String>,
        /// Into this file, or `-` for the standard output; as the server calls it, when absent.
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
        /// Replace a file that is there.
        #[arg(long)]
        force: bool,
        /// File with the secret key (of age or OpenPGP) that opens the archive, when its repository keeps none.
        #[arg(long, value_name = "FILE")]
        identity_file: Option<PathBuf>,
    },
    /// Bring files back. Nothing that stands there is overwritten unless `--on-conflict overwrite` says so.
    Restore {
        /// Its id.
        id: String,
        /// A path in the archive; give it once for each. All, when absent.
        #[arg(long = "path")]
        paths: Vec<String>,
        /// Restore below this folder of the server.
        #[arg(long, required_unless_present = "original", conflicts_with = "original")]
        to: Option<String>,
        /// Restore to where the files came from.
        #[arg(long)]
        original: bool,
        /// When something else stands there.
        #[arg(long, default_value = "fail", value_parser = ["fail", "keep_both", "overwrite"])]
        on_conflict: String,
        /// File with the secret key, of age or OpenPGP, that opens the archive, when its repository keeps none.
        #[arg(long, value_name = "FILE")]
        identity_file: Option<PathBuf>,
        /// Only say what it would do, and touch nothing.
        #[arg(long)]
        dry_run: bool,
        /// Wait until it is done, with a progress bar.
        #[arg(long)]
        wait: bool,
    },
    /// Restore a database that was dumped into it. What stands at its name is not touched before all of the dump has been
    /// restored beside it; MongoDB cannot do that: there each collection is dropped and made anew.
    RestoreDatabase {
        /// Its id.
        id: String,
        /// Which database; may be left out when there is one.
        database: Option<String>,
        /// What it is to be called; as it was, when absent.
        #[arg(long = "as", value_name = "NAME")]
        name: Option<String>,
        /// Into another server than the plan's, when it is named.
        #[command(flatten)]
        into: Into,
    },
    /// Restore a whole server as a folder: the archive, and all that it needs, are put together, and the server's program
    /// recovers it. Nothing is started.
    RestoreCluster {
        /// Its id: the last archive that is taken.
        id: String,
        /// The folder that the server becomes; it is empty or not there.
        #[arg(long)]
        to: String,
        /// As it was at this moment: `2026-11-21T14:30:00Z`. As late as the archive goes, when absent.
        #[arg(long, value_name = "TIME", conflicts_with = "until_lsn")]
        until: Option<String>,
        /// As it was at this place of PostgreSQL's log: `16/B374D848`.
        #[arg(long, value_name = "LSN")]
        until_lsn: Option<String>,
        /// The system user that it is to belong to.
        #[arg(long, value_name = "USER")]
        os_user: Option<String>,
        /// File with the secret key of age that opens the archives, when their repository keeps none.
        #[arg(long, value_name = "FILE")]
        identity_file: Option<PathBuf>,
        /// Only say what it would do, and touch nothing.
        #[arg(long)]
        dry_run: bool,
        /// Wait until it is done, with a progress bar.
        #[arg(long)]
        wait: bool,
    },
    /// Copy it into another dump store of its server.
    Copy {
        /// Its id.
        id: String,
        /// Into which repository.
        #[arg(long)]
        to: String,
        /// Wait until it is done, with a progress bar.
        #[arg(long)]
        wait: bool,
    },
    /// Make its file index, when it has none.
    Index {
        /// Its id.
        id: String,
        /// Wait until it is done.
        #[arg(long)]
        wait: bool,
    },
    /// Say that it must not go, by itself or by anybody, and why.
    Hold {
        /// Its id.
        id: String,
        /// Why, for those who want it gone.
        #[arg(long)]
        reason: String,
        /// By which the hold is released; several people can hold one archive.
        #[arg(long, default_value = HOLD)]
        name: String,
        /// Until when, as a time or a date (its beginning, UTC); until it is released, when absent.
        #[arg(long, value_name = "TIME", value_parser = until)]
        until: Option<String>,
    },
    /// Let it go again when its time comes.
    Release {
        /// Its id.
        id: String,
        /// Which hold.
        #[arg(long, default_value = HOLD)]
        name: String,
    },
    /// Delete it from the repository. It cannot be brought back.
    Delete {
        /// Its id.
        id: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
        /// Wait until it is done.
        #[arg(long)]
        wait: bool,
    },
}

/// Does it.
pub async fn run(command: Command, session: &Session) -> Outcome {
    match command {
        Command::List { plan, server, repository, limit } => {
            let filters = [("plan", plan), ("server", server), ("repository", repository)];
            let path = format!("/archives{}", jobs::query(filters));
            let items = session.client.list(&path, limit).await?;
            output::list(session.output, &items, COLUMNS);
            Ok(None)
        }
        Command::Show { id } => {
            let archive = session.client.get(&at(&id)).await?.body;
            output::one(session.output, &archive, FIELDS);
            let dumped = archive.pointer("/facts/dump/artefacts").and_then(Value::as_array);
            if let (Output::Table, Some(dumped)) = (session.output, dumped) {
                say!("");
                output::list(session.output, dumped, DUMPED);
            }
            let holds = archive.get("holds").and_then(Value::as_array).filter(|holds| !holds.is_empty());
            if let (Output::Table, Some(holds)) = (session.output, holds) {
                say!("");
                output::list(session.output, holds, HOLDS);
            }
            Ok(None)
        }
        Command::Browse { id, path, limit } => {
            let items = session.client.browse(&escape(&id), &escape(&path), limit).await?;
            output::list(session.output, &items, ENTRIES);
            Ok(None)
        }
        Command::Download { id, paths, format, to, force, identity_file } => {
            let mut query: Vec<(&str, String)> =
                paths.iter().map(|path| ("path", path.trim_start_matches('/').to_owned())).collect();
            query.extend(format.map(|format| ("format", format)));
            let mut request =
                session.client.request(reqwest::Method::GET, &format!("{}/download", at(&id))).query(&query);
            if let Some(file) = &identity_file {
                // A header has one line, and keys of OpenPGP have many.
                let identity: String =
                    url::form_urlencoded::byte_serialize(secret::read_identity(file)?.as_bytes()).collect();
                request = request.header("strongroom-identity", identity);
            }
            download::run(session, request, to.as_deref(), force).await?;
            Ok(None)
        }
        Command::Restore { id, paths, to, original, on_conflict, identity_file, dry_run, wait } => {
            let target = match to {
                Some(path) if !original => json!({ "type": "folder", "path": path }),
                _ => json!({ "type": "original" }),
            };
            // The archive knows paths without the leading slash; people copy them with it.
            let paths: Vec<&str> = paths.iter().map(|p| p.trim_start_matches('/')).collect();
            let body = Changes::default()
                .with(&["paths"], Some(paths))
                .with(&["target"], Some(target))
                .with(&["on_conflict"], Some(on_conflict))
                .with(&["dry_run"], Some(dry_run))
                .with(&["identity"], identity_file.as_deref().map(secret::read_identity).transpose()?)
                .done();
            let answer = session.client.post(&format!("{}/restore", at(&id)), &Value::Object(body)).await?;
            jobs::asked(session, &answer, wait || dry_run).await
        }
        Command::RestoreDatabase { id, database, name, into } => {
            into.needs_host()?;
            let changes = Changes::default().with(&["database"], database).with(&["as"], name);
            into.ask(session, &format!("{}/restore-database", at(&id)), changes).await
        }
        Command::RestoreCluster { id, to, until, until_lsn, os_user, identity_file, dry_run, wait } => {
            let body = Changes::default()
                .with(&["target"], Some(to))
                .with(&["until", "time"], until)
                .with(&["until", "lsn"], until_lsn)
                .with(&["os_user"], os_user)
                .with(&["dry_run"], Some(dry_run))
                .with(&["identity"], identity_file.as_deref().map(secret::read_identity).transpose()?)
                .done();
            let path = format!("{}/restore-cluster", at(&id));
            let answer = session.client.post(&path, &Value::Object(body)).await?;
            jobs::asked(session, &answer, wait || dry_run).await
        }
        Command::Copy { id, to, wait } => {
            let answer = session.client.post(&format!("{}/copy", at(&id)), &json!({ "to": to })).await?;
            jobs::asked(session, &answer, wait).await
        }
        Command::Index { id, wait } => {
            let answer = session.client.post(&format!("{}/index", at(&id)), &json!({})).await?;
            jobs::asked(session, &answer, wait).await
        }
        Command::Hold { id, reason, name, until } => {
            let body = Changes::default().with(&["reason"], Some(reason)).with(&["until"], until).done();
            let path = format!("{}/holds/{}", at(&id), escape(&name));
            let answer = session.client.put(&path, &Value::Object(body), None).await?;
            match session.output {
                Output::Json => output::json(&answer.body),
                Output::Table => say!("archive {id} is held as '{name}'"),
            }
            Ok(None)
        }
        Command::Release { id, name } => {
            session.client.delete(&format!("{}/holds/{}", at(&id), escape(&name)), None).await?;
            if session.output == Output::Table {
                say!("archive {id} is not held as '{name}' any more");
            }
            Ok(None)
        }
        Command::Delete { id, yes, wait } => {
            if !yes {
                confirm(session, "delete an archive", &format!("delete archive {id} for ever"), &id)?;
            }
            let answer = session.client.delete(&at(&id), None).await?;
            jobs::asked(session, &answer, wait).await
        }
    }
}

/// Has a person confirm what cannot be taken back, by writing its name.
pub fn confirm(session: &Session, what: &str, question: &str, name: &str) -> Result<(), ClientError> {
    use std::io::IsTerminal;
    if session.output == Output::Json || !std::io::stdin().is_terminal() {
        return Err(ClientError::Declined(format!("to {what} needs --yes when nobody can be asked")));
    }
    eprint!("{question}? Write '{name}' to confirm: ");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).map_err(|e| ClientError::Declined(e.to_string()))?;
    if line.trim() == name {
        Ok(())
    } else {
        Err(ClientError::Declined("not confirmed; nothing was done".into()))
    }
}

/// A time as the API has it; a date is its beginning, UTC.
fn until(text: &str) -> Result<String, String> {
    if text.parse::<jiff::Timestamp>().is_ok() {
        return Ok(text.to_owned());
    }
    match text.parse::<jiff::civil::Date>() {
        Ok(day) if text.len() == 10 => Ok(format!("{day}T00:00:00Z")),
        _ => Err("must be a time such as 2026-12-24T18:00:00Z, or a date such as 2026-12-24".to_owned()),
    }
}

fn at(id: &str) -> String {
    format!("/archives/{}", escape(id))
}

/// The first regular file of a folder's entries, for the demo.
pub fn first_file(entries: &[Value]) -> Option<&Value> {
    entries.iter().find(|e| {
        e.get("kind").and_then(Value::as_str) == Some("-")
            && e.get("size_bytes").and_then(Value::as_u64).is_some_and(|n| n > 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_ends_at_a_moment_and_a_date_is_its_beginning() {
        assert_eq!(until("2026-12-24").as_deref(), Ok("2026-12-24T00:00:00Z"));
        assert_eq!(until("2026-12-24T18:00:00+01:00").as_deref(), Ok("2026-12-24T18:00:00+01:00"));
        for wrong in ["tomorrow", "2026-13-01", "2026-12-24T18:00", ""] {
            assert!(until(wrong).is_err(), "{wrong}");
        }
    }
}
