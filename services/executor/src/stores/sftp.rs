//! Objects as files of a folder of another machine, over SFTP.
//!
//! A file gets its name when the server has all of it, and has brought it to its disk where it can be asked to; a name that
//! is there is never taken: OpenSSH renames by a second name, which is refused where there is one (sftp-server.c). That a
//! folder is on the disk cannot be asked for, so a power cut there, in the moments after, may take names back.
//!
//! The folder of the destination itself is not made: where it is missing, its disk may not be mounted.

mod connection;
mod reading;
mod tree;
mod upload;

use super::{Ground, Object, Store, Upload};
use age::secrecy::SecretString;
use async_trait::async_trait;
use bytes::Bytes;
use connection::{Connection, Way};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use reading::{Read, read};
use russh_sftp::client::error::Error;
use russh_sftp::protocol::{FileAttributes, OpenFlags, StatusCode};
use std::sync::Arc;
use strongroom_domain::destination::{Location, Sftp};
use strongroom_domain::probe::Space;
use strongroom_domain::{Failure, FailureCode};
use tokio::sync::{Mutex, mpsc};
use tree::{FILE, FOLDER, is_of_kind};

/// How the name of a file ends that is not whole.
const PARTIAL: &str = ".partial";
/// How many requests are on their way at once; with what each carries, 2 MiB.
const FLYING: usize = 16;

/// The folder of a repository, there.
pub struct Folder(Arc<Shared>);

struct Shared {
    place: String,
    way: Way,
    /// The folder of the destination.
    root: String,
    /// The folder of the repository.
    folder: String,
    connection: Mutex<Option<Arc<Connection>>>,
}

impl Folder {
    /// The folder of a repository at a destination; nothing is asked of it so far.
    pub fn at(
        sftp: &Sftp,
        below: &str,
        secret: Option<&SecretString>,
        ground: &Ground<'_>,
    ) -> Result<Self, Failure> {
        let place = Location::Sftp(sftp.clone()).place();
        let way = Way::prepare(sftp, secret, ground.private, ground.children).map_err(|e| {
            Failure::new(FailureCode::Unknown, format!("{place}: the node cannot keep what ssh needs: {e}"))
        })?;
        let root = sftp.path.trim_end_matches('/').to_owned();
        Ok(Self(Arc::new(Shared {
            place,
            way,
            root,
            folder: below.trim_end_matches('/').to_owned(),
            connection: Mutex::new(None),
        })))
    }
}

impl Shared {
    /// The connection that there is, or a new one.
    async fn connection(&self) -> Result<Arc<Connection>, Failure> {
        let mut kept = self.connection.lock().await;
        if let Some(connection) = kept.as_ref().filter(|connection| !connection.is_over()) {
            return Ok(connection.clone());
        }
        let connection = Connection::open(&self.way).await.map_err(|failure| self.of(failure))?;
        match connection.session.stat(&self.root).await {
            Ok(there) if is_of_kind(&there.attrs, FOLDER) => {}
            Ok(_) => return Err(self.missing("is no folder")),
            Err(e) if is_absent(&e) => return Err(self.missing("is not there")),
            Err(e) => return Err(self.of(connection.failed("look for the folder", &e).await)),
        }
        let connection = Arc::new(connection);
        *kept = Some(connection.clone());
        Ok(connection)
    }

    fn missing(&self, why: &str) -> Failure {
        let message = format!("{}: the folder {why}; is its disk mounted?", self.place);
        Failure::new(FailureCode::DestinationMissing, message)
    }

    /// A failure of this place.
    fn of(&self, failure: Failure) -> Failure {
        Failure { message: format!("{}: {}", self.place, failure.message), ..failure }
    }

    async fn failed(&self, connection: &Connection, doing: &str, error: &Error) -> Failure {
        self.of(connection.failed(doing, error).await)
    }

    async fn failed_to_store(&self, connection: &Connection, name: &str, error: &Error) -> Failure {
        self.of(connection.failed_to_store(&format!("write '{name}'"), &self.root, error).await)
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.folder)
    }

    /// A new file, in folders that are made for it.
    async fn open_new(&self, connection: &Connection, path: &str) -> Result<String, Error> {
        let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::EXCLUDE;
        let private = FileAttributes { permissions: Some(0o600), ..FileAttributes::empty() };
        match connection.session.open(path, flags, private.clone()).await {
            Err(e) if is_absent(&e) => {
                self.make_folders(connection, path).await?;
                Ok(connection.session.open(path, flags, private).await?.handle)
            }
            opened => Ok(opened?.handle),
        }
    }

    /// Gives a file its name, unless another has it, and says whether it did.
    async fn name_it(&self, connection: &Connection, aside: &str, path: &str) -> Result<bool, Error> {
        let Err(e) = connection.session.rename(aside, path).await else { return Ok(true) };
        if !matches!(e, Error::Status(_)) {
            return Err(e);
        }
        match connection.session.lstat(path).await {
            Ok(_) => Ok(false),
            Err(_) => Err(e),
        }
    }
}

#[async_trait]
impl Store for Folder {
    async fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, Failure> {
        let connection = self.0.connection().await?;
        let (give, mut come) = mpsc::channel(1);
        let reading = read(&connection, self.0.path(name), Some(limit), give);
        let collecting = async {
            let mut bytes = Vec::new();
            while let Some(piece) = come.recv().await {
                bytes.extend_from_slice(&piece);
            }
            bytes
        };
        match tokio::join!(reading, collecting) {
            (Ok(Read::Whole), bytes) => Ok(Some(bytes)),
            (Ok(Read::Absent), _) => Ok(None),
            (Ok(Read::TooLarge(size)), _) => {
                let message =
                    format!("{}: '{name}' has {size} bytes, and at most {limit} were expected", self.0.place);
                Err(Failure::new(FailureCode::DestinationError, message))
            }
            (Err(e), _) => Err(self.0.failed(&connection, &format!("read '{name}'"), &e).await),
        }
    }

    async fn create(&self, name: &str, bytes: Vec<u8>) -> Result<bool, Failure> {
        let connection = self.0.connection().await?;
        let path = self.0.path(name);
        // Two may do so at once.
        let aside = format!("{path}.{}{PARTIAL}", uuid::Uuid::now_v7().simple());
        let creating = async {
            let handle = self.0.open_new(&connection, &aside).await?;
            let step = connection.step_bytes as usize;
            let (mut flying, mut written) = (FuturesUnordered::new(), Ok(()));
            for (n, piece) in bytes.chunks(step).enumerate() {
                if flying.len() >= FLYING && written.is_ok() {
                    written = flying.next().await.unwrap_or(Ok(()));
                }
                if written.is_err() {
                    break;
                }
                let writing = connection.session.write(&handle, (n * step) as u64, piece.to_vec());
                flying.push(async { writing.await.map(|_| ()) });
            }
            while let Some(ended) = flying.next().await {
                written = written.and(ended);
            }
            drop(flying);
            if written.is_ok() && connection.syncs {
                written = connection.session.fsync(&handle).await.map(|_| ());
            }
            let closed = connection.session.close(handle).await;
            written?;
            closed?;
            self.0.name_it(&connection, &aside, &path).await
        };
        let created = creating.await;
        if !matches!(created, Ok(true)) {
            // It was never opened, or the connection is gone: then `clear` removes it.
            let _ = connection.session.remove(&aside).await;
        }
        match created {
            Ok(created) => Ok(created),
            Err(e) => Err(self.0.failed_to_store(&connection, name, &e).await),
        }
    }

    async fn upload(&self, name: &str, _expected_bytes: Option<u64>) -> Result<Box<dyn Upload>, Failure> {
        let connection = self.0.connection().await?;
        let path = self.0.path(name);
        let aside = format!("{path}{PARTIAL}");
        for there in [&path, &aside] {
            if connection.session.lstat(there).await.is_ok() {
                let message = format!("{}: '{there}' is there already", self.0.place);
                return Err(Failure::new(FailureCode::TargetExists, message));
            }
        }
        match self.0.open_new(&connection, &aside).await {
            Ok(handle) => {
                Ok(Box::new(upload::Uploading::new(self.0.clone(), connection, name.to_owned(), handle)))
            }
            Err(e) => Err(self.0.failed_to_store(&connection, name, &e).await),
        }
    }

    async fn fetch(&self, name: &str, give: mpsc::Sender<Bytes>) -> Result<bool, Failure> {
        let connection = self.0.connection().await?;
        match read(&connection, self.0.path(name), None, give).await {
            Ok(read) => Ok(!matches!(read, Read::Absent)),
            Err(e) => Err(self.0.failed(&connection, &format!("read '{name}'"), &e).await),
        }
    }

    async fn list(&self, below: &str) -> Result<Vec<Object>, Failure> {
        let connection = self.0.connection().await?;
        let (files, _) = match self.0.walk(&connection, below).await {
            Ok(found) => found,
            Err(e) => return Err(self.0.failed(&connection, &format!("list '{below}'"), &e).await),
        };
        let mut objects: Vec<Object> = files
            .into_iter()
            // What is not text comes with a sign in its place, and is none of ours.
            .filter(|(name, a)| is_of_kind(a, FILE) && !name.ends_with(PARTIAL) && !name.contains('\u{fffd}'))
            .map(|(name, attributes)| Object { name, size_bytes: attributes.size.unwrap_or_default() })
            .collect();
        objects.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(objects)
    }

    async fn delete(&self, name: &str) -> Result<(), Failure> {
        let connection = self.0.connection().await?;
        match connection.session.remove(self.0.path(name)).await {
            Err(e) if !is_absent(&e) => {
                Err(self.0.failed(&connection, &format!("delete '{name}'"), &e).await)
            }
            _ => Ok(()),
        }
    }

    async fn clear_partial(&self, below: &str) -> Result<(), Failure> {
        let connection = self.0.connection().await?;
        let clearing = async {
            let (files, _) = self.0.walk(&connection, below).await?;
            for (name, _) in files.into_iter().filter(|(name, _)| name.ends_with(PARTIAL)) {
                absent_is_fine(connection.session.remove(self.0.path(&name)).await.map(|_| ()))?;
            }
            Ok(())
        };
        match clearing.await {
            Ok(()) => Ok(()),
            Err(e) => Err(self.0.failed(&connection, &format!("clear '{below}'"), &e).await),
        }
    }

    async fn space(&self) -> Result<Option<Space>, Failure> {
        let connection = self.0.connection().await?;
        Ok(connection.space(&self.0.root).await)
    }

    async fn clear(&self, below: &str) -> Result<(), Failure> {
        let connection = self.0.connection().await?;
        let clearing = async {
            let (files, folders) = self.0.walk(&connection, below).await?;
            for (name, _) in files {
                absent_is_fine(connection.session.remove(self.0.path(&name)).await.map(|_| ()))?;
            }
            for name in folders {
                absent_is_fine(connection.session.rmdir(self.0.path(&name)).await.map(|_| ()))?;
            }
            Ok(())
        };
        match clearing.await {
            Ok(()) => Ok(()),
            Err(e) => Err(self.0.failed(&connection, &format!("clear '{below}'"), &e).await),
        }
    }
}

fn is_absent(error: &Error) -> bool {
    matches!(error, Error::Status(status) if status.status_code == StatusCode::NoSuchFile)
}

fn absent_is_fine(done: Result<(), Error>) -> Result<(), Error> {
    match done {
        Err(e) if is_absent(&e) => Ok(()),
        done => done,
    }
}
