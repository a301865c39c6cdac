//! Whether borg is there and can mount.

use crate::child::{self, ChildError};
use crate::core::{self, unusable};
use std::path::Path;
use strongroom_domain::view::Usable;

/// Looks.
pub async fn look(borg: &Path) -> Usable {
    // A mount onto something that is no folder: borg refuses it before it looks at the repository.
    let (version, mount) = tokio::join!(
        child::ask(borg, &["--version"]),
        child::ask(borg, &["mount", "/dev/null", "/dev/null"])
    );
    match (version, mount) {
        (Ok(version), Ok(mount)) => core::borg(&version, &mount),
        (Err(ChildError::NotFound), _) => unusable(
            "Borg is not installed on this machine; install borg 1.2 or newer (package 'borgbackup').",
        ),
        (Err(e), _) | (_, Err(e)) => unusable(format!("Borg cannot be used: {e}.")),
    }
}
