//! What is downloaded, into a file that has its name only when it is whole.

use super::Session;
use crate::args::Output;
use crate::client::{Client, ClientError};
use crate::output;
use serde_json::{Value, json};
use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How much of a name is kept in that of a part.
const NAME_BYTES: usize = 200;
/// How often it is tried to begin, when others do so in the same moment.
const TRIES: usize = 5;

/// Asks for it and writes it.
pub async fn run(
    session: &Session,
    request: reqwest::RequestBuilder,
    to: Option<&Path>,
    force: bool,
) -> Result<(), ClientError> {
    if let Some(path) = to.filter(|path| *path != Path::new("-")) {
        is_free(path, force)?;
    }
    let mut response = session.client.open_slow(request).await?;
    if to == Some(Path::new("-")) {
        let poured = pour(&session.client, &mut response, &mut std::io::stdout()).await;
        return match poured {
            Ok(_) => Ok(()),
            Err(e) => Err(why(session, &response, e).await),
        };
    }
    let told = response.headers().get("content-disposition").and_then(|v| v.to_str().ok());
    let path = match to {
        Some(path) => path.to_owned(),
        None => told.and_then(name_in).ok_or_else(|| {
            ClientError::Usage("the server gave it no name that can be a file's: give one with --to".into())
        })?,
    };
    is_free(&path, force)?;
    let part = part_of(&path);
    let failed = |e: std::io::Error| ClientError::Other(format!("{}: {e}", part.display()));
    let mut file = begin(&part).map_err(failed)?.ok_or_else(|| {
        ClientError::Declined(format!("{} is being downloaded by another process", path.display()))
    })?;
    let written = async {
        let bytes = pour(&session.client, &mut response, &mut file).await?;
        file.sync_all().map_err(failed)?;
        // It may have come to be there meanwhile.
        is_free(&path, force)?;
        fs::rename(&part, &path).map_err(failed)?;
        Ok(bytes)
    };
    let written: Result<u64, ClientError> = written.await;
    let bytes = match written {
        Ok(bytes) => bytes,
        Err(e) => {
            // Half of it is of no use to anybody.
            let _ = fs::remove_file(&part);
            return Err(why(session, &response, e).await);
        }
    };
    match session.output {
        Output::Json => output::one(session.output, &json!({ "file": path, "size_bytes": bytes }), &[]),
        Output::Table => say!("{} ({bytes} bytes)", path.display()),
    }
    Ok(())
}

fn is_free(path: &Path, force: bool) -> Result<(), ClientError> {
    let Ok(there) = path.symlink_metadata() else { return Ok(()) };
    let message = if !there.is_file() {
        // Root can put a file in the place of /dev/null, and the machine is broken.
        format!(
            "{} is there, and is no file that could be replaced; '-' is the standard output",
            path.display()
        )
    } else if force {
        return Ok(());
    } else {
        format!("{} is there already; --force replaces it", path.display())
    };
    Err(ClientError::Declined(message))
}

async fn pour(
    client: &Client,
    response: &mut reqwest::Response,
    to: &mut impl Write,
) -> Result<u64, ClientError> {
    let mut bytes = 0;
    while let Some(piece) = client.next_bytes(response).await? {
        let piece = piece.as_ref();
        to.write_all(piece).map_err(unwritten)?;
        bytes += piece.len() as u64;
    }
    to.flush().map_err(unwritten)?;
    Ok(bytes)
}

fn unwritten(error: std::io::Error) -> ClientError {
    if error.kind() == std::io::ErrorKind::BrokenPipe {
        std::process::exit(crate::exit::UNREAD);
    }
    ClientError::Other(format!("it cannot be written: {error}"))
}

/// Why a download broke off: its job knows more than the connection.
async fn why(session: &Session, response: &reqwest::Response, error: ClientError) -> ClientError {
    let job = response.headers().get("strongroom-job").and_then(|v| v.to_str().ok());
    let (Some(job), ClientError::Unreachable { .. }) = (job, &error) else { return error };
    // Its end may be told a moment later.
    for _ in 0..10 {
        let Ok(answer) = session.client.get(&format!("/jobs/{job}")).await else { return error };
        if let Some(failure) = answer.body.get("failure").filter(|failure| !failure.is_null()) {
            let text = |name: &str| failure.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            let message =
                format!("the download broke off: {} ({}); {}", text("message"), text("code"), text("advice"));
            return ClientError::Other(message);
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    error
}

/// Its name as long as it is not whole: the same for each download to one place, so that what a killed one has left is found.
fn part_of(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // With something around it, it may be too long for one.
    let mut end = name.len().min(NAME_BYTES);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    path.with_file_name(format!(".{}.strongroom-part", name.get(..end).unwrap_or_default()))
}

/// Makes it, in the place of one that a killed download has left; nothing, when another download writes it. Whoever writes
/// it has it locked, and a lock goes with its process.
fn begin(part: &Path) -> std::io::Result<Option<File>> {
    for _ in 0..TRIES {
        match File::options().write(true).create_new(true).open(part) {
            Ok(file) => {
                // Somebody may have taken it for one that was left, before it was locked.
                if is_locked(&file) && is_at(&file, part) {
                    return Ok(Some(file));
                }
            }
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                if !part.symlink_metadata().is_ok_and(|there| there.is_file()) {
                    return Err(e);
                }
                let left = match File::open(part) {
                    Err(e) if e.kind() == ErrorKind::NotFound => continue,
                    opened => opened?,
                };
                if !is_locked(&left) {
                    return Ok(None);
                }
                if is_at(&left, part) {
                    fs::remove_file(part)?;
                }
            }
            Err(e) => return Err(e),
        }
    }
    Ok(None)
}

/// Where there are no locks, nobody is seen, and the download that comes last has the place.
fn is_locked(file: &File) -> bool {
    !matches!(file.try_lock(), Err(TryLockError::WouldBlock))
}

/// Whether it is this file that has the name.
fn is_at(file: &File, path: &Path) -> bool {
    let number = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    file.metadata().ok().map(number) == path.symlink_metadata().ok().map(number)
}

/// The plain name in a `Content-Disposition`, when it can be that of a file here.
fn name_in(disposition: &str) -> Option<PathBuf> {
    let (_, rest) = disposition.split_once("filename=\"")?;
    let (name, _) = rest.split_once('"')?;
    let usable = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\']);
    usable.then(|| PathBuf::from(name))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_server_cannot_choose_where_a_file_goes() {
        assert_eq!(name_in("attachment; filename=\"a.tar\"; filename*=UTF-8''a.tar"), Some("a.tar".into()));
        for bad in [
            "attachment",
            "attachment; filename=\"\"",
            "a; filename=\"../x\"",
            "a; filename=\".bashrc\"",
            "a; filename=\"/x\"",
        ] {
            assert_eq!(name_in(bad), None, "{bad}");
        }
        assert_eq!(part_of(Path::new("/a/b.tar")), Path::new("/a/.b.tar.strongroom-part"));
        let long = format!("/a/{}", "é".repeat(120));
        assert!(part_of(Path::new(&long)).file_name().unwrap().len() < 255);
    }

    #[test]
    fn what_a_killed_download_has_left_is_replaced_and_what_another_one_writes_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let part = part_of(&folder.path().join("b.tar"));
        fs::write(&part, "left by one that was killed").unwrap();
        let mut mine = begin(&part).unwrap().unwrap();
        mine.write_all(b"mine").unwrap();
        assert!(begin(&part).unwrap().is_none(), "somebody writes it");
        assert_eq!(fs::read_to_string(&part).unwrap(), "mine");
        drop(mine);
        assert!(begin(&part).unwrap().is_some());
        assert_eq!(fs::read_to_string(&part).unwrap(), "");
        // What somebody has put there is not followed.
        let precious = folder.path().join("precious");
        fs::write(&precious, "precious").unwrap();
        fs::remove_file(&part).unwrap();
        std::os::unix::fs::symlink(&precious, &part).unwrap();
        assert!(begin(&part).is_err());
        assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
