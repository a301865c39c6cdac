//! A connection: the node's ssh as a child of ours, with SFTP over its pipes.
//!
//! A network that is dead ends it: ssh gives up when it has heard nothing for half a minute.

use crate::child::{Input, Plan};
use crate::core::ssh;
use crate::program;
use age::secrecy::{ExposeSecret, SecretString};
use russh_sftp::client::error::Error;
use russh_sftp::client::{Config, RawSftpSession};
use russh_sftp::protocol::StatusCode;
use std::path::{Path, PathBuf};
use std::time::Duration;
use strongroom_domain::destination::Sftp;
use strongroom_domain::probe::Space;
use strongroom_domain::{Failure, FailureCode};
use strongroom_service::file::write_private;
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// A request that is not answered for so long, over a connection that lives, is given up.
const ANSWER_SECONDS: u64 = 120;
/// How long ssh may take to say why it ends.
const LAST_WORDS: Duration = Duration::from_secs(10);
/// How much is asked for, or sent, at once, where the server takes it; what every server takes (RFC draft, section 3).
const STEP_BYTES: u64 = 128 << 10;
const LEAST_STEP_BYTES: u64 = 32 << 10;
/// The name under which the keys of a destination are known to ssh, whatever its machine is called.
const ALIAS: &str = "destination";

/// How ssh is called.
pub struct Way {
    arguments: Vec<String>,
    with_agent: bool,
    children: PathBuf,
}

impl Way {
    /// Puts what ssh needs as files into the private folder.
    pub fn prepare(
        sftp: &Sftp,
        secret: Option<&SecretString>,
        private: &Path,
        children: &Path,
    ) -> std::io::Result<Self> {
        let mut options: Vec<String> = [
            "BatchMode=yes",
            "StrictHostKeyChecking=yes",
            "UpdateHostKeys=no",
            "ConnectTimeout=15",
            "ServerAliveInterval=10",
            "ServerAliveCountMax=3",
            "ClearAllForwardings=yes",
            "ForwardAgent=no",
            "PermitLocalCommand=no",
            "RequestTTY=no",
            // A shared connection would have been made with other keys.
            "ControlMaster=no",
            "ControlPath=none",
        ]
        .map(str::to_owned)
        .into();
        let id = uuid::Uuid::now_v7().simple();
        if !sftp.host_keys.is_empty() {
            let file = private.join(format!("{id}.hosts"));
            let lines: String = sftp.host_keys.iter().map(|key| format!("{ALIAS} {key}\n")).collect();
            write_private(&file, lines.as_bytes())?;
            options.push(ssh::path_option("UserKnownHostsFile", &file.display().to_string()));
            options.extend(["GlobalKnownHostsFile=/dev/null".to_owned(), format!("HostKeyAlias={ALIAS}")]);
        }
        if let Some(key) = secret {
            let file = private.join(format!("{id}.key"));
            // ssh takes no key whose last line has no end.
            let text = SecretString::from(format!("{}\n", key.expose_secret().replace('\r', "").trim_end()));
            write_private(&file, text.expose_secret().as_bytes())?;
            options.push(ssh::path_option("IdentityFile", &file.display().to_string()));
            options
                .extend(["IdentitiesOnly=yes".to_owned(), "PreferredAuthentications=publickey".to_owned()]);
        }
        let mut arguments: Vec<String> =
            options.into_iter().flat_map(|option| ["-o".to_owned(), option]).collect();
        if let Some(port) = sftp.port {
            arguments.extend(["-p".to_owned(), port.to_string()]);
        }
        if let Some(user) = &sftp.user {
            arguments.extend(["-l".to_owned(), user.clone()]);
        }
        arguments.extend(["-s".to_owned(), "--".to_owned(), sftp.host.clone(), "sftp".to_owned()]);
        Ok(Self { arguments, with_agent: secret.is_none(), children: children.to_owned() })
    }

    fn plan(&self) -> Plan {
        let mut environment = program::environment();
        if self.with_agent
            && let Some(agent) = std::env::var_os("SSH_AUTH_SOCK")
        {
            environment.push(("SSH_AUTH_SOCK", agent));
        }
        Plan {
            program: "ssh".into(),
            arguments: self.arguments.clone(),
            environment,
            folder: None,
            input: Input::Stream,
            user: None,
            notes: self.children.clone(),
            inside: None,
        }
    }
}

/// It. Dropped, ssh is ended.
pub struct Connection {
    /// What requests go through.
    pub session: RawSftpSession,
    /// How much one request may carry.
    pub step_bytes: u32,
    /// The server can be asked to bring what was written to its disk.
    pub syncs: bool,
    tells_space: bool,
    ended: watch::Receiver<Option<Vec<String>>>,
    ssh: AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.ssh.abort();
    }
}

impl Connection {
    /// Starts ssh and greets the server.
    pub async fn open(way: &Way) -> Result<Self, Failure> {
        let mut running = program::start(way.plan()).await?;
        let Some(stdin) = running.stdin.take() else {
            return Err(Failure::new(FailureCode::Unknown, "ssh has no input"));
        };
        let (stdout, stderr, mut handle) = running.into_parts();
        let (tell, ended) = watch::channel(None);
        let ssh = tokio::spawn(async move {
            // How it ended says less than its words.
            let (said, _) = tokio::join!(program::tail(stderr), handle.ended());
            tell.send_replace(Some(said));
        });
        let config = Config { request_timeout_secs: ANSWER_SECONDS, ..Config::default() };
        let session = RawSftpSession::new_with_config(tokio::io::join(stdout, stdin), config);
        let mut connection = Self {
            session,
            step_bytes: u32::try_from(LEAST_STEP_BYTES).unwrap_or(u32::MAX),
            syncs: false,
            tells_space: false,
            ended,
            ssh: ssh.abort_handle(),
        };
        let version = match connection.session.init().await {
            Ok(version) => version,
            Err(e) => return Err(connection.failed("connect", &e).await),
        };
        let offers = |name: &str| version.extensions.contains_key(name);
        connection.syncs = offers("fsync@openssh.com");
        connection.tells_space = offers("statvfs@openssh.com");
        if offers("limits@openssh.com") {
            let limits = connection.session.limits().await;
            let limits = match limits {
                Ok(limits) => limits,
                Err(e) => return Err(connection.failed("connect", &e).await),
            };
            let both = limits.max_read_len.min(limits.max_write_len);
            connection.step_bytes =
                u32::try_from(both.clamp(LEAST_STEP_BYTES, STEP_BYTES)).unwrap_or(u32::MAX);
        }
        Ok(connection)
    }

    /// Whether it can be used no more.
    pub fn is_over(&self) -> bool {
        self.ended.borrow().is_some()
    }

    /// What it means that a request failed.
    pub async fn failed(&self, doing: &str, error: &Error) -> Failure {
        match error {
            Error::Status(status) => {
                let code = match status.status_code {
                    StatusCode::PermissionDenied => FailureCode::DestinationDenied,
                    StatusCode::NoSuchFile => FailureCode::DestinationMissing,
                    StatusCode::NoConnection | StatusCode::ConnectionLost => {
                        FailureCode::DestinationUnreachable
                    }
                    _ => FailureCode::DestinationError,
                };
                Failure::new(code, format!("could not {doing}: {}", status.error_message))
            }
            Error::Timeout => {
                self.ssh.abort();
                let words = format!("could not {doing}: the server gave no answer for {ANSWER_SECONDS} s");
                Failure::new(FailureCode::DestinationUnreachable, words)
            }
            error => {
                // The pipes have ended, so ssh has, and says why.
                let mut ended = self.ended.clone();
                let waited = tokio::time::timeout(LAST_WORDS, ended.wait_for(Option::is_some)).await;
                match waited {
                    Ok(Ok(said)) => {
                        let said = said.clone().unwrap_or_default();
                        let (code, words) = ssh::meaning(&said);
                        Failure::new(code, format!("could not {doing}: {words}")).with_log(said)
                    }
                    _ => {
                        self.ssh.abort();
                        let words = format!("could not {doing}: {error}");
                        Failure::new(FailureCode::DestinationUnreachable, words)
                    }
                }
            }
        }
    }

    /// How much room there is below a folder, where the server knows the question.
    pub async fn space(&self, root: &str) -> Option<Space> {
        if !self.tells_space {
            return None;
        }
        let found = self.session.statvfs(root).await.ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.fragment_size);
        Some(Space { total_bytes: bytes(found.blocks), free_bytes: bytes(found.blocks_avail) })
    }

    /// The same, of what takes space: the protocol has no word for a full disk, so the disk is asked.
    pub async fn failed_to_store(&self, doing: &str, root: &str, error: &Error) -> Failure {
        let vague = matches!(error, Error::Status(status) if status.status_code == StatusCode::Failure);
        if vague
            && self.tells_space
            && let Ok(space) = self.session.statvfs(root).await
            && space.blocks_avail.saturating_mul(space.fragment_size) < 2 * STEP_BYTES
        {
            return Failure::new(FailureCode::NoSpace, format!("could not {doing}: no space is left there"));
        }
        self.failed(doing, error).await
    }
}
