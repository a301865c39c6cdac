//! Folders of an archive.

use crate::core::index::{Layout, browse, folder};
use crate::core::list::Refused;
use crate::core::memory::Memory;
use strongroom_domain::event::decode_payload;
use strongroom_domain::view::{BrowseQuestion, Entry, Page};
use strongroom_domain::{ArchiveId, Rejection};
use uuid::Uuid;

fn entry(path: &str, kind: &str) -> Entry {
    Entry {
        path: path.into(),
        kind: kind.into(),
        size_bytes: 1,
        mode: "-rw-r--r--".into(),
        user: "root".into(),
        group: "root".into(),
        modified_at: "2026-01-01T00:00:00".into(),
        link_target: None,
    }
}

fn index(entries: &[(&str, &str)]) -> Memory {
    let mut layout = Layout::default();
    let mut writes = Vec::new();
    for (path, kind) in entries {
        layout.place(&entry(path, kind), &mut writes).unwrap();
    }
    let mut memory = Memory::default();
    memory.write(writes.into_iter().map(|(k, v)| (k, Some(v))).collect());
    memory
}

fn question(path: &str) -> BrowseQuestion {
    BrowseQuestion { archive: ArchiveId(Uuid::nil()), path: path.into(), after: None, limit: None }
}

fn page(memory: &Memory, question: &BrowseQuestion) -> Result<Page<Entry>, Rejection> {
    match browse(memory, question) {
        Ok(page) => Ok(decode_payload(&page.encode().unwrap()).unwrap()),
        Err(Refused::Rejected(rejection)) => Err(rejection),
        Err(Refused::Store(error)) => panic!("{error}"),
    }
}

fn paths(memory: &Memory, path: &str) -> Vec<String> {
    page(memory, &question(path)).unwrap().items.into_iter().map(|e| e.path).collect()
}

#[test]
fn folders_come_first_and_those_without_an_entry_are_made_up() {
    let memory = index(&[
        ("etc/zz", "-"),
        ("etc/a b", "l"),
        ("etc/ssh/deep/key", "-"),
        ("etc/ssh", "d"),
        ("etc-old/x", "-"),
        ("home/é/datei", "-"),
        ("top", "-"),
    ]);
    assert_eq!(paths(&memory, ""), ["etc", "etc-old", "home", "top"]);
    assert_eq!(paths(&memory, "etc"), ["etc/ssh", "etc/a b", "etc/zz"]);
    assert_eq!(paths(&memory, "/etc/ssh/"), ["etc/ssh/deep"]);
    assert_eq!(paths(&memory, "home/é"), ["home/é/datei"]);
    let top = page(&memory, &question("")).unwrap().items;
    assert!(top[0].kind == "d" && top[0].user.is_empty(), "made up: {:?}", top[0]);
    let etc = page(&memory, &question("etc")).unwrap().items;
    assert_eq!(etc[0].user, "root", "what the archive says goes before what was made up");
}

#[test]
fn pages_of_a_folder_follow_one_another() {
    let names: Vec<String> = (0..25).map(|n| format!("d/{n:02}")).collect();
    let mut entries: Vec<(&str, &str)> = names.iter().map(|n| (n.as_str(), "-")).collect();
    entries.push(("d/zz-folder", "d"));
    let memory = index(&entries);
    for limit in [1, 7, 26, 1000] {
        let mut question = BrowseQuestion { limit: Some(limit), ..question("d") };
        let mut seen = Vec::new();
        loop {
            let page = page(&memory, &question).unwrap();
            seen.extend(page.items.into_iter().map(|e| e.path));
            match page.next {
                Some(next) => question.after = Some(next),
                None => break,
            }
        }
        assert_eq!(seen.len(), 26);
        assert_eq!((seen[0].as_str(), &seen[1..]), ("d/zz-folder", names.as_slice()));
    }
}

#[test]
fn what_is_no_folder_is_refused() {
    let memory = index(&[("etc/passwd", "-")]);
    let code = |q: BrowseQuestion| page(&memory, &q).unwrap_err().code().to_owned();
    assert_eq!(code(question("etc/passwd")), "not_found");
    assert_eq!(code(question("nowhere")), "not_found");
    assert_eq!(code(question("et")), "not_found");
    assert_eq!(code(question("etc/../etc")), "invalid");
    assert_eq!(code(BrowseQuestion { limit: Some(0), ..question("") }), "invalid");
    assert_eq!(code(BrowseQuestion { limit: Some(1001), ..question("") }), "invalid");
    assert_eq!(code(BrowseQuestion { after: Some("x".into()), ..question("") }), "invalid");
    assert_eq!(folder("//a/./b/").unwrap(), "a/b");
}
