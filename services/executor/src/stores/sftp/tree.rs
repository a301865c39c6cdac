//! Folders there: made, looked through, told from files.

use super::connection::Connection;
use super::{Shared, is_absent};
use russh_sftp::client::error::Error;
use russh_sftp::protocol::{FileAttributes, StatusCode};

/// Kinds of files, as the mode says them (`man 7 inode`).
const KIND: u32 = 0o170_000;
/// A folder.
pub const FOLDER: u32 = 0o040_000;
/// A file.
pub const FILE: u32 = 0o100_000;

/// Compared as a whole: the bits of a link hold those of a file.
pub fn is_of_kind(attributes: &FileAttributes, kind: u32) -> bool {
    attributes.permissions.is_some_and(|mode| mode & KIND == kind)
}

impl Shared {
    /// Makes the folders above a path, down from that of the destination.
    pub async fn make_folders(&self, connection: &Connection, path: &str) -> Result<(), Error> {
        let Some(below) = path.strip_prefix(&self.root) else { return Ok(()) };
        let ends = below.match_indices('/').map(|(at, _)| at).filter(|at| *at > 0);
        for end in ends {
            let folder = format!("{}{}", self.root, below.get(..end).unwrap_or_default());
            let private = FileAttributes { permissions: Some(0o700), ..FileAttributes::empty() };
            if let Err(e) = connection.session.mkdir(&folder, private).await {
                // The protocol has no word for what is there already.
                match connection.session.stat(&folder).await {
                    Ok(there) if is_of_kind(&there.attrs, FOLDER) => {}
                    _ => return Err(e),
                }
            }
        }
        Ok(())
    }

    /// What a folder holds; nothing, where there is none.
    async fn entries(
        &self,
        connection: &Connection,
        folder: &str,
    ) -> Result<Vec<(String, FileAttributes)>, Error> {
        let handle = match connection.session.opendir(folder).await {
            Err(e) if is_absent(&e) => return Ok(Vec::new()),
            opened => opened?.handle,
        };
        let mut found = Vec::new();
        let ended = loop {
            match connection.session.readdir(&handle).await {
                Ok(entries) => {
                    found.extend(entries.files.into_iter().map(|file| (file.filename, file.attrs)))
                }
                Err(Error::Status(status)) if status.status_code == StatusCode::Eof => break Ok(()),
                Err(e) => break Err(e),
            }
        };
        let closed = connection.session.close(handle).await;
        ended?;
        closed?;
        found.retain(|(name, _)| name != "." && name != "..");
        Ok(found)
    }

    /// All files below a folder, then all folders, each before the one that it is in.
    pub async fn walk(
        &self,
        connection: &Connection,
        name: &str,
    ) -> Result<(Vec<(String, FileAttributes)>, Vec<String>), Error> {
        let (mut files, mut folders, mut next) = (Vec::new(), vec![name.to_owned()], 0);
        while let Some(folder) = folders.get(next).cloned() {
            next += 1;
            for (last, attributes) in self.entries(connection, &self.path(&folder)).await? {
                let name = format!("{folder}/{last}");
                if is_of_kind(&attributes, FOLDER) {
                    folders.push(name);
                } else {
                    files.push((name, attributes));
                }
            }
        }
        folders.reverse();
        Ok((files, folders))
    }
}
