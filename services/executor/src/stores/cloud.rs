//! Objects of S3, of what speaks like it, of Google Cloud Storage and of Azure Blob Storage.
//!
//! An object is there when the service has said so: a small one is sent at once, a large one in parts that nobody sees
//! before the last request joins them. Parts of an upload that came to no end are given up by its note ([`notes`]), before
//! the next thing is written at that place, and by [`Store::clear`].
//!
//! Memory of an upload: three parts at most, two on their way and one that is filled, of 8 MiB for what is expected to have
//! less than about 55 GiB, and about 150 MiB for each TiB above.

pub mod azure;
mod failure;
pub mod gcs;
mod http;
mod notes;
pub mod s3;
mod upload;

use super::{Ground, Object, Store, Upload};
use age::secrecy::SecretString;
use async_trait::async_trait;
use bytes::Bytes;
use failure::Teller;
use futures::{StreamExt, TryStreamExt};
use notes::{Noted, Notes};
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, BackoffConfig, Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode,
    PutOptions, PutPayload, RetryConfig,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use strongroom_domain::destination::Location;
use strongroom_domain::{Failure, FailureCode};
use tokio::sync::{OnceCell, mpsc};

/// After this, nothing is tried again. A request that stalls is given up 30 s later.
const TRYING: Duration = Duration::from_secs(40);
/// How often a fetch goes on where it broke off, without a byte in between.
const FETCHES: u32 = 4;
/// How often a small object is tried again that the service was at work on at that moment.
const CREATES: u32 = 5;
/// How many objects are deleted at once.
const DELETES: usize = 8;
/// What says who has made an object.
const WRITER: &str = "writer";

/// What can be done about a lock.
const LOCKED: &str = "Wait until then, and let retention keep archives for at least as long as they are locked. In the mode 'governance', \
     whoever has the right s3:BypassGovernanceRetention can remove versions of objects with the service's own tools.";

/// What is asked of the client of a service.
trait Client: ObjectStore + MultipartStore {}
impl<T: ObjectStore + MultipartStore> Client for T {}

/// How a service is reached.
pub struct Service {
    client: Arc<dyn Client>,
    /// The same, whose objects are locked from when they are written; where that is asked for.
    locking: Option<Locking>,
    /// It says of an object until when it is locked.
    tells_locks: bool,
    /// In which class large objects are stored; small ones are read often.
    storage_class: Option<String>,
    /// It is known to refuse a name that is there, when asked to. Others are tried out.
    knows_conditions: bool,
}

/// What writes objects with a lock: each way of writing is asked for it in other words.
struct Locking {
    whole: Arc<dyn Client>,
    in_parts: Arc<dyn Client>,
}

impl Service {
    /// With what objects are written that are sent at once.
    fn writing(&self) -> &dyn Client {
        self.locking.as_ref().map_or(&*self.client, |locking| &*locking.whole)
    }

    /// With what those are begun that are sent in parts.
    fn beginning(&self) -> &dyn Client {
        self.locking.as_ref().map_or(&*self.client, |locking| &*locking.in_parts)
    }
}

/// A bucket or container, and what the names in it begin with.
struct Cloud(Arc<Shared>);

struct Shared {
    service: Service,
    below: String,
    place: String,
    notes: Notes,
    teller: Teller,
    tidied: OnceCell<()>,
    conditions_seen: AtomicBool,
}

/// The objects at a place whose names begin with this.
pub fn open(
    place: &Location,
    service: object_store::Result<Service>,
    below: &str,
    secret: Option<&SecretString>,
    ground: &Ground<'_>,
) -> Result<Box<dyn Store>, Failure> {
    let teller = Teller::new(place, secret);
    let service = service.map_err(|e| match e {
        // What is wrong with the words in which it was asked for: of a key, mostly.
        Error::Generic { source, .. } => {
            teller.say(FailureCode::DestinationDenied, &format!("its credentials cannot be used: {source}"))
        }
        e => teller.failed("open it", &e),
    })?;
    Ok(Box::new(Cloud(Arc::new(Shared {
        service,
        below: below.trim_matches('/').to_owned(),
        place: place.place(),
        notes: Notes::at(ground.notes),
        teller,
        tidied: OnceCell::new(),
        conditions_seen: AtomicBool::new(false),
    }))))
}

/// How often, and how long, requests are tried again.
fn retries() -> RetryConfig {
    let backoff = BackoffConfig {
        init_backoff: Duration::from_millis(200),
        max_backoff: Duration::from_secs(8),
        base: 2.0,
    };
    RetryConfig { backoff, max_retries: 10, retry_timeout: TRYING }
}

#[async_trait]
impl Store for Cloud {
    async fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, Failure> {
        let Shared { service, teller, .. } = &*self.0;
        let doing = format!("read '{name}'");
        let got = match service.client.get_opts(&self.0.path(name)?, GetOptions::default()).await {
            Err(e) if teller.is_absent(&e) => return Ok(None),
            got => got.map_err(|e| teller.failed(&doing, &e))?,
        };
        if got.meta.size > limit {
            let words = format!("'{name}' has {} bytes, and at most {limit} were expected", got.meta.size);
            return Err(teller.say(FailureCode::DestinationError, &words));
        }
        let bytes = got.bytes().await.map_err(|e| teller.failed(&doing, &e))?;
        Ok(Some(bytes.into()))
    }

    async fn create(&self, name: &str, bytes: Vec<u8>) -> Result<bool, Failure> {
        let shared = &*self.0;
        shared.tidy().await;
        let path = shared.path(name)?;
        let bytes = Bytes::from(bytes);
        let created = shared.create(&path, &bytes).await?;
        let sure = shared.service.knows_conditions || shared.conditions_seen.load(Ordering::Relaxed);
        if created && !sure {
            // A service that does not know the condition passes over it, and would let two in: it takes the same again.
            if shared.create(&path, &bytes).await? {
                let _ = shared.service.client.delete(&path).await;
                return Err(shared.teller.unconditional());
            }
            shared.conditions_seen.store(true, Ordering::Relaxed);
        }
        Ok(created)
    }

    /// Without a condition: a second one takes the place of the first whole, and serves as well.
    async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), Failure> {
        self.0.tidy().await;
        let mut uploading =
            upload::Uploading::new(self.0.clone(), self.0.path(name)?, Some(bytes.len() as u64));
        uploading.write(bytes.into()).await?;
        Box::new(uploading).finish().await
    }

    async fn upload(&self, name: &str, expected_bytes: Option<u64>) -> Result<Box<dyn Upload>, Failure> {
        let Shared { service, teller, .. } = &*self.0;
        self.0.tidy().await;
        let path = self.0.path(name)?;
        match service.client.head(&path).await {
            Err(e) if teller.is_absent(&e) => {}
            Err(e) => return Err(teller.failed(&format!("look for '{name}'"), &e)),
            Ok(_) => return Err(teller.say(FailureCode::TargetExists, &format!("'{name}' is there already"))),
        }
        Ok(Box::new(upload::Uploading::new(self.0.clone(), path, expected_bytes)))
    }

    async fn fetch(&self, name: &str, give: mpsc::Sender<Bytes>) -> Result<bool, Failure> {
        let Shared { service, teller, .. } = &*self.0;
        let path = self.0.path(name)?;
        let doing = format!("read '{name}'");
        let (mut given, mut tag, mut tries) = (0, None, 0);
        loop {
            // It goes on where it broke off, if it is the same object still.
            let range = (given > 0).then_some(GetRange::Offset(given));
            let options = GetOptions { range, if_match: tag.clone(), ..GetOptions::default() };
            let got = match service.client.get_opts(&path, options).await {
                Err(e) if given == 0 && teller.is_absent(&e) => return Ok(false),
                got => got.map_err(|e| teller.failed(&doing, &e))?,
            };
            let size = got.meta.size;
            tag = got.meta.e_tag.clone();
            let mut pieces = got.into_stream();
            let broken = loop {
                match pieces.next().await {
                    None if given == size => return Ok(true),
                    None => break None,
                    Some(Err(e)) => break Some(e),
                    Some(Ok(piece)) => {
                        given += piece.len() as u64;
                        tries = 0;
                        if give.send(piece).await.is_err() {
                            return Ok(true);
                        }
                    }
                }
            };
            tries += 1;
            if tries > FETCHES || given == size || tag.is_none() {
                let words = format!("'{name}' broke off after {given} of {size} bytes");
                let failure = teller.say(FailureCode::DestinationUnreachable, &words);
                return Err(broken.map_or(failure, |e| teller.failed(&doing, &e)));
            }
        }
    }

    async fn list(&self, below: &str) -> Result<Vec<Object>, Failure> {
        let Shared { service, teller, .. } = &*self.0;
        let prefix = self.0.path(below)?;
        let listed = service
            .client
            .list(Some(&prefix))
            .map_ok(|meta| Object { name: self.0.name(&meta.location).to_owned(), size_bytes: meta.size });
        let mut objects: Vec<Object> =
            listed.try_collect().await.map_err(|e| teller.failed(&format!("list '{below}'"), &e))?;
        objects.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(objects)
    }

    async fn delete(&self, name: &str) -> Result<(), Failure> {
        let Shared { service, teller, .. } = &*self.0;
        let error = match service.client.delete(&self.0.path(name)?).await {
            Ok(()) => return Ok(()),
            Err(e) if teller.is_absent(&e) => return Ok(()),
            Err(e) => e,
        };
        let failure = teller.failed(&format!("delete '{name}'"), &error);
        match self.locked(name).await {
            Ok(Some(locked)) if failure.code == FailureCode::DestinationDenied => {
                Err(Failure { message: format!("{}; {}", failure.message, locked.message), ..locked })
            }
            _ => Err(failure),
        }
    }

    async fn locked(&self, name: &str) -> Result<Option<Failure>, Failure> {
        let Shared { service, teller, .. } = &*self.0;
        if !service.tells_locks {
            return Ok(None);
        }
        let got = service.client.get_opts(&self.0.path(name)?, GetOptions::new().with_head(true)).await;
        let got = match got {
            Err(e) if teller.is_absent(&e) => return Ok(None),
            got => got.map_err(|e| teller.failed(&format!("look for '{name}'"), &e))?,
        };
        let lock = got.extensions.get::<http::Lock>();
        Ok(lock.and_then(|lock| lock.words(strongroom_service::clock::now())).map(|words| {
            let failure = teller.say(FailureCode::DestinationDenied, &format!("'{name}' {words}"));
            Failure { advice: LOCKED.to_owned(), ..failure }
        }))
    }

    async fn clear(&self, below: &str) -> Result<(), Failure> {
        self.clear_partial(below).await?;
        let objects = self.list(below).await?.into_iter();
        let deleting = objects.map(|object| async move { self.delete(&object.name).await });
        futures::stream::iter(deleting).buffer_unordered(DELETES).try_collect().await
    }

    async fn clear_partial(&self, below: &str) -> Result<(), Failure> {
        let shared = &*self.0;
        let prefix = shared.path(below)?;
        let prefix = format!("{prefix}/");
        for (note, noted) in shared.left_behind()? {
            if noted.object.starts_with(&prefix) {
                let given_up = shared.give_up(&noted).await;
                given_up
                    .map_err(|e| shared.teller.failed(&format!("give up an upload below '{below}'"), &e))?;
                note.done();
            }
        }
        Ok(())
    }
}

impl Shared {
    fn path(&self, name: &str) -> Result<Path, Failure> {
        let whole = if self.below.is_empty() { name.to_owned() } else { format!("{}/{name}", self.below) };
        let odd =
            |_| self.teller.say(FailureCode::DestinationError, &format!("'{name}' is no name of an object"));
        Path::parse(whole).map_err(odd)
    }

    fn name<'a>(&self, path: &'a Path) -> &'a str {
        let name = path.as_ref().strip_prefix(&self.below).unwrap_or(path.as_ref());
        name.trim_start_matches('/')
    }

    /// Writes an object unless it is there. A request whose answer was lost is asked about by whoever it names as writer.
    async fn create(&self, path: &Path, bytes: &Bytes) -> Result<bool, Failure> {
        let doing = format!("write '{}'", self.name(path));
        let writer = uuid::Uuid::now_v7().simple().to_string();
        let attributes = Attributes::from_iter([(Attribute::Metadata(WRITER.into()), writer.clone())]);
        let mut tries = 0;
        loop {
            tries += 1;
            let options =
                PutOptions { mode: PutMode::Create, attributes: attributes.clone(), ..PutOptions::default() };
            let put = self.service.writing().put_opts(path, PutPayload::from(bytes.clone()), options).await;
            let error = match put {
                Ok(_) => return Ok(true),
                Err(e) if self.teller.is_unknown_to_it(&e) => return Err(self.teller.unconditional()),
                Err(e) => e,
            };
            if !matches!(error, Error::AlreadyExists { .. })
                && self.teller.code(&error) != FailureCode::DestinationUnreachable
            {
                return Err(self.teller.failed(&doing, &error));
            }
            let there = self.service.client.get_opts(path, GetOptions::new().with_head(true)).await;
            match there {
                Ok(there) => {
                    let by = there.attributes.get(&Attribute::Metadata(WRITER.into()));
                    return Ok(by.is_some_and(|by| by.as_ref() == writer));
                }
                // Another one was at it at the same moment, and neither has written it.
                Err(e) if self.teller.is_absent(&e) && tries < CREATES => {
                    tokio::time::sleep(Duration::from_millis(200) * tries).await;
                }
                Err(e) if self.teller.is_absent(&e) => return Err(self.teller.failed(&doing, &error)),
                Err(e) => return Err(self.teller.failed(&doing, &e)),
            }
        }
    }

    /// Gives up what an earlier life has left at this place, once. What cannot be given up now is tried the next time.
    async fn tidy(&self) {
        let tidied = self.tidied.get_or_init(async || {
            let left = self.left_behind().unwrap_or_else(|e| {
                tracing::warn!(error = %e.message, "uploads that were left behind are not known");
                Vec::new()
            });
            for (note, noted) in left {
                match self.give_up(&noted).await {
                    Ok(()) => note.done(),
                    Err(e) => {
                        let failure = self.teller.failed("give up an upload", &e);
                        tracing::warn!(error = %failure.message, object = noted.object, "an upload that was left behind was not given up");
                    }
                }
            }
        });
        tidied.await;
    }

    fn left_behind(&self) -> Result<Vec<(notes::Note, Noted)>, Failure> {
        let left = self.notes.left_behind(&self.place);
        left.map_err(|e| Failure::new(FailureCode::Unknown, format!("the notes of uploads: {e}")))
    }

    async fn give_up(&self, noted: &Noted) -> object_store::Result<()> {
        let path = Path::parse(&noted.object)?;
        match self.service.client.abort_multipart(&path, &noted.upload_id).await {
            Err(e) if self.teller.is_absent(&e) => Ok(()),
            given_up => given_up,
        }
    }
}
