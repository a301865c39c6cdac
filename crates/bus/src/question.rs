//! Questions over request/reply, with positions: an asker can demand that its own writes have been seen.

use crate::{Bus, Fault, Position, subjects};
use futures::StreamExt;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::future::Future;
use std::time::Duration;
use strongroom_domain::Rejection;
use strongroom_domain::event::{decode_payload, encode_payload};

/// A question as it travels.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Question {
    /// The position that the answer must have reached.
    #[serde(default)]
    pub at_least: Option<Position>,
    /// The question itself, MessagePack.
    #[serde(with = "serde_bytes")]
    pub body: Vec<u8>,
    /// W3C trace context.
    #[serde(default)]
    pub traceparent: Option<String>,
}

/// An answer as it travels.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// Here it is.
    Ok {
        /// The position that it speaks for.
        position: Position,
        /// The answer itself, MessagePack.
        #[serde(with = "serde_bytes")]
        body: Vec<u8>,
    },
    /// The position asked for was not reached in time.
    Behind {
        /// Where it is.
        position: Position,
    },
    /// The position asked for belongs to another log.
    OtherLog {
        /// Where it is.
        position: Position,
    },
    /// The question is answered with no.
    Rejected {
        /// Why.
        rejection: Rejection,
    },
    /// Answering failed.
    Failed {
        /// Why.
        problem: String,
    },
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody answers, or not in time.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The view has not caught up with the position asked for; ask again a little later.
    #[error("the view is at {0}, behind the position asked for")]
    Behind(Position),
    /// The position asked for is of a log that is no more.
    #[error("the position asked for belongs to another log; the present one is at {0}")]
    OtherLog(Position),
    /// No.
    #[error(transparent)]
    Rejected(Rejection),
}

impl Answer {
    /// An answer that speaks for `position`.
    pub fn ok<T: Serialize>(position: Position, body: &T) -> Self {
        match encode_payload(body) {
            Ok(body) => Self::Ok { position, body },
            Err(e) => Self::Failed { problem: e.to_string() },
        }
    }
}

/// How many bytes an answer may have: NATS takes 1 MiB with its headers (`max_payload` in its configuration).
const MOST_BYTES: usize = (1 << 20) - 1024;

impl Answer {
    /// As it travels. NATS throws away what is too large, and who asked would wait for nothing, and then try again.
    fn encode(&self) -> Option<Vec<u8>> {
        let bytes = encode_payload(self).ok()?;
        if bytes.len() <= MOST_BYTES {
            return Some(bytes);
        }
        let detail = format!(
            "the answer has {} bytes, and no more than {MOST_BYTES} can be sent: there is too much to be told at once",
            bytes.len()
        );
        let rejection = Rejection::conflict("answer_too_large", detail);
        encode_payload(&Self::Rejected { rejection }).ok()
    }
}

impl Question {
    /// The question itself.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Rejection> {
        decode_payload(&self.body).map_err(|e| Rejection::field("question", e.to_string()))
    }
}

impl Bus {
    /// Asks a service. The answer comes with the position that it speaks for.
    pub async fn ask<Q: Serialize, A: DeserializeOwned>(
        &self,
        service: &str,
        view: &str,
        question: &Q,
        at_least: Option<Position>,
        traceparent: Option<String>,
    ) -> Result<(A, Position), AskError> {
        let body = encode_payload(question).map_err(|e| Fault::permanent("asking", e))?;
        let question = Question { at_least, body, traceparent };
        let payload = encode_payload(&question).map_err(|e| Fault::permanent("asking", e))?;
        let reply = self
            .nats
            .request(&subjects::query(service, view), payload.into(), Duration::from_secs(10))
            .await?;
        let answer: Answer = decode_payload(&reply.payload).map_err(|e| Fault::permanent("an answer", e))?;
        match answer {
            Answer::Ok { position, body } => {
                Ok((decode_payload(&body).map_err(|e| Fault::permanent("an answer", e))?, position))
            }
            Answer::Behind { position } => Err(AskError::Behind(position)),
            Answer::OtherLog { position } => Err(AskError::OtherLog(position)),
            Answer::Rejected { rejection } => Err(AskError::Rejected(rejection)),
            Answer::Failed { problem } => Err(Fault::Permanent(problem).into()),
        }
    }

    /// Answers all questions to a service, in a queue group of its name, so that replicas share them. `handler` gets
    /// the view's name. Ends when the connection does.
    pub async fn serve<F, Fut>(&self, service: &str, at_once: usize, handler: F) -> Result<(), Fault>
    where
        F: Fn(String, Question) -> Fut + Send + Sync,
        Fut: Future<Output = Answer> + Send,
    {
        let prefix = subjects::query(service, "");
        let subscriber = self.nats.queue_subscribe(&subjects::query(service, ">"), service).await?;
        subscriber
            .for_each_concurrent(at_once, |message| {
                let view = message.subject.strip_prefix(&*prefix).unwrap_or_default().to_owned();
                let answer =
                    decode_payload::<Question>(&message.payload).map(|question| handler(view, question));
                async move {
                    let answer = match answer {
                        Ok(answering) => answering.await,
                        Err(e) => Answer::Rejected { rejection: Rejection::field("question", e.to_string()) },
                    };
                    if let (Some(reply), Some(payload)) = (message.reply, answer.encode()) {
                        self.nats.publish(&reply, payload.into()).await;
                    }
                }
            })
            .await;
        Ok(())
    }
}
