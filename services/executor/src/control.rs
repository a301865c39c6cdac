//! Why an attempt is to stop, and how that reaches its children.

use strongroom_domain::Failure;
use tokio::sync::watch;

/// Why an attempt is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Somebody asked for it.
    Cancel,
    /// The time that the plan gives it is over.
    TimeUp,
    /// The executor ends; another life goes on with the job.
    Shutdown,
    /// What it reads from has failed: what was read must not look like all there is.
    SourceFailed,
    /// It has let go of a part of what it was to read, and would go on without it.
    LetGo,
    /// The attempt is not the present one any more: nothing is to be said about it.
    Stale,
}

/// Hears whether to stop.
#[derive(Clone)]
pub struct Control {
    stop: watch::Receiver<Option<Stop>>,
    /// After the point of no return a cancel comes too late: what was made is made, and is told.
    past_cancel: bool,
}

/// Tells to stop. The first reason counts, but a stale attempt has nothing more to say.
pub struct Stopper(watch::Sender<Option<Stop>>);

/// Both ends.
pub fn pair() -> (Stopper, Control) {
    let (sender, receiver) = watch::channel(None);
    (Stopper(sender), Control { stop: receiver, past_cancel: false })
}

/// One that never hears of anything: for what must be done whatever anybody says.
pub fn never() -> Control {
    pair().1
}

impl Stopper {
    /// Tells it.
    pub fn stop(&self, why: Stop) {
        self.0.send_if_modified(|stop| {
            let counts = stop.is_none() || (why == Stop::Stale && *stop != Some(Stop::Stale));
            if counts {
                *stop = Some(why);
            }
            counts
        });
    }
}

impl Control {
    /// The same, past the point of no return.
    pub fn past_cancel(&self) -> Self {
        Self { past_cancel: true, ..self.clone() }
    }

    /// Why to stop, if so.
    pub fn why(&self) -> Option<Stop> {
        let ignored = |stop: &Stop| self.past_cancel && matches!(stop, Stop::Cancel | Stop::TimeUp);
        (*self.stop.borrow()).filter(|stop| !ignored(stop))
    }

    /// Waits until it is to stop; for ever when it never is.
    pub async fn stopped(&mut self) -> Stop {
        loop {
            if let Some(why) = self.why() {
                return why;
            }
            if self.stop.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

impl Control {
    /// Works until it is done or is to stop, upon which it is dropped.
    pub fn unless_stopped<T>(
        mut self,
        work: impl Future<Output = T>,
    ) -> impl Future<Output = Result<T, NoOutcome>> {
        // On the heap: it is large, and would be carried along twice by all that waits for it.
        let work = Box::pin(work);
        async move {
            tokio::select! {
                done = work => Ok(done),
                why = self.stopped() => Err(NoOutcome::Stopped(why)),
            }
        }
    }
}

/// Why a job came to no outcome.
#[derive(Debug, Clone, PartialEq)]
pub enum NoOutcome {
    /// It failed.
    Failed(Failure),
    /// It was stopped.
    Stopped(Stop),
}

impl From<Failure> for NoOutcome {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}
