//! Pieces of a download: from a node to the one gateway that waits for them. Nothing of them is ever stored.
//!
//! Each piece is a request, and is answered when it was passed on: so a slow reader holds up the node, and nobody has to
//! keep more than a few pieces.

use crate::{Bus, Fault, NodeBus, subjects};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use std::time::Duration;
use strongroom_domain::event::{decode_payload, encode_payload};
use strongroom_domain::wire::{Piece, PieceAnswer};
use strongroom_domain::{JobId, NodeId};

/// How long an answer may take: a gateway whose reader is slow says so before.
const ANSWER: Duration = Duration::from_secs(20);

/// A piece that came, and that is to be answered.
pub struct PieceDelivery {
    /// What came.
    pub piece: Piece,
    nats: crate::nats::Connection,
    reply: String,
}

impl PieceDelivery {
    /// Answers it.
    pub async fn answer(&self, answer: PieceAnswer) {
        if let Ok(payload) = encode_payload(&answer) {
            self.nats.publish(&self.reply, payload.into()).await;
        }
    }
}

impl Bus {
    /// The pieces of a download as they come; those that cannot be read are passed over, and the node sends them again.
    pub async fn take_pieces(
        &self,
        node: &NodeId,
        job: JobId,
    ) -> Result<impl Stream<Item = PieceDelivery> + Send + Unpin + use<>, Fault> {
        let subscriber = self.nats.subscribe(&subjects::piece(node.as_str(), &job.to_string())).await?;
        let nats = self.nats.clone();
        Ok(Box::pin(subscriber.filter_map(move |message| {
            let nats = nats.clone();
            async move {
                let piece = decode_payload(&message.payload).ok()?;
                Some(PieceDelivery { piece, nats, reply: message.reply?.to_string() })
            }
        })))
    }
}

impl NodeBus {
    /// Sends a piece of a download, and waits until it was passed on.
    pub async fn send_piece(&self, job: JobId, piece: &Piece) -> Result<PieceAnswer, Fault> {
        let payload: Bytes = encode_payload(piece).map_err(|e| Fault::permanent("a piece", e))?.into();
        let subject = subjects::piece(self.node().as_str(), &job.to_string());
        let reply = self.connection().request(&subject, payload, ANSWER).await?;
        decode_payload(&reply.payload).map_err(|e| Fault::permanent("the answer to a piece", e))
    }
}
