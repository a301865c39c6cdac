//! OpenPGP, by the gpg program: for people who have keys of it. No keyring of anybody is touched: gpg has a home of its own
//! in the private folder of the job, and that goes with the job.
//!
//! The accident that this file prevents: the output of a gpg that has failed late, taken for all of it. That all was given
//! is said only when gpg has read to the end and has ended well.

use crate::child::{Input, Plan};
use crate::core::gpg;
use crate::core::sum::{Sum, Summed};
use crate::pipeline::Flow;
use crate::program;
use age::secrecy::{ExposeSecret, SecretString};
use bytes::BytesMut;
use rustix::process::Signal;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use strongroom_domain::{Failure, FailureCode};
use strongroom_service::file;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{OnceCell, mpsc};
use tokio::task::JoinHandle;

/// How much flows at once.
const PIECE_BYTES: usize = 256 << 10;
/// How long the agent of gpg may take until it is there.
const AGENT_WITHIN: Duration = Duration::from_secs(20);
/// The longest path of a home: the agent has a socket in it, and the name of one has 107 bytes (`man 7 unix`).
const HOME_BYTES: usize = 80;

/// A gpg with a home of its own.
#[derive(Debug, Clone)]
pub struct Gpg {
    program: PathBuf,
    home: PathBuf,
    notes: PathBuf,
}

/// Encrypts to some keys.
#[derive(Debug, Clone)]
pub struct Sealer {
    gpg: Gpg,
    keys: Vec<PathBuf>,
    /// The keys as they were given, by which two are known to be alike.
    pub recipients: Vec<String>,
}

/// Decrypts with a key.
#[derive(Clone)]
pub struct Opener {
    gpg: Gpg,
    secret: SecretString,
    /// Once for a job: two agents of one home would be in each other's way.
    ready: Arc<OnceCell<Ready>>,
}

/// An agent that has the key. The way to its home goes when it has ended.
struct Ready {
    _agent: Agent,
    home: Home,
}

impl Gpg {
    /// Finds it. What it needs is kept in `private`, below a name.
    fn find(private: &Path, name: &str, notes: &Path) -> Result<Self, Failure> {
        let program = program::find("gpg", &[]).into_iter().next().ok_or_else(|| {
            let message = "there is no gpg on this node; install the package gnupg";
            Failure::new(FailureCode::ToolMissing, message)
        })?;
        let home = private.join(name);
        match std::fs::DirBuilder::new().mode(0o700).create(&home) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(unknown(&home, &e)),
            _ => {}
        }
        Ok(Self { program, home, notes: notes.to_owned() })
    }

    fn plan(&self, program: &Path, home: &Path, arguments: Vec<String>, input: Input) -> Plan {
        let mut plan = program::plan(program, arguments, Some(&self.home), input, self.notes.clone());
        plan.environment.push(("GNUPGHOME", home.into()));
        plan
    }

    fn call(&self, home: &Path, arguments: Vec<String>) -> Plan {
        self.plan(&self.program, home, arguments, Input::Stream)
    }
}

impl Sealer {
    /// To these keys, each as a text.
    pub fn new(recipients: &[String], private: &Path, name: &str, notes: &Path) -> Result<Self, Failure> {
        let gpg = Gpg::find(private, name, notes)?;
        let mut keys = Vec::new();
        for (n, key) in recipients.iter().enumerate() {
            let path = gpg.home.join(format!("recipient-{n}.asc"));
            file::write_private(&path, key.as_bytes()).map_err(|e| unknown(&path, &e))?;
            keys.push(path);
        }
        Ok(Self { gpg, keys, recipients: recipients.to_vec() })
    }

    fn plan(&self) -> Plan {
        let keys: Vec<String> = self.keys.iter().map(|key| key.display().to_string()).collect();
        self.gpg.call(&self.gpg.home, gpg::encrypt(&keys))
    }

    /// Fails when one of the keys cannot be encrypted to: better now than in the night.
    pub async fn check(&self) -> Result<(), Failure> {
        let (_stopper, control) = crate::control::pair();
        let said = program::tell(self.plan(), b"?", control).await;
        match said {
            Ok(said) if said.status.success() && !said.stdout.is_empty() => Ok(()),
            Ok(said) => {
                let message =
                    format!("gpg cannot encrypt to the keys of the repository: {}", gpg::words(&said.tail));
                Err(Failure::new(FailureCode::Unknown, message).with_log(said.tail))
            }
            Err(crate::control::NoOutcome::Failed(failure)) => Err(failure),
            Err(crate::control::NoOutcome::Stopped(_)) => {
                Err(Failure::new(FailureCode::Killed, "gpg was stopped"))
            }
        }
    }

    /// Encrypts what is given on the one end, and gives it on the other.
    pub fn seal(
        self,
        input: mpsc::Receiver<Flow>,
        output: mpsc::Sender<Flow>,
    ) -> JoinHandle<io::Result<Summed>> {
        tokio::spawn(async move {
            let through = through(self.plan(), input, &output).await;
            let sum = match through {
                Ok(sum) => sum,
                Err(NotThrough::Failed(failure)) => return Err(io::Error::other(failure.message)),
                Err(NotThrough::Ended(tail)) => {
                    return Err(io::Error::other(format!("gpg: {}", gpg::words(&tail))));
                }
                Err(NotThrough::BrokeOff) => {
                    return Err(io::Error::new(io::ErrorKind::BrokenPipe, "what it is made of broke off"));
                }
            };
            output
                .send(Flow::End)
                .await
                .map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "nobody takes it"))?;
            Ok(sum)
        })
    }
}

impl Opener {
    /// With this secret key, as a text.
    pub fn new(secret: SecretString, private: &Path, name: &str, notes: &Path) -> Result<Self, Failure> {
        Ok(Self { gpg: Gpg::find(private, name, notes)?, secret, ready: Arc::default() })
    }

    /// Decrypts what is given on the one end, and gives it on the other.
    pub async fn open(&self, input: mpsc::Receiver<Flow>, output: mpsc::Sender<Flow>) -> Result<(), Failure> {
        let ready = self.ready.get_or_try_init(|| self.make_ready()).await?;
        match through(self.gpg.call(&ready.home.0, gpg::decrypt()), input, &output).await {
            Ok(_) => {
                // Whoever does not take it has failed, and says so.
                let _ = output.send(Flow::End).await;
                Ok(())
            }
            Err(NotThrough::Failed(failure)) => Err(failure),
            Err(NotThrough::Ended(tail)) => {
                Err(Failure::new(gpg::cause(&tail), format!("gpg: {}", gpg::words(&tail))).with_log(tail))
            }
            Err(NotThrough::BrokeOff) => {
                Err(Failure::new(FailureCode::Unknown, "what was to be decrypted broke off"))
            }
        }
    }

    async fn make_ready(&self) -> Result<Ready, Failure> {
        let home = Home::of(&self.gpg.home)?;
        let agent = self.agent(&home.0).await?;
        let (_stopper, control) = crate::control::pair();
        let plan = self.gpg.call(&home.0, gpg::import());
        match program::tell(plan, self.secret.expose_secret().as_bytes(), control).await {
            Ok(said) if said.status.success() => {}
            Ok(said) => {
                let message = format!("the secret key cannot be read by gpg: {}", gpg::words(&said.tail));
                return Err(Failure::new(FailureCode::WrongPassphrase, message));
            }
            Err(crate::control::NoOutcome::Failed(failure)) => return Err(failure),
            Err(crate::control::NoOutcome::Stopped(_)) => {
                return Err(Failure::new(FailureCode::Killed, "gpg was stopped"));
            }
        }
        Ok(Ready { _agent: agent, home })
    }

    /// The agent that holds the key, for as long as this is held. By itself gpg would start one that outlives us; this one is
    /// in the group of a child of ours, and ends when that is gone.
    async fn agent(&self, home: &Path) -> Result<Agent, Failure> {
        let program = program::find("gpg-agent", &[]).into_iter().next().ok_or_else(|| {
            let message = "there is no gpg-agent on this node; install the package gpg-agent";
            Failure::new(FailureCode::ToolMissing, message)
        })?;
        let plan = self.gpg.plan(&program, home, gpg::agent(&home.display().to_string()), Input::Stream);
        let mut running = program::start(plan).await?;
        let stdin = running.stdin.take();
        let (mut stdout, stderr, handle) = running.into_parts();
        let mut agent = Agent { stdin, _handle: handle, _stderr: stderr };
        let answering = async {
            if let Some(stdin) = &mut agent.stdin {
                stdin.write_all(b"?").await?;
                stdin.flush().await?;
            }
            stdout.read_u8().await
        };
        let answered = tokio::time::timeout(AGENT_WITHIN, answering).await;
        match answered {
            Ok(Ok(_)) => Ok(agent),
            _ => Err(Failure::new(FailureCode::Unknown, "the agent of gpg did not start")),
        }
    }
}

/// An agent. Dropped, it is killed.
struct Agent {
    stdin: Option<tokio::process::ChildStdin>,
    _handle: crate::child::Handle,
    _stderr: tokio::process::ChildStderr,
}

/// A way to the home that is short enough for the sockets in it.
struct Home(PathBuf, Option<PathBuf>);

impl Home {
    fn of(home: &Path) -> Result<Self, Failure> {
        if home.as_os_str().len() <= HOME_BYTES {
            return Ok(Self(home.to_owned(), None));
        }
        // Nobody can do anything with the link itself; what it leads to is for us alone.
        let name = format!("strongroom-{}", uuid::Uuid::now_v7().simple());
        let link = std::env::temp_dir().join(name);
        std::os::unix::fs::symlink(home, &link).map_err(|e| unknown(&link, &e))?;
        Ok(Self(link.clone(), Some(link)))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if let Some(link) = &self.1 {
            let _ = std::fs::remove_file(link);
        }
    }
}

/// Why not all went through a program.
enum NotThrough {
    /// It did not start, or could not be read from.
    Failed(Failure),
    /// It ended with an error; its last lines.
    Ended(Vec<String>),
    /// Nobody gave all of it, or nobody took it.
    BrokeOff,
}

/// Gives all that comes to a program, and takes what it prints.
async fn through(
    plan: Plan,
    mut input: mpsc::Receiver<Flow>,
    output: &mpsc::Sender<Flow>,
) -> Result<Summed, NotThrough> {
    let mut running = program::start(plan).await.map_err(NotThrough::Failed)?;
    let stdin = running.stdin.take();
    let (mut stdout, stderr, mut handle) = running.into_parts();
    let kill = || handle.signal(Signal::KILL);
    let writing = async {
        let Some(mut stdin) = stdin else { return false };
        loop {
            match input.recv().await {
                Some(Flow::Piece(piece)) => {
                    if stdin.write_all(&piece).await.is_err() {
                        // It has ended, and says why. Whoever gives more learns from that.
                        return true;
                    }
                }
                Some(Flow::End) => return true,
                None => {
                    // It must not take this for the end.
                    kill();
                    return false;
                }
            }
        }
    };
    let reading = async {
        let (mut sum, mut piece) = (Sum::default(), BytesMut::with_capacity(PIECE_BYTES));
        loop {
            match stdout.read_buf(&mut piece).await {
                Ok(0) => break,
                Ok(_) if piece.len() < PIECE_BYTES / 2 => continue,
                Ok(_) => {}
                Err(_) => return (sum, false),
            }
            let full = piece.split().freeze();
            sum.add(&full);
            if output.send(Flow::Piece(full)).await.is_err() {
                kill();
                return (sum, false);
            }
            piece.reserve(PIECE_BYTES);
        }
        let rest = piece.freeze();
        sum.add(&rest);
        let taken = rest.is_empty() || output.send(Flow::Piece(rest)).await.is_ok();
        (sum, taken)
    };
    let (given, (sum, taken), tail) = tokio::join!(writing, reading, program::tail(stderr));
    let status = handle
        .ended()
        .await
        .map_err(|e| NotThrough::Failed(Failure::new(FailureCode::Unknown, format!("gpg: {e}"))))?;
    if !given || !taken {
        return Err(NotThrough::BrokeOff);
    }
    if !status.success() {
        return Err(NotThrough::Ended(tail));
    }
    Ok(sum.finish())
}

fn unknown(path: &Path, error: &io::Error) -> Failure {
    Failure::new(FailureCode::Unknown, format!("{}: {error}", path.display()))
}
