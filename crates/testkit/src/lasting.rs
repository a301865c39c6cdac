//! A thread that lives as long as the process.
//!
//! The kernel ends a child when the *thread* that started it ends. A test runs in a thread of its own and its runtime has
//! more, so children are started from here: they end with the test binary, and not a moment before.

use anyhow::{Result, anyhow};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};

type Task = Box<dyn FnOnce() + Send>;

static THREAD: OnceLock<Sender<Task>> = OnceLock::new();

/// Does this in the lasting thread and waits for it.
pub fn run<T: Send + 'static>(task: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let thread = THREAD.get_or_init(|| {
        let (sender, receiver) = channel::<Task>();
        std::thread::spawn(move || {
            for task in receiver {
                task();
            }
        });
        sender
    });
    let (answer, result) = channel();
    thread
        .send(Box::new(move || {
            let _ = answer.send(task());
        }))
        .map_err(|_| anyhow!("the lasting thread is gone"))?;
    Ok(result.recv()?)
}
