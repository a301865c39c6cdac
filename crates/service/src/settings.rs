//! How a service is told where the log is and who it is.

use std::path::{Path, PathBuf};
use strongroom_bus::nats::Settings;

/// What every service takes, as options or from the environment.
#[derive(Debug, Clone, clap::Args)]
pub struct ServiceArgs {
    /// NATS servers, comma separated.
    #[arg(long, env = "STRONGROOM_NATS_URL", default_value = "nats://127.0.0.1:4222")]
    pub nats_url: String,
    /// The file with this user's nkey seed.
    #[arg(long, env = "STRONGROOM_NKEY_FILE")]
    pub nkey_file: PathBuf,
    /// The folder where this service keeps its own state.
    #[arg(long, env = "STRONGROOM_STATE_DIR", default_value = "/var/lib/strongroom")]
    pub state_dir: PathBuf,
}

impl ServiceArgs {
    /// How this user connects.
    pub fn connection(&self, user: &str) -> Settings {
        Settings { urls: self.nats_url.clone(), user: user.to_owned(), nkey_file: self.nkey_file.clone() }
    }
}

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Another process works there.
    #[error("{0} is in use by another process; end that one, or choose another folder")]
    InUse(String),
    /// The file system does not do its part.
    #[error("{path}: {problem}")]
    File {
        /// Which path.
        path: String,
        /// What went wrong.
        problem: String,
    },
}

/// Makes a private folder and locks it for this process. The lock is held as long as the file is.
pub fn lock_folder(folder: &Path) -> Result<std::fs::File, FolderError> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    let error =
        |e: std::io::Error| FolderError::File { path: folder.display().to_string(), problem: e.to_string() };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(error)?;
    // One that was made by somebody else may be open to others; keys and tokens will lie in it.
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700)).map_err(error)?;
    let file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(folder.join("lock"))
        .map_err(error)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(FolderError::InUse(folder.display().to_string())),
        Err(std::fs::TryLockError::Error(e)) => Err(error(e)),
    }
}
