//! Asking a program a short question.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

/// How long a program may take.
const TIMEOUT: Duration = Duration::from_secs(4);
/// How much of what it prints is read.
const OUTPUT_MAX: u64 = 16 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// There is no such program.
    #[error("it is not installed")]
    NotFound,
    /// It hangs.
    #[error("it gave no answer within {} s", TIMEOUT.as_secs())]
    TimedOut,
    /// The system does not do its part.
    #[error("it cannot be run: {0}")]
    Io(std::io::Error),
}

/// What a program prints, on both ways out. The program does not outlive the question.
pub async fn ask(program: &Path, arguments: &[&str]) -> Result<String, ChildError> {
    let mut child = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| {
            if e.kind() == std::io::ErrorKind::NotFound { ChildError::NotFound } else { ChildError::Io(e) }
        })?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let asked = async {
        let (said, complained) = tokio::join!(read(stdout), read(stderr));
        child.wait().await.map_err(ChildError::Io)?;
        Ok(format!("{said}{complained}"))
    };
    tokio::time::timeout(TIMEOUT, asked).await.map_err(|_| ChildError::TimedOut)?
}

async fn read(from: Option<impl AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        // What was read before an error is as good as it gets.
        let _ = from.take(OUTPUT_MAX).read_to_end(&mut bytes).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
