//! An S3 server (`s3s-fs`) in this process, on a free port, with its objects in a folder.
//!
//! It looks whether an object is there before it writes one under a condition, and not at the same moment; so requests with
//! a condition go through it one by one. It makes buckets as it goes; so what is for another one is refused before it. It
//! passes over locks of objects; so these are remembered before it, told, and refused without a checksum, as Amazon does.

use crate::port::Port;
use anyhow::{Context, Result, anyhow};
use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue, IF_NONE_MATCH};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

/// The id of its key.
pub const S3_ACCESS_KEY_ID: &str = "AKIDEXAMPLE";
/// The secret to it.
pub const S3_SECRET: &str = "wJalr/XUtnFEMI+K7MDENG";

/// The server, with one bucket that is called `bucket`. Dropped, it ends and its folder goes.
pub struct S3 {
    folder: tempfile::TempDir,
    port: Port,
    front: Arc<Front>,
    running: Option<JoinSet<()>>,
}

/// By what a lock is asked for and told.
const LOCK: [&str; 2] = ["x-amz-object-lock-mode", "x-amz-object-lock-retain-until-date"];
/// One of these must come with it: of an object, or of what will be sent in parts.
const CHECKSUMS: [&str; 3] = ["content-md5", "x-amz-checksum-sha256", "x-amz-checksum-algorithm"];

/// What stands before the server.
pub(crate) struct Front {
    service: S3Service,
    root: PathBuf,
    one_by_one: Mutex<()>,
    knows_conditions: AtomicBool,
    keeps_all: AtomicBool,
    seen: std::sync::Mutex<Vec<(String, hyper::HeaderMap)>>,
    /// The locks that were asked for, by the path of the object.
    locks: std::sync::Mutex<HashMap<String, [(HeaderName, HeaderValue); 2]>>,
    /// Makes the requests of another service into those of this one; refuses those that are not let in.
    translate: Option<Translate>,
}

/// See [`Front::translate`].
pub(crate) type Translate = Box<dyn Fn(&mut Request<Incoming>) -> Result<(), StatusCode> + Send + Sync>;

type Answer = Response<s3s::Body>;

impl S3 {
    /// Starts one.
    pub async fn start() -> Result<Self> {
        Self::start_as(Some(SimpleAuth::from_single(S3_ACCESS_KEY_ID, S3_SECRET)), None).await
    }

    pub(crate) async fn start_as(auth: Option<SimpleAuth>, translate: Option<Translate>) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::create_dir(folder.path().join("bucket"))?;
        let files = s3s_fs::FileSystem::new(folder.path()).map_err(|e| anyhow!("{e:?}"))?;
        let mut builder = S3ServiceBuilder::new(files);
        if let Some(auth) = auth {
            builder.set_auth(auth);
        }
        let front = Front {
            service: builder.build(),
            root: folder.path().to_owned(),
            one_by_one: Mutex::new(()),
            knows_conditions: AtomicBool::new(true),
            keeps_all: AtomicBool::new(false),
            seen: std::sync::Mutex::default(),
            locks: std::sync::Mutex::default(),
            translate,
        };
        let mut s3 = Self { folder, port: Port::claim()?, front: Arc::new(front), running: None };
        s3.run().await?;
        Ok(s3)
    }

    /// Starts it again, on the same port and with the same objects.
    pub async fn run(&mut self) -> Result<()> {
        let listener = TcpListener::bind(("127.0.0.1", self.port())).await.context("its port")?;
        let front = self.front.clone();
        let mut running = JoinSet::new();
        running.spawn(async move {
            // Dropped with this task, they end.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let front = front.clone();
                let service = service_fn(move |request| front.clone().answer(request));
                let serving = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                connections.spawn(async move {
                    // A client that goes away is none of our concern.
                    let _ = serving.await;
                });
                while connections.try_join_next().is_some() {}
            }
        });
        self.running = Some(running);
        Ok(())
    }

    /// Ends it at once, whatever is under way.
    pub async fn stop(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.shutdown().await;
        }
    }

    /// Whether it knows `If-None-Match`; it passes over the condition when not, as old servers do.
    pub fn knows_conditions(&self, knows: bool) {
        self.front.knows_conditions.store(knows, Ordering::Relaxed);
    }

    /// Whether it refuses to delete, as a bucket with a lock on its objects does.
    pub fn keeps_all(&self, keeps: bool) {
        self.front.keeps_all.store(keeps, Ordering::Relaxed);
    }

    /// The values of a header in the requests that had it: method, path and query, and value.
    pub fn seen(&self, header: &str) -> Vec<(String, String)> {
        let seen = self.front.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let value = |headers: &hyper::HeaderMap| Some(headers.get(header)?.to_str().ok()?.to_owned());
        seen.iter().filter_map(|(line, headers)| Some((line.clone(), value(headers)?))).collect()
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Where its objects lie as files.
    pub fn bucket(&self) -> PathBuf {
        self.folder.path().join("bucket")
    }

    /// What it keeps of uploads that have not ended.
    pub fn parts(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path()).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|name| name.starts_with(".upload")).collect()
    }
}

impl Front {
    async fn answer(self: Arc<Self>, mut request: Request<Incoming>) -> Result<Answer, String> {
        let line = format!("{} {}", request.method(), request.uri());
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push((line, request.headers().clone()));
        if let Some(translate) = &self.translate
            && let Err(status) = translate(&mut request)
        {
            return refusal(status, "AuthenticationRequired", "Authentication required.");
        }
        if request.uri().path().split('/').nth(1) != Some("bucket") {
            let words = "The specified bucket does not exist";
            return refusal(StatusCode::NOT_FOUND, "NoSuchBucket", words);
        }
        if request.method() == Method::DELETE
            && self.keeps_all.load(Ordering::Relaxed)
            && !request.uri().query().is_some_and(|query| query.contains("uploadId"))
        {
            return refusal(
                StatusCode::FORBIDDEN,
                "AccessDenied",
                "Access Denied because object protected by object lock.",
            );
        }
        let lock = LOCK.map(|name| Some((name.parse().ok()?, request.headers().get(name)?.clone())));
        let path = request.uri().path().to_owned();
        if let [Some(mode), Some(until)] = lock {
            if !CHECKSUMS.iter().any(|name| request.headers().contains_key(*name)) {
                let words = "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters";
                return refusal(StatusCode::BAD_REQUEST, "InvalidRequest", words);
            }
            self.locks.lock().unwrap_or_else(PoisonError::into_inner).insert(path.clone(), [mode, until]);
        }
        let asks = matches!(*request.method(), Method::HEAD | Method::GET);
        let conditional = request.headers().contains_key(IF_NONE_MATCH);
        let _turn = if conditional { Some(self.one_by_one.lock().await) } else { None };
        if conditional && !self.knows_conditions.load(Ordering::Relaxed) {
            // The condition is signed like the rest: it is let be, and met.
            let _ = std::fs::remove_file(format!("{}{}", self.root.display(), request.uri().path()));
        }
        let answer = self.service.call(request.map(s3s::Body::from)).await;
        let mut answer = answer.map_err(|e| format!("{e:?}"))?;
        let locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = locks.get(&path).filter(|_| asks && answer.status().is_success()) {
            answer.headers_mut().extend(lock.clone());
        }
        if self.translate.is_some() {
            rename(answer.headers_mut(), "x-amz-", "x-goog-");
        }
        Ok(answer)
    }
}

fn refusal(status: StatusCode, code: &str, words: &str) -> Result<Answer, String> {
    let document =
        format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{words}</Message></Error>");
    Response::builder().status(status).body(document.into()).map_err(|e| e.to_string())
}

/// Gives headers that begin with one word another one.
pub(crate) fn rename(headers: &mut hyper::HeaderMap, from: &str, to: &str) {
    let found: Vec<(HeaderName, HeaderValue)> = headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with(from))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    for (name, value) in found {
        headers.remove(&name);
        if let Ok(name) = format!("{to}{}", name.as_str().replacen(from, "", 1)).parse::<HeaderName>() {
            headers.insert(name, value);
        }
    }
}
