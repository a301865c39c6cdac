//! Delivering what is due.
//!
//! Each channel has a few deliveries under way at most, so that one that hangs keeps none of the others waiting. A
//! delivery counts as under way until the fold has seen the fact about it, so that it is not made again meanwhile.

use crate::core::answer::Answer;
use crate::core::ledger::Pending;
use crate::core::outcome::{aggregate, is_told, outcome};
use crate::core::signature::SigningKey;
use crate::desk::Desk;
use crate::webhook::Message;
use age::secrecy::ExposeSecret;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;
use strongroom_bus::{Context, DecideError, Fault, NewEvent};
use strongroom_domain::channel::{Spec, Target};
use strongroom_domain::{ChannelId, Event, EventId};
use strongroom_service::identity;
use strongroom_service::{Shutdown, clock, trace};
use tracing::Instrument;
use uuid::Uuid;

/// Deliveries under way to one channel.
const PER_CHANNEL: usize = 4;
/// Deliveries under way in all.
const AT_ONCE: usize = 64;
/// The longest sleep, so that a clock that was set does not leave deliveries lying.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);
/// How long deliveries that are under way may still take once the notifier is to end.
const LAST_MOMENT: Duration = Duration::from_secs(3);

/// Why a notification is not to be begun now.
enum Busy {
    /// It is under way.
    To(ChannelId),
    /// The fold has yet to reach the fact about it.
    Until(u64),
    /// The log does not take the fact.
    Stuck,
}

/// Delivers until shutdown; then gives what is under way a last moment.
pub async fn deliver(desk: &Desk, shutdown: &Shutdown) {
    let mut busy: BTreeMap<Uuid, Busy> = BTreeMap::new();
    let mut under_way = FuturesUnordered::new();
    let mut seen = desk.seen.subscribe();
    loop {
        let now_seen = *seen.borrow_and_update();
        busy.retain(|_, b| !matches!(b, Busy::Until(sequence) if *sequence <= now_seen.sequence));
        let mut sleep = LONGEST_SLEEP;
        if now_seen.caught_up {
            let now = clock::now();
            let (due, next) = due(desk, &busy, now);
            sleep = next.map_or(LONGEST_SLEEP, |at| until(at, now).min(LONGEST_SLEEP));
            for Due { id, pending, spec } in due {
                busy.insert(id, Busy::To(pending.channel.clone()));
                let span =
                    tracing::info_span!("notify", notification.id = %id, channel.id = %pending.channel);
                trace::continue_from(&span, pending.traceparent.as_deref());
                under_way.push(async move { (id, one(desk, id, pending, spec).await) }.instrument(span));
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some((id, end)) = under_way.next(), if !under_way.is_empty() => match end {
                Ok(sequence) => { busy.insert(id, Busy::Until(sequence)); }
                Err(problem) => {
                    tracing::error!(notification.id = %id, error = %problem, "the log does not take what came of a delivery");
                    desk.stuck().insert(id, problem.to_string());
                    busy.insert(id, Busy::Stuck);
                }
            },
            _ = seen.changed() => {}
            () = tokio::time::sleep(sleep) => {}
        }
    }
    let _ = tokio::time::timeout(LAST_MOMENT, async { while under_way.next().await.is_some() {} }).await;
}

/// A delivery to be begun.
struct Due {
    id: Uuid,
    pending: Pending,
    /// How its channel is defined; `None` when it was retired.
    spec: Option<Spec>,
}

/// What can be begun now, and when the next thing is due.
fn due(desk: &Desk, busy: &BTreeMap<Uuid, Busy>, now: Timestamp) -> (Vec<Due>, Option<Timestamp>) {
    let mut to: BTreeMap<ChannelId, usize> = BTreeMap::new();
    let mut all = 0;
    for busy in busy.values() {
        if let Busy::To(channel) = busy {
            *to.entry(channel.clone()).or_default() += 1;
            all += 1;
        }
    }
    let (mut begin, mut next) = (Vec::new(), None);
    let ledger = desk.ledger();
    for (id, pending) in ledger.pending().into_iter().filter(|(id, _)| !busy.contains_key(id)) {
        if pending.due_at > now {
            // They are in the order of time.
            next = Some(pending.due_at);
            break;
        }
        let count = to.entry(pending.channel.clone()).or_default();
        if *count < PER_CHANNEL && all < AT_ONCE {
            *count += 1;
            all += 1;
            let spec = ledger.channel(&pending.channel).cloned();
            begin.push(Due { id, pending: pending.clone(), spec });
        }
    }
    (begin, next)
}

fn until(at: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now)).unwrap_or_default()
}

/// One attempt, and the fact about it; gives the sequence at which the log tells it.
async fn one(desk: &Desk, id: Uuid, pending: Pending, spec: Option<Spec>) -> Result<u64, Fault> {
    let answer = match &spec {
        None => Answer::Retired,
        Some(spec) => {
            let body = pending.told.body(pending.ended_at);
            patiently(|| send(desk, spec, id, body.clone())).await?
        }
    };
    let now = clock::now();
    let fact = NewEvent {
        id: EventId(Uuid::now_v7()),
        at: now,
        event: outcome(&pending, answer, &desk.ladder, now),
    };
    say(&pending, &fact.event);
    let context = Context {
        actor: "service:notifier".into(),
        correlation: pending.correlation.clone(),
        causation: Some(pending.about),
        traceparent: trace::traceparent(&tracing::Span::current()).or(pending.traceparent.clone()),
    };
    patiently(|| async {
        let decided = desk
            .bus
            .journal()
            .decide::<Infallible, _>(&aggregate(id), &context, |history| {
                let told = is_told(history.events.iter().map(|e| &e.event), pending.attempts + 1);
                Ok((!told).then(|| fact.clone()))
            })
            .await;
        match decided {
            Ok((appended, history)) => Ok(appended.map_or(history.head.sequence, |a| a.head.sequence)),
            Err(DecideError::Fault(fault)) => Err(fault),
            Err(DecideError::Rejected(never)) => match never {},
        }
    })
    .await
}

/// Sends one message to a channel. A fault is ours and no attempt.
pub async fn send(desk: &Desk, spec: &Spec, id: Uuid, body: Vec<u8>) -> Result<Answer, Fault> {
    let Target::Webhook { url, signing_key } = &spec.target;
    let Some(secret) = signing_key else {
        return Ok(Answer::none("the channel has no signing key; define it again"));
    };
    let Some(ciphertext) = desk.bus.get_secret(secret).await? else {
        return Ok(Answer::none(
            "the channel's signing key is not in the secret store; define the channel again",
        ));
    };
    let key = match identity::decrypt(&desk.identity, &ciphertext) {
        Ok(text) => SigningKey::parse(text.expose_secret()).map_err(|e| e.to_string()),
        Err(problem) => Err(format!("the channel's signing key {problem}; define the channel again")),
    };
    Ok(match key {
        Ok(key) => {
            let id = id.to_string();
            desk.webhook.send(Message { url, id: &id, key: &key, body }, clock::now()).await
        }
        Err(problem) => Answer::none(problem),
    })
}

/// Tries again while the log is away. A fault that does not pass is given back.
async fn patiently<T, Fut>(mut work: impl FnMut() -> Fut) -> Result<T, Fault>
where
    Fut: Future<Output = Result<T, Fault>>,
{
    let mut wait = Duration::from_millis(200);
    loop {
        match work().await {
            Err(fault) if fault.is_transient() => {
                tracing::warn!(error = %fault, "a delivery waits for the log");
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(Duration::from_secs(5));
            }
            done => return done,
        }
    }
}

fn say(pending: &Pending, event: &Event) {
    let (channel, job) =
        (&pending.channel, pending.told.job().map(|job| job.to_string()).unwrap_or_default());
    match event {
        Event::NotificationAttempted(e) => {
            tracing::warn!(channel.id = %channel, job.id = %job, attempt = e.attempt, problem = e.problem, next_at = %e.next_at, "a message was not taken");
        }
        Event::NotificationFailed(e) => {
            tracing::error!(channel.id = %channel, job.id = %job, attempts = e.attempts, problem = e.problem, "a message was given up");
        }
        _ => tracing::debug!(channel.id = %channel, job.id = %job, "a message was delivered"),
    }
}
