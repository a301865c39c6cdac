#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
use super::*;
use proptest::prelude::*;

const TEXT: &str = "START WAL LOCATION: 0/8000028 (file 000000010000000000000008)\nSTART TIMELINE: 1\n";

fn head(name: &str, size: &[u8]) -> Vec<u8> {
    let mut head = vec![0; BLOCK];
    head[..name.len()].copy_from_slice(name.as_bytes());
    head[124..124 + size.len()].copy_from_slice(size);
    head[257..262].copy_from_slice(b"ustar");
    head[148..156].fill(b' ');
    let sum: u64 = head.iter().map(|byte| u64::from(*byte)).sum();
    head[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    head
}

fn file(name: &str, content: &[u8]) -> Vec<u8> {
    let mut file = head(name, format!("{:011o}", content.len()).as_bytes());
    file.extend_from_slice(content);
    file.resize(file.len().next_multiple_of(BLOCK), 0);
    file
}

fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar: Vec<u8> = files.iter().flat_map(|(name, content)| file(name, content)).collect();
    tar.resize(tar.len() + 2 * BLOCK, 0);
    tar
}

/// What it is, and the list of files, when it comes in pieces of this size.
fn read(tar: &[u8], by: usize) -> Result<(Label, Vec<u8>), Wrong> {
    let (mut reading, mut listed) = (BaseTar::default(), Vec::new());
    for piece in tar.chunks(by) {
        reading.take(piece)?.into_iter().for_each(|part| listed.extend_from_slice(part));
    }
    Ok((reading.finish()?, listed))
}

#[test]
fn given_a_base_backup_when_it_is_read_then_its_beginning_and_its_list_are_known() {
    let since = format!("{TEXT}INCREMENTAL FROM LSN: 0/6000028\nINCREMENTAL FROM TLI: 1\n");
    let lsn = |text: &str| text.parse::<Lsn>().unwrap();
    for (text, since_lsn) in [(TEXT, None), (&since, Some(lsn("0/6000028")))] {
        let tar = tar(&[
            ("backup_label", text.as_bytes()),
            ("tablespace_map", b""),
            ("base/1/backup_manifest", b"another"),
            ("backup_manifest", b"{ \"Files\": [] }"),
        ]);
        let (label, listed) = read(&tar, 100).unwrap();
        assert_eq!(label, Label { start_lsn: lsn("0/8000028"), since_lsn });
        assert_eq!(listed, b"{ \"Files\": [] }");
    }
}

#[test]
fn given_what_is_no_whole_base_backup_when_it_is_read_then_it_is_refused() {
    let (label, list) = (("backup_label", TEXT.as_bytes()), ("backup_manifest", b"{}".as_slice()));
    assert_eq!(read(&tar(&[label]), 512).unwrap_err(), Wrong::Without(MANIFEST));
    assert_eq!(read(&tar(&[list, label, list]), 512).unwrap_err(), Wrong::Without(MANIFEST));
    assert_eq!(read(&tar(&[list]), 512).unwrap_err(), Wrong::Without(LABEL));
    let odd = b"START WAL LOCATION: 0/1 (f)\nINCREMENTAL FROM LSN: none\n";
    assert_eq!(read(&tar(&[list, ("backup_label", odd)]), 512).unwrap_err(), Wrong::Without(LABEL));
    let whole = tar(&[label, list]);
    assert_eq!(read(&whole[..whole.len() - 2 * BLOCK], 512).unwrap_err(), Wrong::Cut);
    assert_eq!(read(b"", 512).unwrap_err(), Wrong::Cut);
    assert_eq!(read(&[7; 1024], 512).unwrap_err(), Wrong::NoTar);
    let mut changed = whole.clone();
    changed[0] ^= 1;
    assert_eq!(read(&changed, 512).unwrap_err(), Wrong::NoTar);
}

#[test]
fn given_a_large_file_when_its_size_is_binary_then_what_follows_is_found() {
    let mut size = vec![128, 0, 0, 0];
    size.extend_from_slice(&(9u64 << 30).to_be_bytes());
    let file = entry(&head("base/1/1", &size)).map(|file| (file.name, file.size));
    assert_eq!(file, Some(("base/1/1".to_owned(), 9 << 30)));
    size[4] = 255;
    assert_eq!(entry(&head("base/1/1", &[128, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0])), None);
    size[4..].fill(255);
    assert_eq!(entry(&head("base/1/1", &size)), None);
}

proptest! {
    #[test]
    fn pieces_of_any_size_are_read_alike(by in 1usize..2000, content in prop::collection::vec(any::<u8>(), 0..3000)) {
        let tar = tar(&[("backup_label", TEXT.as_bytes()), ("a", &content), ("backup_manifest", &content)]);
        let (_, listed) = read(&tar, by).unwrap();
        prop_assert_eq!(listed, content);
    }

    #[test]
    fn whatever_comes_nothing_breaks(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        let _ = read(&bytes, 700);
    }
}
