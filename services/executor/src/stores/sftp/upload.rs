//! A file that goes to another machine, with several requests on their way.

use super::connection::Connection;
use super::{FLYING, PARTIAL, Shared, Upload};
use async_trait::async_trait;
use bytes::Bytes;
use russh_sftp::client::error::Error;
use std::sync::Arc;
use strongroom_domain::{Failure, FailureCode};
use tokio::task::JoinSet;

/// It, as far as it is.
pub struct Uploading {
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    name: String,
    handle: String,
    offset: u64,
    /// Dropped, they are ended.
    flying: JoinSet<Result<(), Error>>,
}

impl Uploading {
    pub fn new(shared: Arc<Shared>, connection: Arc<Connection>, name: String, handle: String) -> Self {
        Self { shared, connection, name, handle, offset: 0, flying: JoinSet::new() }
    }

    async fn make_room(&mut self, flying: usize) -> Result<(), Failure> {
        while self.flying.len() > flying {
            let Some(done) = self.flying.join_next().await else { break };
            let done = done.map_err(|e| Failure::new(FailureCode::Unknown, e.to_string()))?;
            if let Err(e) = done {
                return Err(self.failed(&e).await);
            }
        }
        Ok(())
    }

    async fn failed(&self, error: &Error) -> Failure {
        self.shared.failed_to_store(&self.connection, &self.name, error).await
    }
}

#[async_trait]
impl Upload for Uploading {
    async fn write(&mut self, mut piece: Bytes) -> Result<(), Failure> {
        while !piece.is_empty() {
            self.make_room(FLYING - 1).await?;
            let step = piece.split_to(piece.len().min(self.connection.step_bytes as usize));
            let (connection, handle, offset) = (self.connection.clone(), self.handle.clone(), self.offset);
            self.offset += step.len() as u64;
            self.flying.spawn(async move {
                connection.session.write(handle, offset, step.to_vec()).await.map(|_| ())
            });
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<(), Failure> {
        self.make_room(0).await?;
        let session = &self.connection.session;
        let finishing = async {
            if self.connection.syncs {
                session.fsync(&self.handle).await?;
            }
            session.close(&self.handle).await?;
            let path = self.shared.path(&self.name);
            self.shared.name_it(&self.connection, &format!("{path}{PARTIAL}"), &path).await
        };
        match finishing.await {
            Ok(true) => Ok(()),
            Ok(false) => {
                let message = format!("{}: '{}' is there already", self.shared.place, self.name);
                Err(Failure::new(FailureCode::TargetExists, message))
            }
            Err(e) => Err(self.failed(&e).await),
        }
    }

    async fn abort(mut self: Box<Self>) {
        self.flying.shutdown().await;
        let aside = format!("{}{PARTIAL}", self.shared.path(&self.name));
        let removed = async {
            // It may have ended, and that be why this is given up.
            let _ = self.connection.session.close(&self.handle).await;
            let connection = self.shared.connection().await?;
            match connection.session.remove(&aside).await {
                Err(e) if !super::is_absent(&e) => {
                    Err(self.shared.failed(&connection, "remove it", &e).await)
                }
                _ => Ok(()),
            }
        };
        if let Err(e) = removed.await {
            tracing::warn!(file = aside, error = %e.message, "what was half written was not removed");
        }
    }
}
