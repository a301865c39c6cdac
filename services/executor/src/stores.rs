//! Where the objects of dump stores lie: a file each below this one, and a line in [`open`].
//!
//! The accident that these files prevent: an object that was half written when its writer died, and that looks whole. An
//! object has no name before all of it is where it will be, and the destination has said that it is.

mod cloud;
mod local;
mod sftp;

use age::secrecy::SecretString;
use async_trait::async_trait;
use bytes::Bytes;
use std::path::Path;
use strongroom_domain::Failure;
use strongroom_domain::destination::Location;
use strongroom_domain::probe::Space;
use tokio::sync::mpsc;

/// A place for objects. Names are parts of plain characters with `/` between them, below the repository.
#[async_trait]
pub trait Store: Send + Sync {
    /// A small object as a whole; `None` when there is none. One of more than `limit` bytes is a failure.
    async fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, Failure>;

    /// Writes a small object unless there is one of this name, and says whether it did. Of two that write at the same
    /// moment, one is told so.
    async fn create(&self, name: &str, bytes: Vec<u8>) -> Result<bool, Failure>;

    /// Writes a small object whose name follows from what is in it: whoever else writes one of this name writes the same, or
    /// what serves as well.
    async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), Failure> {
        self.create(name, bytes).await.map(|_| ())
    }

    /// Begins an object of any size; nobody else writes one of this name. `expected_bytes` is a guess.
    async fn upload(&self, name: &str, expected_bytes: Option<u64>) -> Result<Box<dyn Upload>, Failure>;

    /// Gives an object piece by piece, until nobody takes them; says whether there is one.
    async fn fetch(&self, name: &str, give: mpsc::Sender<Bytes>) -> Result<bool, Failure>;

    /// All objects whose names begin with this and a `/`, in the order of their names.
    async fn list(&self, below: &str) -> Result<Vec<Object>, Failure>;

    /// Removes an object; one that is not there is as good as removed.
    async fn delete(&self, name: &str) -> Result<(), Failure>;

    /// Why an object may not be removed yet, where the destination says so: it would take a deletion, hide the object, and
    /// keep its bytes.
    async fn locked(&self, _name: &str) -> Result<Option<Failure>, Failure> {
        Ok(None)
    }

    /// Removes all that is below this name, also what was never whole.
    async fn clear(&self, below: &str) -> Result<(), Failure>;

    /// Removes what was never whole below this name. Where such a thing has a place, whoever is at it there fails.
    async fn clear_partial(&self, below: &str) -> Result<(), Failure>;

    /// How much room there is, where that can be known.
    async fn space(&self) -> Result<Option<Space>, Failure> {
        Ok(None)
    }
}

/// The room at a folder of the node, where that can be seen.
pub fn room_of(folder: &Path) -> Option<Space> {
    local::room(folder).ok()
}

/// An object that comes to be. Dropped, nothing of it is seen; what it has taken is freed by [`Store::clear`] at the latest.
#[async_trait]
pub trait Upload: Send {
    /// Takes on a piece, when there is room for it.
    async fn write(&mut self, piece: Bytes) -> Result<(), Failure>;

    /// All of it was given: waits until it is stored, and gives it its name.
    async fn finish(self: Box<Self>) -> Result<(), Failure>;

    /// Removes what was stored of it.
    async fn abort(self: Box<Self>);
}

/// An object in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its name, below the repository.
    pub name: String,
    /// Its bytes.
    pub size_bytes: u64,
}

/// What a store needs on the node.
pub struct Ground<'a> {
    /// A private folder that is removed with the job: for what programs must be given as a file.
    pub private: &'a Path,
    /// A private folder that outlives the executor: for what must be remembered to be cleaned.
    pub notes: &'a Path,
    /// Where children are noted.
    pub children: &'a Path,
}

/// The store at a place, below this path or beginning of names; nothing is asked of it so far.
pub async fn open(
    place: &Location,
    below: &str,
    secret: Option<SecretString>,
    ground: &Ground<'_>,
) -> Result<Box<dyn Store>, Failure> {
    let secret = secret.as_ref();
    match place {
        Location::Local(_) => Ok(Box::new(local::Local::at(below))),
        Location::Sftp(sftp) => Ok(Box::new(sftp::Folder::at(sftp, below, secret, ground)?)),
        Location::S3(s3) => cloud::open(place, cloud::s3::service(s3, secret), below, secret, ground),
        Location::Gcs(gcs) => cloud::open(place, cloud::gcs::service(gcs, secret), below, secret, ground),
        Location::Azure(azure) => {
            cloud::open(place, cloud::azure::service(azure, secret), below, secret, ground)
        }
    }
}
