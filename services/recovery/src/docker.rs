//! Whether Docker's engine answers.

use crate::core::{unusable, usable};
use bollard::errors::Error;
use bollard::{API_DEFAULT_VERSION, Docker};
use std::path::Path;
use std::time::Duration;
use strongroom_domain::view::Usable;

/// How long the engine may take.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Looks.
pub async fn look(socket: &Path) -> Usable {
    let shown = socket.display();
    if !socket.exists() {
        return unusable(format!(
            "Docker's engine is not running: there is no {shown}. Install Docker or start it, or give recovery its socket."
        ));
    }
    match tokio::time::timeout(TIMEOUT, version(socket)).await {
        Ok(Ok(version)) => usable(version),
        Ok(Err(e)) if is_denied(&e) => unusable(format!(
            "{shown} may not be used; add recovery's user to the group of Docker, knowing that this is as good as root."
        )),
        Ok(Err(Error::RequestTimeoutError)) | Err(_) => unusable(format!(
            "Docker's engine at {shown} gave no answer within {} s; look at its log.",
            TIMEOUT.as_secs()
        )),
        Ok(Err(e)) => unusable(format!("Docker's engine does not answer at {shown}: {}", cause(&e))),
    }
}

/// Ping and version are asked without a version of the API, so that an engine of any age answers.
async fn version(socket: &Path) -> Result<Option<String>, Error> {
    let path = socket.to_string_lossy();
    let docker = Docker::connect_with_unix(&path, TIMEOUT.as_secs(), API_DEFAULT_VERSION)?;
    docker.ping().await?;
    Ok(docker.version().await?.version)
}

fn is_denied(error: &Error) -> bool {
    causes(error).any(|e| {
        e.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::PermissionDenied)
    })
}

fn cause(error: &Error) -> String {
    causes(error).last().map_or_else(|| error.to_string(), ToString::to_string)
}

/// An error and what is behind it.
fn causes<'a>(error: &'a Error) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error as &'a (dyn std::error::Error + 'static)), |e| e.source())
}
