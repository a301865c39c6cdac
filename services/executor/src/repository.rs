//! Which repository lies in a place.
//!
//! The accident that this file prevents: a disk that was swapped, or a folder that was cleared and made anew. Borg takes any
//! repository that opens (moves are allowed to it, because places change), so without a passphrase backups would go on
//! into another one while everybody believes that the old archives are there.

use crate::core::hex::is_of_32_bytes;
use std::io::Read;
use std::path::Path;
use strongroom_domain::{Failure, FailureCode};

/// How much of a repository's `config` is read.
const CONFIG_BYTES: u64 = 64 * 1024;

/// Fails when another repository than this one lies there. What cannot be read is borg's to say.
pub fn is_the_one(location: &Path, expected: Option<&str>) -> Result<(), Failure> {
    match (id_at(location), expected) {
        (Some(found), Some(expected)) if !found.eq_ignore_ascii_case(expected) => {
            let message = format!(
                "another repository lies at {}: its id is {found}, that of the one that was made is {expected}",
                location.display()
            );
            Err(Failure::new(FailureCode::RepositoryReplaced, message))
        }
        _ => Ok(()),
    }
}

/// The `id` in a repository's `config` (docs/internals/data-structures.rst of borg, "Repository config"): 64 hex digits. Of
/// anything else is made nothing: folders are named and removed by it.
pub fn id_at(location: &Path) -> Option<String> {
    let mut text = String::new();
    let file = std::fs::File::open(location.join("config")).ok()?;
    file.take(CONFIG_BYTES).read_to_string(&mut text).ok()?;
    let in_section = text.lines().skip_while(|line| line.trim() != "[repository]").skip(1);
    let mut values =
        in_section.take_while(|line| !line.starts_with('[')).filter_map(|line| line.split_once('='));
    // A line that begins with a space goes on with the value before it, which may be a key.
    let (_, id) = values.find(|(name, _)| name.trim_end() == "id")?;
    let id = id.trim();
    is_of_32_bytes(id).then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn only_another_repository_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path();
        assert!(is_the_one(place, Some("ab")).is_ok(), "nothing there is borg's to say");
        let (ours, others) = ("ab".repeat(32), "cd".repeat(32));
        let config = format!(
            "[repository]\nversion = 1\nkey = x\n\tid = {others}\nid = {ours}\n\n[x]\nid = {others}\n"
        );
        std::fs::write(place.join("config"), config).unwrap();
        assert!(is_the_one(place, Some(&ours.to_uppercase())).is_ok());
        assert!(is_the_one(place, None).is_ok(), "one that was made before this was told");
        assert_eq!(is_the_one(place, Some(&others)).unwrap_err().code, FailureCode::RepositoryReplaced);
    }
}
