//! Whether file systems can be mounted from a program.

use crate::child::{self, ChildError};
use crate::core::{unusable, usable, version_in};
use std::io::ErrorKind;
use std::path::Path;
use strongroom_domain::view::Usable;

/// Looks.
pub async fn look(device: &Path, fusermount: &Path) -> Usable {
    // Opening it has no effect: a file system begins with the mount.
    let opened = tokio::fs::OpenOptions::new().read(true).write(true).open(device).await;
    let shown = device.display();
    match opened.map_err(|e| e.kind()) {
        Ok(_) => {}
        Err(ErrorKind::NotFound) => {
            return unusable(format!(
                "{shown} is not there; load the kernel's module 'fuse', or give the container this device."
            ));
        }
        Err(ErrorKind::PermissionDenied) => {
            return unusable(format!("{shown} may not be opened; give recovery's user the right to it."));
        }
        Err(e) => return unusable(format!("{shown} cannot be opened: {e}; give the container this device.")),
    }
    match child::ask(fusermount, &["--version"]).await {
        Ok(text) => usable(version_in(&text)),
        Err(ChildError::NotFound) => {
            unusable(format!("{} is not installed; install it (package 'fuse3').", fusermount.display()))
        }
        Err(e) => unusable(format!("{} cannot be used: {e}.", fusermount.display())),
    }
}
