//! `GET /archives/{id}/download`: what is in an archive, as it comes from its node, with nothing of it on a disk in between.
//!
//! The accident that this file prevents: half a file that looks whole. The node says at the end how much it was, with its digest;
//! an answer that breaks off before has no end, so no client takes it for a whole one.

use super::archives::{check_paths, find_whole, target_of};
use super::jobs::state_of;
use super::repositories::reach_to_read;
use crate::app::{App, DOWNLOADS};
use crate::http::Request;
use crate::problem::Problem;
use crate::work;
use bytes::Bytes;
use futures::StreamExt;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use strongroom_bus::{Context, NewEvent, PieceDelivery};
use strongroom_domain::job::{
    CancelRequested, DownloadForm, DownloadSpec, JobSpec, Phase, Requested, Trigger,
};
use strongroom_domain::view::{Archive, Job};
use strongroom_domain::wire::{Piece, PieceAnswer, Whole};
use strongroom_domain::{Aggregate, Event, EventId, FailureCode, JobId, Kind, NodeId, Rejection};
use strongroom_service::clock;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use uuid::Uuid;
use warp::http::{HeaderName, HeaderValue, StatusCode, header};
use warp::reply::{Reply, Response};

/// How long a node may take to come to it: who waits has a connection open.
const BEGUN_WITHIN_S: u64 = 110;
/// Longer than any download.
const ENDED_WITHIN: Duration = Duration::from_secs(7 * 24 * 3600);
/// Pieces that may come before their turn.
const AHEAD: u64 = 8;
/// How often a node hears that a slow reader is still there.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the node may go on to ask for the answer to its last piece.
const ANSWERED_WITHIN: Duration = Duration::from_secs(60);
/// Which job it is, to be looked at.
const JOB: &str = "strongroom-job";

/// The secret key of age that opens the archive, when its repository keeps none.
const IDENTITY: &str = "strongroom-identity";

/// What goes to the client.
type Body = mpsc::Sender<io::Result<Bytes>>;

/// `GET /archives/{id}/download`.
pub async fn download(app: &Arc<App>, request: &Request, id: &str) -> Result<Response, Problem> {
    let (paths, form) = understand(request)?;
    let full = || {
        let detail = format!("{DOWNLOADS} downloads are under way already; try again when one has ended");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_downloads", detail)
            .with(header::RETRY_AFTER, "10")
    };
    let place = app.downloads.clone().try_acquire_owned().map_err(|_| full())?;
    let (archive, _) = find_whole(app, request, id).await?;
    // Not in the address: what stands there is logged by whatever is on the way.
    let identity = match request.headers.get(IDENTITY).map(HeaderValue::to_str) {
        None => None,
        // As in a form: keys of OpenPGP have many lines, and a header has one.
        Some(Ok(text)) => Some(unescaped(text)),
        Some(Err(_)) => return Err(Problem::field("identity", "must be a secret key of age")),
    };
    let (access, server, definition) = reach_to_read(app, archive.repository.as_str(), identity).await?;
    let node = definition.node;
    let name = file_name(&archive, &paths, form);
    let spec = DownloadSpec { access, archive: target_of(&archive), paths, form };
    let deadline_s = Some(BEGUN_WITHIN_S);
    let requested = Requested {
        spec: JobSpec::Download(spec),
        server,
        node: node.clone(),
        trigger: Trigger::Manual,
        deadline_s,
    };
    // A download that was repeated under one key would be another answer to a job that has ended.
    let job = JobId(Uuid::now_v7());
    // Before it is asked for: the first piece must find somebody.
    let pieces = app.bus.take_pieces(&node, job).await?;
    let asked = work::request(app, request, job, requested).await?;
    request.leave_room();
    let (body, come) = mpsc::channel(1);
    let (begin, begun) = oneshot::channel();
    let passing = Passing {
        app: app.clone(),
        job,
        node,
        sequence: asked.sequence,
        context: request.context(Some(job.to_string())),
        caller: request.caller.clone(),
        place,
    };
    tokio::spawn(passing.run(pieces, body, begin));
    let gone = || Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the gateway is ending");
    begun.await.map_err(|_| gone())??;
    Ok(answer(come, job, form, &name))
}

fn unescaped(text: &str) -> String {
    // With a name before it, it is a form of one field.
    let form = format!("x={text}");
    url::form_urlencoded::parse(form.as_bytes())
        .map(|(_, value)| value.into_owned())
        .next()
        .unwrap_or_default()
}

fn understand(request: &Request) -> Result<(Vec<String>, DownloadForm), Problem> {
    let paths: Vec<String> =
        request.query.iter().filter(|(name, _)| name == "path").map(|(_, path)| path.clone()).collect();
    let form = match request.query("format") {
        None if paths.len() == 1 => DownloadForm::Raw,
        None | Some("tar") => DownloadForm::Tar,
        Some("zip") => DownloadForm::Zip,
        Some("raw") if paths.len() == 1 => DownloadForm::Raw,
        Some("raw") => return Err(Problem::field("path", "must be one path with the format 'raw'")),
        Some(_) => return Err(Problem::field("format", "must be 'raw', 'tar' or 'zip'")),
    };
    let mut problems = Vec::new();
    check_paths(&mut problems, "path", &paths);
    if problems.is_empty() { Ok((paths, form)) } else { Err(Rejection::Invalid { fields: problems }.into()) }
}

fn file_name(archive: &Archive, paths: &[String], form: DownloadForm) -> String {
    let whole = &archive.facts.name;
    match (form, paths) {
        (DownloadForm::Raw, [path, ..]) => path.rsplit('/').next().unwrap_or(whole).to_owned(),
        (DownloadForm::Zip, _) => format!("{whole}.zip"),
        _ => format!("{whole}.tar"),
    }
}

/// RFC 6266: a plain name for all, and the name as it is for those that read RFC 8187.
fn disposition(name: &str) -> String {
    let plain: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect();
    let full: String = name
        .bytes()
        .map(|b| match b {
            b if b.is_ascii_alphanumeric() || b"-_.".contains(&b) => char::from(b).to_string(),
            b => format!("%{b:02X}"),
        })
        .collect();
    format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{full}")
}

fn answer(come: mpsc::Receiver<io::Result<Bytes>>, job: JobId, form: DownloadForm, name: &str) -> Response {
    let pieces = tokio_stream(come);
    let mut response = warp::reply::stream(pieces).into_response();
    let kind = match form {
        DownloadForm::Raw => "application/octet-stream",
        DownloadForm::Tar => "application/x-tar",
        DownloadForm::Zip => "application/zip",
    };
    let said = [
        (header::CONTENT_TYPE, kind.to_owned()),
        (header::CONTENT_DISPOSITION, disposition(name)),
        (header::CACHE_CONTROL, "no-store".to_owned()),
        // Whatever was backed up, no browser is to run it.
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (HeaderName::from_static("x-accel-buffering"), "no".to_owned()),
        (HeaderName::from_static(JOB), job.to_string()),
    ];
    for (name, value) in said {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

fn tokio_stream(
    mut come: mpsc::Receiver<io::Result<Bytes>>,
) -> impl futures::Stream<Item = io::Result<Bytes>> + Send + Sync {
    futures::stream::poll_fn(move |context| come.poll_recv(context))
}

/// A download under way.
struct Passing {
    app: Arc<App>,
    job: JobId,
    node: NodeId,
    sequence: u64,
    context: Context,
    caller: crate::auth::Caller,
    place: OwnedSemaphorePermit,
}

/// How the passing ended.
enum End {
    /// All of it was passed on.
    Whole,
    /// The job has ended without.
    JobEnded(Box<Option<Job>>),
    /// What came is not what was sent.
    Damaged,
    /// Nobody reads any more, or must not.
    Gone(&'static str),
}

impl Passing {
    async fn run(
        self,
        mut pieces: impl futures::Stream<Item = PieceDelivery> + Unpin,
        body: Body,
        begin: oneshot::Sender<Result<(), Problem>>,
    ) {
        let mut begin = Some(begin);
        let mut turns = Turns::default();
        let end = tokio::select! {
            end = pass(&mut pieces, &body, &mut begin, &mut turns) => end,
            ended = work::hear_of_end(&self.app, self.job, self.sequence, ENDED_WITHIN) => {
                End::JobEnded(Box::new(ended.ok().flatten().map(|(job, _)| job)))
            }
            // Also before it is begun: who asks holds the other end.
            () = body.closed() => End::Gone("nobody reads the download any more"),
            () = self.app.shutdown.cancelled() => End::Gone("the gateway that passed the download on has ended"),
            () = self.app.tokens.until_ended(&self.app.bus, &self.caller) => {
                End::Gone("the token of who asked for the download has ended")
            }
        };
        let why = match end {
            End::Whole => {
                // Its reader learns by this that it has all.
                drop(body);
                return self.answer_again(pieces).await;
            }
            End::JobEnded(job) => {
                let problem = problem_of(self.job, job.as_ref().as_ref());
                self.break_off(&body, begin, problem).await;
                return;
            }
            End::Damaged => "what came of the download is not what was sent",
            End::Gone(why) => why,
        };
        tracing::info!(job = %self.job, node = %self.node, why, "a download breaks off");
        turns.refuse().await;
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "download_broke_off", why);
        self.break_off(&body, begin, problem).await;
        self.cancel(why).await;
        // What is still under way is told so, and not left without an answer.
        let refusing = async {
            while let Some(delivery) = pieces.next().await {
                delivery.answer(PieceAnswer::Stop).await;
            }
        };
        let _ = tokio::time::timeout(PATIENCE, refusing).await;
    }

    /// An answer may have been lost, and the node sends its last piece until it has one.
    async fn answer_again(self, mut pieces: impl futures::Stream<Item = PieceDelivery> + Unpin) {
        let Self { app, job, sequence, place, .. } = self;
        drop(place);
        let answering = async {
            while let Some(delivery) = pieces.next().await {
                delivery.answer(PieceAnswer::Taken).await;
            }
        };
        tokio::select! {
            () = answering => {}
            () = app.shutdown.cancelled() => {}
            _ = work::hear_of_end(&app, job, sequence, ANSWERED_WITHIN) => {}
        }
    }

    /// A client that has the head of an answer hears only by a connection that breaks that there is no more.
    async fn break_off(
        &self,
        body: &Body,
        begin: Option<oneshot::Sender<Result<(), Problem>>>,
        problem: Problem,
    ) {
        match begin {
            Some(begin) => {
                let _ = begin.send(Err(problem));
            }
            None => {
                let _ = body.send(Err(io::Error::other(problem.detail))).await;
            }
        }
    }

    async fn cancel(&self, reason: &str) {
        let aggregate = Aggregate::new(Kind::Job, self.job);
        let id = EventId::of_command(&format!("download/{}/broke-off", self.job), 0);
        let event = Event::JobCancelRequested(CancelRequested { reason: Some(reason.to_owned()) });
        let decided = self.app.bus.journal().decide(&aggregate, &self.context, |history| {
            let open = state_of(history).is_some_and(|s| !s.phase.is_terminal() && !s.cancel_requested);
            Ok::<_, Rejection>(open.then(|| NewEvent { id, at: clock::now(), event: event.clone() }))
        });
        if let Err(e) = decided.await {
            tracing::warn!(job = %self.job, error = %e, "a download that nobody reads was not cancelled");
        }
    }
}

/// Pieces in their turn.
#[derive(Default)]
struct Turns {
    epoch: Option<u64>,
    next: u64,
    early: BTreeMap<u64, PieceDelivery>,
}

impl Turns {
    /// Takes one in, or answers it at once.
    async fn take(&mut self, delivery: PieceDelivery) -> Result<(), End> {
        let Piece { epoch, n, .. } = delivery.piece;
        if self.epoch.is_some_and(|ours| epoch < ours) {
            delivery.answer(PieceAnswer::Stop).await;
        } else if self.epoch.is_some_and(|ours| epoch > ours) {
            // Another attempt begins anew; what was passed on cannot be taken back.
            delivery.answer(PieceAnswer::Stop).await;
            return Err(End::Gone("the node was started anew in the middle of the download"));
        } else if n < self.next {
            delivery.answer(PieceAnswer::Taken).await;
        } else if n >= self.next + AHEAD {
            delivery.answer(PieceAnswer::Wait).await;
        } else if let Some(before) = self.early.insert(n, delivery) {
            before.answer(PieceAnswer::Wait).await;
        }
        Ok(())
    }

    fn is_ready(&self) -> bool {
        self.early.contains_key(&self.next)
    }

    fn next(&mut self) -> Option<PieceDelivery> {
        let delivery = self.early.remove(&self.next)?;
        self.epoch = Some(delivery.piece.epoch);
        self.next += 1;
        Some(delivery)
    }

    async fn wait(&self) {
        for delivery in self.early.values() {
            delivery.answer(PieceAnswer::Wait).await;
        }
    }

    async fn refuse(&mut self) {
        for delivery in std::mem::take(&mut self.early).into_values() {
            delivery.answer(PieceAnswer::Stop).await;
        }
    }
}

/// Passes pieces on until the last.
async fn pass(
    pieces: &mut (impl futures::Stream<Item = PieceDelivery> + Unpin),
    body: &Body,
    begin: &mut Option<oneshot::Sender<Result<(), Problem>>>,
    turns: &mut Turns,
) -> End {
    let (mut sum, mut bytes) = (Sha256::new(), 0_u64);
    let mut tick = tokio::time::interval(PATIENCE);
    loop {
        let taken = tokio::select! {
            delivery = pieces.next() => match delivery {
                Some(delivery) => turns.take(delivery).await,
                None => Err(End::Gone("the way to the node is closed")),
            },
            room = body.reserve(), if turns.is_ready() => {
                let (Ok(room), Some(delivery)) = (room, turns.next()) else {
                    return End::Gone("nobody reads the download any more");
                };
                if let Some(begin) = begin.take() {
                    let _ = begin.send(Ok(()));
                }
                let piece = Bytes::from(delivery.piece.bytes.clone());
                if let Some(Whole { size_bytes, sha256 }) = &delivery.piece.whole {
                    let ours: String = sum.finalize().iter().map(|b| format!("{b:02x}")).collect();
                    if (bytes, &ours) != (*size_bytes, sha256) {
                        delivery.answer(PieceAnswer::Stop).await;
                        return End::Damaged;
                    }
                    delivery.answer(PieceAnswer::Taken).await;
                    return End::Whole;
                }
                sum.update(&piece);
                bytes += piece.len() as u64;
                room.send(Ok(piece));
                delivery.answer(PieceAnswer::Taken).await;
                Ok(())
            }
            _ = tick.tick() => {
                turns.wait().await;
                Ok(())
            }
        };
        if let Err(end) = taken {
            return end;
        }
    }
}

/// What is said of a job that has ended without all of the download.
fn problem_of(id: JobId, job: Option<&Job>) -> Problem {
    let look = format!("look at job {id}");
    match job {
        Some(Job { failure: Some(failure), .. }) => {
            let status = match failure.code {
                FailureCode::PathNotInArchive | FailureCode::ArchiveMissing => StatusCode::NOT_FOUND,
                FailureCode::WrongForm => StatusCode::CONFLICT,
                // It takes a key that was not given, or another one than was.
                FailureCode::SecretMissing | FailureCode::WrongPassphrase => StatusCode::UNPROCESSABLE_ENTITY,
                _ => StatusCode::BAD_GATEWAY,
            };
            Problem::new(status, &failure.code.to_string(), format!("{}; {look}", failure.message))
        }
        Some(Job { phase: Phase::Cancelled, .. }) => {
            Problem::conflict("cancelled", format!("the download was cancelled; {look}"))
        }
        Some(Job { phase: Phase::Abandoned, .. }) => {
            let detail = format!("the node did not come to it within {BEGUN_WITHIN_S} s; {look}");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "node_busy", detail).with(header::RETRY_AFTER, "60")
        }
        _ => Problem::new(StatusCode::BAD_GATEWAY, "download_broke_off", format!("it broke off; {look}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_many_lines_comes_in_one_header() {
        assert_eq!(unescaped("AGE-SECRET-KEY-1ABC"), "AGE-SECRET-KEY-1ABC");
        assert_eq!(unescaped("-----BEGIN+PGP-----%0A%0Aa%2Bb%3D%26%0A"), "-----BEGIN PGP-----\n\na+b=&\n");
    }

    #[test]
    fn names_are_told_to_old_and_new_clients_and_cannot_leave_their_header() {
        assert_eq!(disposition("a.sql"), "attachment; filename=\"a.sql\"; filename*=UTF-8''a.sql");
        let odd = disposition("é\"\r\n/x");
        assert_eq!(odd, "attachment; filename=\"_____x\"; filename*=UTF-8''%C3%A9%22%0D%0A%2Fx");
        assert!(HeaderValue::from_str(&odd).is_ok());
    }
}
