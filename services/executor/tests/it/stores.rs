//! The places of dump stores: what all of them keep to, held against a real server or an emulator of each, and what is
//! each one's own in a file of its own.

mod azure;
mod gcs;
mod s3;
mod sftp;

use bytes::Bytes;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::time::{Duration, Instant};
use strongroom_domain::destination::Location;
use strongroom_domain::{Failure, FailureCode};
use strongroom_executor::stores::{Ground, Store, open};
use tokio::sync::mpsc;

/// A node with its folders.
pub struct Node(tempfile::TempDir);

impl Node {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["private", "notes", "children"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        Self(folder)
    }

    /// The store at a place, as a job of this node opens it.
    pub async fn try_open(&self, place: Value, secret: Option<&str>) -> Result<Box<dyn Store>, Failure> {
        let place: Location = serde_json::from_value(place).unwrap();
        let below = place.repository_path(&"db1".parse().unwrap(), &"dumps".parse().unwrap());
        let [private, notes, children] =
            ["private", "notes", "children"].map(|name| self.0.path().join(name));
        let ground = Ground { private: &private, notes: &notes, children: &children };
        open(&place, &below, secret.map(Into::into), &ground).await
    }

    pub async fn open(&self, place: Value, secret: Option<&str>) -> Box<dyn Store> {
        self.try_open(place, secret).await.unwrap()
    }

    /// What is noted of uploads that have not ended.
    pub fn notes(&self) -> usize {
        std::fs::read_dir(self.0.path().join("notes")).unwrap().count()
    }
}

/// Bytes that cannot be compressed, the same for the same seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Stores an object in pieces of odd sizes.
pub async fn store(store: &dyn Store, name: &str, bytes: &[u8]) -> Result<(), Failure> {
    let mut upload = store.upload(name, Some(bytes.len() as u64)).await?;
    for piece in bytes.chunks(777_777) {
        if let Err(e) = upload.write(Bytes::copy_from_slice(piece)).await {
            upload.abort().await;
            return Err(e);
        }
    }
    upload.finish().await
}

/// An object as it comes back; `None` when there is none.
pub async fn fetched(store: &dyn Store, name: &str) -> Option<Vec<u8>> {
    let (give, mut come) = mpsc::channel(2);
    let collecting = async {
        let mut bytes = Vec::new();
        while let Some(piece) = come.recv().await {
            bytes.extend(piece);
        }
        bytes
    };
    let (there, bytes) = tokio::join!(store.fetch(name, give), collecting);
    there.unwrap().then_some(bytes)
}

pub async fn listed(store: &dyn Store, below: &str) -> Vec<(String, u64)> {
    store.list(below).await.unwrap().into_iter().map(|o| (o.name, o.size_bytes)).collect()
}

/// What every place keeps to.
pub async fn keeps_to_the_rules(store: &dyn Store) {
    let named = |names: &[(&str, u64)]| names.iter().map(|(n, s)| ((*n).to_owned(), *s)).collect::<Vec<_>>();
    // Nothing is there, and nothing of that is an error.
    assert_eq!(listed(store, "archives").await, []);
    assert_eq!(store.read("repository.json", 99).await.unwrap(), None);
    assert_eq!(fetched(store, "archives/a/data").await, None);
    store.delete("archives/a/data").await.unwrap();
    store.clear("archives/a").await.unwrap();

    // An object is seen when it is whole.
    let mut upload = store.upload("archives/b/data", None).await.unwrap();
    upload.write(Bytes::from_static(b"12")).await.unwrap();
    upload.write(Bytes::from_static(b"345")).await.unwrap();
    assert_eq!(listed(store, "archives").await, []);
    assert_eq!(store.read("archives/b/data", 9).await.unwrap(), None);
    upload.finish().await.unwrap();
    assert_eq!(store.read("archives/b/data", 5).await.unwrap().unwrap(), b"12345");
    let too_much = store.read("archives/b/data", 4).await.unwrap_err();
    assert!(too_much.message.contains("archives/b/data"), "{}", too_much.message);
    assert_eq!(fetched(store, "archives/b/data").await.unwrap(), b"12345");
    store.upload("archives/b/empty", None).await.unwrap().finish().await.unwrap();
    assert_eq!(fetched(store, "archives/b/empty").await.unwrap(), b"");

    // Nothing is overwritten.
    let again = async { store.upload("archives/b/data", None).await?.finish().await };
    assert_eq!(again.await.unwrap_err().code, FailureCode::TargetExists);
    assert_eq!(store.read("archives/b/data", 5).await.unwrap().unwrap(), b"12345");

    // Names are listed in their order, from whole parts on.
    for name in ["archives/b/data-2", "archives/ab", "archives/a/data", "archives2", "archives/c.d/E_f-1"] {
        assert!(store.create(name, name.as_bytes().to_vec()).await.unwrap(), "{name}");
        assert!(!store.create(name, b"other".to_vec()).await.unwrap(), "{name}");
    }
    let all = [
        ("archives/a/data", 15),
        ("archives/ab", 11),
        ("archives/b/data", 5),
        ("archives/b/data-2", 17),
        ("archives/b/empty", 0),
        ("archives/c.d/E_f-1", 18),
    ];
    assert_eq!(listed(store, "archives").await, named(&all));
    assert_eq!(listed(store, "archives/b").await, named(&all[2..5]));
    assert_eq!(store.read("archives/ab", 11).await.unwrap().unwrap(), b"archives/ab");

    // Of those that create one name at once, one does.
    let tries = (0..8_u8).map(|n| store.create("race", vec![n; 3]));
    let created: Vec<bool> = futures::future::join_all(tries).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(created.iter().filter(|created| **created).count(), 1, "{created:?}");
    let winner = u8::try_from(created.iter().position(|created| *created).unwrap()).unwrap();
    assert_eq!(store.read("race", 9).await.unwrap().unwrap(), [winner; 3]);

    // What follows from its name is put there as often as anybody likes, also by several at once.
    let puts = (0..4).map(|_| store.put("chunks/ab/x-3", b"abc".to_vec()));
    for put in futures::future::join_all(puts).await {
        put.unwrap();
    }
    store.put("chunks/ab/x-3", b"abc".to_vec()).await.unwrap();
    let much = noise(9, 5 << 20);
    store.put("chunks/cd/y", much.clone()).await.unwrap();
    assert!(fetched(store, "chunks/cd/y").await.unwrap() == much);
    store.clear_partial("chunks").await.unwrap();
    let both = named(&[("chunks/ab/x-3", 3), ("chunks/cd/y", 5 << 20)]);
    assert_eq!(listed(store, "chunks").await, both);
    store.clear("chunks").await.unwrap();
    store.clear_partial("chunks").await.unwrap();
    assert_eq!(listed(store, "chunks").await, []);

    // A large object comes back as it was.
    let large = noise(7, 25 << 20);
    self::store(store, "archives/large/data", &large).await.unwrap();
    assert_eq!(listed(store, "archives/large").await, named(&[("archives/large/data", 25 << 20)]));
    let back = fetched(store, "archives/large/data").await.unwrap();
    assert_eq!(Sha256::digest(&back), Sha256::digest(&large));
    // Who does not want the rest does not get it.
    let (give, mut come) = mpsc::channel(1);
    let first = async {
        let piece = come.recv().await;
        come.close();
        while come.recv().await.is_some() {}
        piece
    };
    let (there, first) = tokio::join!(store.fetch("archives/large/data", give), first);
    assert!(there.unwrap() && large.starts_with(&first.unwrap()));

    // What is gone is gone, and nothing else.
    store.delete("archives/b/data").await.unwrap();
    store.delete("archives/b/data").await.unwrap();
    store.clear("archives/b").await.unwrap();
    store.clear("archives/large").await.unwrap();
    assert_eq!(listed(store, "archives").await, named(&[all[0], all[1], all[5]]));
    store.clear("archives").await.unwrap();
    assert_eq!(listed(store, "archives").await, []);
    assert!(store.read("archives2", 99).await.unwrap().is_some());
}

/// An upload that is given up, and one whose writer dies: neither is seen, and `clear` leaves nothing of them.
pub async fn leaves_nothing(store: &dyn Store, left: impl Fn() -> Vec<String>) {
    let half = noise(3, 20 << 20);
    for abort in [true, false] {
        let mut upload = store.upload("archives/half/data", Some(half.len() as u64)).await.unwrap();
        for piece in half.chunks(1 << 20) {
            upload.write(Bytes::copy_from_slice(piece)).await.unwrap();
        }
        assert_eq!(listed(store, "archives").await, []);
        if abort {
            upload.abort().await;
        } else {
            drop(upload);
            store.clear("archives/half").await.unwrap();
        }
        assert_eq!(left(), Vec::<String>::new(), "abort: {abort}");
        assert_eq!(listed(store, "archives").await, []);
    }
    self::store(store, "archives/half/data", &half).await.unwrap();
    assert_eq!(fetched(store, "archives/half/data").await.unwrap().len(), half.len());
    store.clear("archives/half").await.unwrap();
}

/// An upload under way to a server that goes away then: it fails, says so in time, and is not seen.
pub async fn fails_in_time(store: &dyn Store, name: &str, mut go_away: impl AsyncFnMut(usize)) {
    let began = Instant::now();
    let bytes = noise(5, 40 << 20);
    let mut upload = store.upload(name, Some(bytes.len() as u64)).await.unwrap();
    let mut failed = None;
    for (n, piece) in bytes.chunks(1 << 20).enumerate() {
        go_away(n).await;
        if let Err(e) = upload.write(Bytes::copy_from_slice(piece)).await {
            failed = Some(e);
            break;
        }
    }
    let failure = match failed {
        Some(failure) => failure,
        None => upload.finish().await.unwrap_err(),
    };
    assert_eq!(failure.code, FailureCode::DestinationUnreachable, "{failure:?}");
    assert!(began.elapsed() < Duration::from_secs(150), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_local_folder_keeps_to_the_rules() {
    let node = Node::new();
    let folder = tempfile::tempdir().unwrap();
    let place = serde_json::json!({ "type": "local", "path": folder.path() });
    let store = node.open(place, None).await;
    keeps_to_the_rules(&*store).await;
}
