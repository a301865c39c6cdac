//! Where a restore may write.
//!
//! The accident that this file prevents: a restore that writes outside of what was allowed, by `..`, by a link, or by a
//! root that is only the beginning of another folder's name.

use std::path::{Component, Path, PathBuf};

/// The root that holds this path, which must be absolute and resolved, without links.
pub fn root_of<'a>(resolved: &Path, roots: &'a [PathBuf]) -> Option<&'a PathBuf> {
    let normal = resolved.is_absolute()
        && resolved.components().all(|c| matches!(c, Component::RootDir | Component::Normal(_)));
    normal
        .then(|| roots.iter().filter(|root| resolved.starts_with(root)).max_by_key(|r| r.as_os_str().len()))?
}

/// A path of an archive as borg has it: relative and normal. `None` for one that is neither.
pub fn in_archive(path: &str) -> Option<PathBuf> {
    let path = Path::new(path.trim_start_matches('/'));
    let normal = path.components().all(|c| matches!(c, Component::Normal(_)));
    // Made anew of its parts: without a slash at its end, or twice the same.
    (normal && path.components().next().is_some()).then(|| path.components().collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    fn roots() -> Vec<PathBuf> {
        ["/srv/restore", "/srv/restore/deep", "/home"].map(PathBuf::from).to_vec()
    }

    #[test]
    fn a_path_is_in_a_root_or_in_none() {
        let root = |path: &str| root_of(Path::new(path), &roots()).map(|r| r.display().to_string());
        assert_eq!(root("/srv/restore/x").as_deref(), Some("/srv/restore"));
        assert_eq!(root("/srv/restore/deep/x").as_deref(), Some("/srv/restore/deep"));
        assert_eq!(root("/srv/restored"), None);
        assert_eq!(root("/srv/restore/../../etc"), None);
        assert_eq!(root("srv/restore"), None);
        assert_eq!(root("/"), None);
    }

    #[test]
    fn a_path_of_an_archive_leads_nowhere_else() {
        for path in ["/a/b", "a/b/", "//a//b", "a/./b"] {
            assert_eq!(in_archive(path).unwrap().as_os_str(), "a/b", "{path}");
        }
        assert_eq!((in_archive(""), in_archive("/"), in_archive(".")), (None, None, None));
        assert_eq!(in_archive("a/../b"), None);
        assert_eq!(in_archive(".."), None);
    }

    proptest! {
        #[test]
        fn nothing_with_dots_is_ever_allowed(parts in proptest::collection::vec("(\\.\\.|[a-z]{1,3})", 1..6)) {
            let path = format!("/home/{}", parts.join("/"));
            let allowed = root_of(Path::new(&path), &roots()).is_some();
            prop_assert_eq!(allowed, !parts.iter().any(|p| p == ".."));
        }
    }
}
