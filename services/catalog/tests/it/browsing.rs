//! Folders of an archive, from the index that a node stored.

use crate::stage::Stage;
use sha2::{Digest, Sha256};
use strongroom_bus::envelope::hex;
use strongroom_domain::ArchiveId;
use strongroom_domain::archive::IndexFacts;
use strongroom_domain::view::{Browse, BrowseQuestion, Entry, Page};
use uuid::Uuid;

fn entry(path: &str, kind: &str) -> Entry {
    Entry {
        path: path.into(),
        kind: kind.into(),
        size_bytes: 3,
        mode: "-rw-r--r--".into(),
        user: "root".into(),
        group: "root".into(),
        modified_at: "2026-01-01T00:00:00".into(),
        link_target: None,
    }
}

/// The parts of an index as a node makes them.
fn parts(of: &[Vec<Entry>]) -> (Vec<Vec<u8>>, IndexFacts) {
    let parts: Vec<Vec<u8>> = of
        .iter()
        .map(|entries| zstd::encode_all(&*rmp_serde::to_vec_named(entries).unwrap(), 3).unwrap())
        .collect();
    let mut digest = Sha256::new();
    parts.iter().for_each(|p| digest.update(p));
    let facts = IndexFacts {
        chunks: u32::try_from(parts.len()).unwrap(),
        entries: of.iter().map(|p| p.len() as u64).sum(),
        sha256: hex(&digest.finalize()),
        sample: Vec::new(),
    };
    (parts, facts)
}

fn question(archive: ArchiveId, path: &str) -> BrowseQuestion {
    BrowseQuestion { archive, path: path.into(), after: None, limit: None }
}

async fn browse(stage: &Stage, archive: ArchiveId, path: &str) -> Option<Page<Entry>> {
    match stage.ask("browse", &question(archive, path)).await {
        Browse::Ready { page } => Some(page),
        Browse::None => None,
    }
}

async fn store(stage: &Stage, archive: ArchiveId, parts: &[Vec<u8>]) {
    let node = stage.nats.node("local").await.unwrap();
    for (i, part) in parts.iter().enumerate() {
        let i = u32::try_from(i).unwrap();
        node.put_index(&archive.to_string(), i, part.clone().into()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_is_browsed_from_its_index_also_when_the_index_is_gone_later() {
    let stage = Stage::new().await;
    let catalog = stage.start().await;
    let files: Vec<Entry> = (0..300).map(|n| entry(&format!("srv/data/{n:03}"), "-")).collect();
    let (parts, facts) = parts(&[vec![entry("etc", "d"), entry("etc/passwd", "-")], files]);
    let (_, archive) = stage.backup("web", Some(facts)).await;
    assert_eq!(browse(&stage, archive, "").await, None, "before the node has stored it there is none");
    store(&stage, archive, &parts).await;
    // Two at once, of which one makes it.
    let (one, two) = tokio::join!(browse(&stage, archive, "/etc/"), browse(&stage, archive, ""));
    assert_eq!(one.unwrap().items, [entry("etc/passwd", "-")]);
    assert_eq!(two.unwrap().items.iter().map(|e| &*e.path).collect::<Vec<_>>(), ["etc", "srv"]);
    let page = browse(&stage, archive, "srv/data").await.unwrap();
    assert_eq!(page.items.len(), 200);
    let rest = BrowseQuestion { after: page.next, ..question(archive, "srv/data") };
    let Browse::Ready { page } = stage.ask("browse", &rest).await else { panic!() };
    assert_eq!((page.items.len(), page.next), (100, None));
    assert_eq!(stage.refused("browse", &question(archive, "etc/passwd")).await, "not_found");
    assert_eq!(stage.refused("browse", &question(archive, "../etc")).await, "invalid");
    let unknown = question(ArchiveId(Uuid::now_v7()), "");
    assert_eq!(stage.refused("browse", &unknown).await, "not_found");

    // Made once: it is still there after a restart without the store's copy.
    stage.scheduler.purge_index(&archive.to_string()).await.unwrap();
    catalog.stop().await.unwrap();
    let catalog = stage.start().await;
    assert_eq!(browse(&stage, archive, "etc").await.unwrap().items, [entry("etc/passwd", "-")]);
    catalog.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_is_not_what_the_log_says_is_not_shown() {
    let stage = Stage::new().await;
    let catalog = stage.start().await;
    let (good, facts) = parts(&[vec![entry("a", "-")], vec![entry("b", "-")]]);
    let junk = vec![b"junk".to_vec()];
    let junk_facts =
        IndexFacts { chunks: 1, entries: 1, sha256: hex(&Sha256::digest(&junk[0])), sample: Vec::new() };
    let cases = [
        ("a part is missing", good[..1].to_vec(), facts.clone()),
        ("parts are swapped", vec![good[1].clone(), good[0].clone()], facts.clone()),
        ("too few entries", good.clone(), IndexFacts { entries: 3, ..facts.clone() }),
        ("no digest", good.clone(), IndexFacts { sha256: "../../x".into(), ..facts.clone() }),
        ("no zstd", junk, junk_facts),
    ];
    for (what, parts, facts) in cases {
        let (_, archive) = stage.backup("web", Some(facts)).await;
        store(&stage, archive, &parts).await;
        assert_eq!(browse(&stage, archive, "").await, None, "{what}");
    }
    let (_, archive) = stage.backup("web", None).await;
    assert_eq!(browse(&stage, archive, "").await, None, "no index at all");
    let (_, archive) = stage.backup("web", Some(facts)).await;
    store(&stage, archive, &good).await;
    assert_eq!(browse(&stage, archive, "").await.unwrap().items.len(), 2);
    catalog.stop().await.unwrap();
    let left: Vec<_> = std::fs::read_dir(stage.state_dir().join("indexes")).unwrap().collect();
    assert_eq!(left.len(), 1, "what could not be used leaves nothing behind: {left:?}");
}
