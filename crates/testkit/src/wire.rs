//! A wire to a server of loopback, which can be cut.

use crate::port::Port;
use anyhow::Result;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The wire. Dropped, it is gone.
pub struct Wire {
    port: Port,
    state: Arc<State>,
    _running: JoinSet<()>,
}

struct State {
    to: u16,
    /// How many bytes may still go to the server.
    left: AtomicU64,
    /// After how many bytes to the server one is to be wrong.
    flip: AtomicU64,
    cut: watch::Sender<bool>,
}

impl Wire {
    /// A wire to this port.
    pub async fn to(port: u16) -> Result<Self> {
        let own = Port::claim()?;
        let listener = TcpListener::bind(("127.0.0.1", own.number())).await?;
        let (cut, _) = watch::channel(false);
        let state =
            Arc::new(State { to: port, left: AtomicU64::new(u64::MAX), flip: AtomicU64::new(u64::MAX), cut });
        let mut running = JoinSet::new();
        let shared = state.clone();
        running.spawn(async move {
            let mut ends = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                ends.spawn(shared.clone().carry(stream));
                while ends.try_join_next().is_some() {}
            }
        });
        Ok(Self { port: own, state, _running: running })
    }

    /// Its near end, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Cuts it when so many more bytes have gone to the server: nothing comes through any more, and nobody is told so.
    pub fn cut_after(&self, bytes: u64) {
        self.state.left.store(bytes, Ordering::SeqCst);
    }

    /// Lets one byte arrive as another, when so many more have gone to the server.
    pub fn flip_after(&self, bytes: u64) {
        self.state.flip.store(bytes, Ordering::SeqCst);
    }

    /// Whether it is cut.
    pub fn is_cut(&self) -> bool {
        *self.state.cut.borrow()
    }

    /// New connections come through again. Those that were cut stay so.
    pub fn heal(&self) {
        self.state.left.store(u64::MAX, Ordering::SeqCst);
        self.state.cut.send_replace(false);
    }
}

impl State {
    async fn carry(self: Arc<Self>, near: TcpStream) {
        let cut = *self.cut.borrow();
        if cut {
            // Held open, and silent.
            let _near = near;
            return std::future::pending().await;
        }
        let Ok(far) = TcpStream::connect(("127.0.0.1", self.to)).await else { return };
        let ((mut from_near, mut to_near), (mut from_far, mut to_far)) =
            (near.into_split(), far.into_split());
        let there = async {
            let mut bytes = vec![0; 64 << 10];
            while let Ok(n @ 1..) = from_near.read(&mut bytes).await {
                let flipped = self.flip.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                    (left != u64::MAX).then(|| left.checked_sub(n as u64).unwrap_or(u64::MAX))
                });
                if let Some(byte) =
                    flipped.ok().and_then(|at| bytes.get_mut(..n)?.get_mut(usize::try_from(at).ok()?))
                {
                    *byte ^= 1;
                }
                let took = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                    Some(if left == u64::MAX { left } else { left.saturating_sub(n as u64) })
                });
                if took.is_ok_and(|left| left < n as u64) {
                    self.cut.send_replace(true);
                    return std::future::pending().await;
                }
                let Some(read) = bytes.get(..n) else { return };
                if to_far.write_all(read).await.is_err() {
                    return;
                }
            }
            let _ = to_far.shutdown().await;
        };
        let back = async {
            let _ = tokio::io::copy(&mut from_far, &mut to_near).await;
            let _ = to_near.shutdown().await;
        };
        let mut cut = self.cut.subscribe();
        tokio::select! {
            // Before anything else, so that nothing slips through.
            biased;
            () = async { drop(cut.wait_for(|cut| *cut).await) } => std::future::pending().await,
            ((), ()) = async { tokio::join!(there, back) } => {}
        }
    }
}
