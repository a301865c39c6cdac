//! Status: the newest word about a job or a node. Lost without harm, never the truth.

use crate::{Bus, Fault, subjects};
use futures::{Stream, StreamExt};
use strongroom_domain::event::decode_payload;
use strongroom_domain::wire::Status;
use strongroom_domain::{JobId, NodeId};

impl Bus {
    /// Every status as it comes, with the node that its subject names. What cannot be read is passed over.
    pub async fn watch_status(
        &self,
    ) -> Result<impl Stream<Item = (NodeId, Status)> + Send + Unpin + use<>, Fault> {
        let subscriber = self.nats.subscribe(subjects::STORED_STATUSES).await?;
        Ok(Box::pin(subscriber.filter_map(|message| async move {
            let node = message.subject.split('.').nth(3)?.parse().ok()?;
            Some((node, decode_payload(&message.payload).ok()?))
        })))
    }

    /// The newest progress of a job on a node.
    pub async fn last_progress(&self, node: &NodeId, job: JobId) -> Result<Option<Status>, Fault> {
        let subject = subjects::status(node.as_str(), &job.to_string());
        let message = self.nats.newest(subjects::STATUS, &subject).await?;
        Ok(message.and_then(|(_, status)| decode_payload(&status).ok()))
    }
}
