//! Connections, from being accepted to being closed.
//!
//! warp's own loop gives a connection as long as it likes for a request, and waits at the end for the last of them: one
//! that had sent half a line kept the gateway from ever ending, and a thousand would have kept others out. So would a
//! thousand that ask for something large, or for events, and never read it.

use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use strongroom_service::Shutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_io_timeout::TimeoutStream;
use warp::reply::Response;

/// What connections may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Open at once; more wait to be accepted.
    pub at_once: usize,
    /// From one answer to the whole head of the next request; longer than proxies keep a connection that nobody uses.
    pub head_within: Duration,
    /// For somebody who does not read to read on: until then an answer takes up a place.
    pub read_within: Duration,
    /// For requests under way at the end.
    pub end_within: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            at_once: 1024,
            head_within: Duration::from_secs(75),
            read_within: Duration::from_secs(75),
            end_within: Duration::from_secs(5),
        }
    }
}

/// Serves until shutdown, lets requests under way end, and closes what is left then.
pub async fn serve<S>(listener: TcpListener, service: S, limits: Limits, shutdown: Shutdown)
where
    S: Service<hyper::Request<hyper::body::Incoming>, Response = Response, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    let room = Arc::new(Semaphore::new(limits.at_once));
    // Dropped, it closes all of them: nothing outlives the gateway.
    let mut open = JoinSet::new();
    loop {
        let stream = tokio::select! {
            () = shutdown.cancelled() => break,
            Some(_) = open.join_next() => continue,
            stream = accept(&listener, &room) => stream,
        };
        let Some((stream, place)) = stream else { break };
        let (service, shutdown) = (service.clone(), shutdown.clone());
        open.spawn(async move {
            converse(stream, service, limits, shutdown).await;
            drop(place);
        });
    }
    drop(listener);
    let end = Instant::now() + limits.end_within;
    while let Ok(Some(_)) = tokio::time::timeout_at(end, open.join_next()).await {}
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = room.clone().acquire_owned().await.ok()?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Answers are small, and somebody waits for each.
                let _ = stream.set_nodelay(true);
                return Some((stream, place));
            }
            // No more files, most likely: there are some again when others have closed theirs.
            Err(e) => {
                tracing::warn!(error = %e, "a connection cannot be accepted");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

async fn converse<S>(stream: TcpStream, service: S, limits: Limits, shutdown: Shutdown)
where
    S: Service<hyper::Request<hyper::body::Incoming>, Response = Response, Error = Infallible>,
{
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.head_within);
    let mut stream = Box::pin(TimeoutStream::new(stream));
    stream.as_mut().set_write_timeout_pinned(Some(limits.read_within));
    let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(e) = ended {
        tracing::debug!(error = %e, "a connection was cut");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use hyper_util::service::TowerToHyperService;
    use std::net::SocketAddr;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::Notify;
    use tokio::task::JoinHandle;
    use warp::Filter;

    const PATIENCE: Duration = Duration::from_secs(30);
    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";

    /// A server whose answers come when it is told.
    async fn start(limits: Limits) -> (SocketAddr, Arc<Notify>, Shutdown, JoinHandle<()>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let (address, shutdown, go) =
            (listener.local_addr().unwrap(), Shutdown::new(), Arc::new(Notify::new()));
        let told = go.clone();
        let filter = warp::any().then(move || {
            let told = told.clone();
            async move {
                told.notified().await;
                "done"
            }
        });
        let service = TowerToHyperService::new(warp::service(filter));
        let serving = tokio::spawn(serve(listener, service, limits, shutdown.clone()));
        (address, go, shutdown, serving)
    }

    async fn connect(address: SocketAddr, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream
    }

    async fn rest(stream: &mut TcpStream) -> String {
        let mut rest = Vec::new();
        let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
        let _ = read.expect("the connection is closed");
        String::from_utf8_lossy(&rest).into_owned()
    }

    #[tokio::test]
    async fn who_does_not_ask_is_not_waited_for() {
        let limits = Limits { head_within: Duration::from_millis(200), ..Limits::default() };
        let (address, go, ..) = start(limits).await;
        rest(&mut connect(address, b"").await).await;
        rest(&mut connect(address, b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ").await).await;
        // An answer may take longer than that.
        let mut asking = connect(address, REQUEST).await;
        assert!(tokio::time::timeout(2 * limits.head_within, asking.readable()).await.is_err());
        go.notify_one();
        assert!(rest(&mut asking).await.ends_with("done"));
    }

    #[tokio::test]
    async fn who_does_not_read_is_not_waited_for() {
        let limits = Limits { at_once: 1, read_within: Duration::from_millis(500), ..Limits::default() };
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        // More than all buffers on the way can hold.
        let filter = warp::any().map(|| vec![b'x'; 64 << 20]);
        let service = TowerToHyperService::new(warp::service(filter));
        tokio::spawn(serve(listener, service, limits, Shutdown::new()));
        let idle = connect(address, REQUEST).await;
        let mut next = connect(address, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        assert!(rest(&mut next).await.len() > 64 << 20, "one that reads is given all of it");
        drop(idle);
    }

    #[tokio::test]
    async fn those_beyond_the_limit_wait_for_a_place() {
        let (address, go, ..) = start(Limits { at_once: 1, ..Limits::default() }).await;
        let first = connect(address, b"").await;
        let mut second = connect(address, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        go.notify_one();
        assert!(tokio::time::timeout(Duration::from_millis(200), second.readable()).await.is_err());
        drop(first);
        assert!(rest(&mut second).await.ends_with("done"));
    }

    #[tokio::test]
    async fn at_the_end_an_answer_under_way_is_given_and_nothing_else_is_waited_for() {
        let (address, go, shutdown, serving) =
            start(Limits { end_within: PATIENCE, ..Limits::default() }).await;
        let mut asking = connect(address, REQUEST).await;
        assert!(tokio::time::timeout(Duration::from_millis(200), asking.readable()).await.is_err());
        shutdown.cancel();
        go.notify_one();
        assert!(rest(&mut asking).await.ends_with("done"));
        tokio::time::timeout(PATIENCE, serving).await.unwrap().unwrap();

        let (address, _, shutdown, serving) =
            start(Limits { end_within: Duration::from_millis(200), ..Limits::default() }).await;
        let (mut half, mut asking) = (connect(address, b"GET / HT").await, connect(address, REQUEST).await);
        assert!(tokio::time::timeout(Duration::from_millis(200), asking.readable()).await.is_err());
        shutdown.cancel();
        tokio::time::timeout(PATIENCE, serving).await.unwrap().unwrap();
        assert_eq!((rest(&mut half).await, rest(&mut asking).await), (String::new(), String::new()));
        assert!(TcpStream::connect(address).await.is_err());
    }
}
