//! What is downloaded out of an archive.

use crate::archive::Target;
use crate::repository::Access;
use serde::{Deserialize, Serialize};

/// A download out of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DownloadSpec {
    /// From where.
    pub access: Access,
    /// Which archive.
    pub archive: Target,
    /// Which paths, as they stand in the archive (without the leading slash); all, when empty.
    #[serde(default)]
    pub paths: Vec<String>,
    /// In which form.
    pub form: DownloadForm,
}

/// In which form something is downloaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, strum::Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum DownloadForm {
    /// The bytes of one file.
    Raw,
    /// A tar of the paths.
    Tar,
    /// A zip of the paths.
    Zip,
}
