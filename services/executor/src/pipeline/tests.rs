#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;
use crate::core::sum;

async fn through(
    bytes: &[u8],
    work: impl FnOnce(mpsc::Receiver<Flow>, mpsc::Sender<Flow>),
    whole: bool,
) -> (Vec<u8>, bool) {
    let (give, input) = way();
    let (output, mut come) = way();
    work(input, output);
    let pieces: Vec<Bytes> = bytes.chunks(100_000).map(Bytes::copy_from_slice).collect();
    let giving = async move {
        for piece in pieces {
            if give.send(Flow::Piece(piece)).await.is_err() {
                return;
            }
        }
        if whole {
            let _ = give.send(Flow::End).await;
        }
    };
    let taking = async {
        let (mut all, mut ended) = (Vec::new(), false);
        while let Some(flow) = come.recv().await {
            match flow {
                Flow::Piece(piece) => all.extend_from_slice(&piece),
                Flow::End => ended = true,
            }
        }
        (all, ended)
    };
    tokio::join!(giving, taking).1
}

fn recipes() -> Vec<(Recipe, Option<Identity>)> {
    let identity = Identity::generate();
    let mut all = Vec::new();
    for compression in [Compressed::None, Compressed::Gzip, Compressed::Zstd, Compressed::Zip] {
        all.push((Recipe { compression, level: None, recipients: Vec::new(), gpg: None }, None));
        let other = Identity::generate().to_public();
        let recipients = vec![other, identity.to_public()];
        all.push((Recipe { compression, level: Some(1), recipients, gpg: None }, Some(identity.clone())));
    }
    all
}

/// Half of it can be compressed.
fn some_bytes(size: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let draw = |n: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        if n % 2000 < 1000 { 7 } else { (state >> 24) as u8 }
    };
    (0..size).map(draw).collect()
}

async fn packed(recipe: &Recipe, bytes: &[u8]) -> Vec<u8> {
    let mut packing = None;
    let (stored, ended) =
        through(bytes, |i, o| packing = Some(pack(recipe.clone(), "a/0001-x.dump", i, o)), true).await;
    assert!(ended);
    let (plain, kept) = packing.unwrap().sums().await.unwrap();
    assert_eq!((plain, kept), (bytes.len() as u64, sum::of(&stored)));
    stored
}

async fn unpacked(
    recipe: &Recipe,
    identity: Option<Identity>,
    stored: &[u8],
    whole: bool,
) -> (Vec<u8>, Result<(Summed, Summed), Failure>) {
    let mut unpacking = None;
    let (compression, encryption) = (recipe.compression, recipe.encryption());
    let start = |i, o| unpacking = Some(unpack(compression, encryption, identity, i, o));
    let (plain, _) = through(stored, start, whole).await;
    (plain, unpacking.unwrap().sums().await)
}

#[tokio::test]
async fn what_is_packed_comes_out_the_same() {
    for bytes in [Vec::new(), b"x".to_vec(), some_bytes(900_001)] {
        for (recipe, identity) in recipes() {
            let stored = packed(&recipe, &bytes).await;
            if recipe.compression != Compressed::None && bytes.len() > 1000 {
                assert!(stored.len() < bytes.len() * 3 / 4, "{} of {}", stored.len(), bytes.len());
            }
            let (plain, sums) = unpacked(&recipe, identity, &stored, true).await;
            assert!(plain == bytes);
            assert_eq!(sums.unwrap(), (sum::of(&stored), sum::of(&bytes)));
        }
    }
}

#[tokio::test]
async fn what_breaks_off_is_never_taken_for_whole() {
    let bytes = some_bytes(1_000_000);
    for (recipe, identity) in recipes() {
        let mut packing = None;
        let (_, ended) =
            through(&bytes, |i, o| packing = Some(pack(recipe.clone(), "a/0001-x.dump", i, o)), false).await;
        assert!(!ended, "nobody said that this was all");
        assert!(packing.unwrap().sums().await.is_err());
        let stored = packed(&recipe, &bytes).await;
        let (_, sums) = unpacked(&recipe, identity, &stored, false).await;
        assert!(sums.is_err());
    }
}

#[tokio::test]
async fn a_byte_that_changed_is_noticed() {
    let bytes = some_bytes(700_000);
    for (recipe, identity) in recipes() {
        let stored = packed(&recipe, &bytes).await;
        for at in [stored.len() / 2, stored.len() - 1] {
            let mut other = stored.clone();
            *other.get_mut(at).unwrap() ^= 1;
            // Where nothing else notices, the digest of what is stored does.
            let (_, sums) = unpacked(&recipe, identity.clone(), &other, true).await;
            assert!(sums.is_err() || sums.unwrap().0 != sum::of(&stored));
        }
        let cut = stored.get(..stored.len() - 1).unwrap();
        let (_, sums) = unpacked(&recipe, identity, cut, true).await;
        assert!(sums.is_err() || sums.unwrap().0 != sum::of(&stored));
    }
}

#[tokio::test]
async fn another_key_opens_nothing() {
    let (recipe, _) = recipes().pop().unwrap();
    let stored = packed(&recipe, b"secret").await;
    let (plain, sums) = unpacked(&recipe, Some(Identity::generate()), &stored, true).await;
    assert_eq!((plain.len(), sums.unwrap_err().code), (0, FailureCode::WrongPassphrase));
    let (_, sums) = unpacked(&recipe, None, &stored, true).await;
    assert_eq!(sums.unwrap_err().code, FailureCode::SecretMissing);
}

#[test]
fn what_is_packed_as_a_whole_comes_out_the_same_and_no_larger_than_it_may() {
    for bytes in [b"x".to_vec(), some_bytes(900_001)] {
        let of_chunks = |(recipe, _): &(Recipe, _)| recipe.compression != Compressed::Zip;
        for (recipe, identity) in recipes().into_iter().filter(of_chunks) {
            let stored = pack_whole(&recipe, &bytes).unwrap();
            let unpacked = |stored: &[u8], limit| {
                unpack_whole(recipe.compression, recipe.encryption(), identity.as_ref(), stored, limit)
            };
            assert!(unpacked(&stored, bytes.len() as u64).unwrap() == bytes);
            let more = unpacked(&stored, bytes.len() as u64 - 1).unwrap_err();
            assert_eq!(more.code, FailureCode::ArchiveDamaged);
            if recipe.compression != Compressed::None || identity.is_some() {
                assert!(unpacked(stored.get(..stored.len() - 1).unwrap(), u64::from(u32::MAX)).is_err());
            }
        }
    }
}
