//! HTTP for clouds: requests end when nothing moves any more, and not when much is to be moved over a slow line; and of an
//! error only that is handed on which is no secret.

use crate::core::clouds::Said;
use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{CONTENT_LENGTH, HeaderMap};
use jiff::Timestamp;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse,
    HttpResponseBody, HttpService,
};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

/// A request of which nothing moves for so long is given up.
pub const STALLED: Duration = Duration::from_secs(30);
const CONNECT: Duration = Duration::from_secs(10);
/// A machine of a cloud answers such questions at once.
const CONNECT_MACHINE: Duration = Duration::from_secs(2);
/// Where machines of clouds are asked for credentials.
const MACHINE: &[&str] = &["169.254.169.254", "169.254.170.2", "metadata.google.internal", "metadata"];
/// How much is handed over at once: what was taken of it tells that something moves.
const STEP_BYTES: usize = 64 << 10;
/// The most that is read of an error document.
const DOCUMENT_BYTES: usize = 64 << 10;

/// Makes clients of this kind.
#[derive(Debug)]
pub struct Http;

impl HttpConnector for Http {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        // There may be one already, which is the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Ok(HttpClient::new(Service { far: client(CONNECT)?, machine: client(CONNECT_MACHINE)? }))
    }
}

fn client(connect: Duration) -> object_store::Result<reqwest::Client> {
    let client = reqwest::Client::builder()
        .user_agent(concat!("strongroom/", env!("CARGO_PKG_VERSION")))
        // What is signed for one address is not for another.
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(connect)
        .tcp_user_timeout(STALLED)
        .build();
    client.map_err(|e| object_store::Error::Generic { store: "HTTP", source: Box::new(e) })
}

/// Why no answer came.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{words}")]
pub struct Trouble {
    /// What happened.
    pub words: String,
    /// It was this machine that was asked, for credentials.
    pub machine: bool,
}

/// What keeps an object from being removed for good (Amazon S3, `HeadObject`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    until: Option<String>,
    held: bool,
}

impl Lock {
    fn read(headers: &HeaderMap) -> Option<Self> {
        let value = |name: &str| Some(headers.get(name)?.to_str().ok()?.to_owned());
        let held = value("x-amz-object-lock-legal-hold").is_some_and(|hold| hold == "ON");
        let until = value("x-amz-object-lock-retain-until-date");
        (held || until.is_some()).then_some(Self { until, held })
    }

    /// What it says at this time; nothing when it holds no more.
    pub fn words(&self, now: Timestamp) -> Option<String> {
        // A time that cannot be read is none that is known to be over.
        let locked =
            self.until.as_ref().filter(|until| until.parse().map_or(true, |until: Timestamp| until > now));
        match (locked, self.held) {
            (Some(until), _) => Some(format!("is locked until {until}")),
            (None, true) => Some("is locked until its legal hold is taken away".to_owned()),
            (None, false) => None,
        }
    }
}

#[derive(Debug)]
struct Service {
    far: reqwest::Client,
    machine: reqwest::Client,
}

#[async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (parts, body) = request.into_parts();
        let machine = parts.uri.host().is_some_and(|host| MACHINE.contains(&host));
        let trouble = |kind, words: String| HttpError::new(kind, Trouble { words, machine });
        let url = parts.uri.to_string().parse();
        let url = url.map_err(|_| trouble(HttpErrorKind::Unknown, "its address is none".to_owned()))?;
        let moved = Moved::now();
        let mut request = reqwest::Request::new(parts.method, url);
        *request.headers_mut() = parts.headers;
        *request.body_mut() = Some(match body.as_bytes() {
            Some(bytes) => bytes.clone().into(),
            None => {
                let going = Going { body, left: Bytes::new(), moved: moved.clone() };
                reqwest::Body::wrap_stream(going)
            }
        });
        let client = if machine { &self.machine } else { &self.far };
        let answer = tokio::select! {
            answer = client.execute(request) => answer.map_err(|e| {
                let kind = kind(&e);
                trouble(kind, words(&e.without_url()))
            })?,
            () = moved.stalled() => return Err(trouble(HttpErrorKind::Timeout, stalled())),
        };
        let (mut parts, body) = hyper::Response::<reqwest::Body>::from(answer).into_parts();
        let mut body = Coming { body, patience: None };
        if let Some(lock) = Lock::read(&parts.headers) {
            parts.extensions.insert(lock);
        }
        if !(parts.status.is_client_error() || parts.status.is_server_error()) {
            return Ok(HttpResponse::from_parts(parts, HttpResponseBody::new(body)));
        }
        let document = document(&mut body).await;
        let header = |headers: &HeaderMap| Some(headers.get("x-ms-error-code")?.to_str().ok()?.to_owned());
        let said = Said::read(parts.status.as_u16(), header(&parts.headers).as_deref(), &document);
        parts.headers.remove(CONTENT_LENGTH);
        Ok(HttpResponse::from_parts(parts, said.to_string().into()))
    }
}

/// When something was last taken from us.
#[derive(Clone)]
struct Moved(Arc<Mutex<Instant>>);

impl Moved {
    fn now() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    fn moves(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    async fn stalled(&self) {
        loop {
            let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if last.elapsed() >= STALLED {
                return;
            }
            sleep_until(last + STALLED).await;
        }
    }
}

/// A body on its way, in small steps.
struct Going {
    body: HttpRequestBody,
    left: Bytes,
    moved: Moved,
}

impl Stream for Going {
    type Item = Result<Bytes, HttpError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.moved.moves();
        while self.left.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => self.left = frame.into_data().unwrap_or_default(),
                Some(Err(e)) => return Poll::Ready(Some(Err(e))),
                None => return Poll::Ready(None),
            }
        }
        let step = self.left.len().min(STEP_BYTES);
        Poll::Ready(Some(Ok(self.left.split_to(step))))
    }
}

/// A body that comes; only while it is waited for does time count.
struct Coming {
    body: reqwest::Body,
    patience: Option<Pin<Box<Sleep>>>,
}

impl Body for Coming {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let trouble = |kind, words| HttpError::new(kind, Trouble { words, machine: false });
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.patience = None;
            let frame = frame.map(|frame| frame.map_err(|e| trouble(kind(&e), words(&e.without_url()))));
            return Poll::Ready(frame);
        }
        let patience = self.patience.get_or_insert_with(|| Box::pin(sleep(STALLED)));
        ready!(patience.as_mut().poll(cx));
        Poll::Ready(Some(Err(trouble(HttpErrorKind::Timeout, stalled()))))
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

/// The beginning of an error document, which is no error of its own if it breaks off.
async fn document(body: &mut Coming) -> String {
    let mut document = Vec::new();
    while let Some(Ok(frame)) = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {
        document.extend(frame.into_data().unwrap_or_default());
        if document.len() > DOCUMENT_BYTES {
            break;
        }
    }
    String::from_utf8_lossy(&document).into_owned()
}

fn stalled() -> String {
    format!("nothing moved for {} s", STALLED.as_secs())
}

/// What may be tried again: nothing was sent, or it may be sent twice.
fn kind(error: &reqwest::Error) -> HttpErrorKind {
    if error.is_connect() {
        HttpErrorKind::Connect
    } else if error.is_timeout() {
        HttpErrorKind::Timeout
    } else if error.is_builder() || error.is_decode() {
        HttpErrorKind::Unknown
    } else {
        HttpErrorKind::Interrupted
    }
}

/// The first and the last cause: those between say the same again.
fn words(error: &reqwest::Error) -> String {
    let mut last: &dyn std::error::Error = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    let (first, last) = (error.to_string(), last.to_string());
    if first == last { first } else { format!("{first}: {last}") }
}
