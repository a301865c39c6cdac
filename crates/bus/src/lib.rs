//! The one door to NATS.
//!
//! Every service sees the log through [`Bus`] and through nothing else. Writing is [`Journal::append`] and
//! [`Journal::decide`]: guarded by the aggregate's last sequence, safe to repeat, answered for certain. Reading is a
//! [`Follower`] (in order, without acks, from its own checkpoint), a worker ([`NodeBus::next_work`],
//! [`Bus::next_report`]: durable, acked), or a question ([`Bus::ask`], [`Bus::serve`]). What stands beside the log
//! (status, secrets, file indexes, quarantine) is never the truth.

pub mod envelope;
mod fault;
mod follower;
mod index;
mod journal;
pub mod log_store;
pub mod nats;
mod piece;
mod position;
mod quarantine;
mod question;
mod secret;
pub mod server;
mod status;
pub mod subjects;
mod twice;
mod work;

pub use envelope::{Context, Head, Recorded};
pub use fault::Fault;
pub use follower::{Delivery, FollowError, Follower};
pub use index::CHUNK_BYTES;
pub use journal::{AppendError, Appended, DecideError, History, Journal, NewEvent};
pub use piece::PieceDelivery;
pub use position::Position;
pub use quarantine::Poison;
pub use question::{Answer, AskError, Question};
pub use work::{Ack, NodeBus, ReportDelivery, WorkDelivery};

use nats::{Connection, NatsLog};
use std::sync::Arc;
use std::time::Duration;

/// How long the log may take to answer for the first time.
const COMING_UP: Duration = Duration::from_secs(120);

/// A connection to the log and to what stands beside it. Cheap to clone.
#[derive(Clone)]
pub struct Bus {
    pub(crate) nats: Connection,
    journal: Journal,
    generation: Arc<str>,
    twice: twice::Twice<nats::Pulled>,
}

impl Bus {
    /// Connects as one user of the log's account: a core service.
    pub async fn connect(settings: &nats::Settings) -> Result<Self, Fault> {
        let nats = Connection::open(settings).await?;
        let store = NatsLog::new(nats.clone());
        let deadline = tokio::time::Instant::now() + COMING_UP;
        let (generation, _) = loop {
            match log_store::LogStore::state(&store).await {
                // A cluster that elects its leaders, or a server that reads its store: it comes up with us.
                Err(fault) if fault.is_transient() && tokio::time::Instant::now() < deadline => {
                    tracing::debug!(error = %fault, "the log does not answer yet");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                state => break state?,
            }
        };
        Ok(Self {
            nats,
            journal: Journal::new(Arc::new(store), settings.source()),
            generation: generation.into(),
            twice: twice::Twice::from_environment(),
        })
    }

    /// The guarded way of writing.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The generation of the log: a restored log has a new one, and views of another are rebuilt.
    pub fn generation(&self) -> &str {
        &self.generation
    }

    /// The position of this sequence in this log.
    pub fn position(&self, sequence: u64) -> Position {
        Position { generation: self.generation.to_string(), sequence }
    }

    /// Generation and last sequence of the log as it is now.
    pub async fn log_state(&self) -> Result<(String, u64), Fault> {
        self.journal.store().state().await
    }

    /// Follows the log from `checkpoint + 1`; 0 follows it from its beginning.
    pub fn follow(&self, checkpoint: u64) -> Follower {
        Follower::new(self.journal.store().clone(), checkpoint)
    }

    /// Whether the connection is up.
    pub fn is_connected(&self) -> bool {
        self.nats.is_connected()
    }
}
