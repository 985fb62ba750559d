//! [`Pool`]: threads that read the files of a layer ahead and compress its blocks.
//!
//! Both are jobs of one queue, so any available work keeps all threads busy. A job never waits for
//! another. Callers get a [`Reply`] at once and take results in their own order, so results do not
//! depend on scheduling.

use std::num::NonZero;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

use super::deflate::Deflater;
use crate::sync::LockExt as _;

/// The state that a thread reuses between jobs.
#[derive(Default)]
pub(super) struct WorkerState {
    pub(super) deflater: Deflater,
}

type Job<'env> = Box<dyn FnOnce(&mut WorkerState) + Send + 'env>;

/// The threads. They end after the pool is dropped and the queue is empty.
pub(super) struct Pool<'env> {
    jobs: Sender<Job<'env>>,
    threads: NonZero<usize>,
}

/// The pending result of a job.
pub(super) struct Reply<T>(Receiver<T>);

impl<'env> Pool<'env> {
    /// Starts `threads` threads in `scope`.
    pub(super) fn start<'scope>(scope: &'scope thread::Scope<'scope, 'env>, threads: NonZero<usize>) -> Self {
        let (jobs, queue) = channel::<Job<'env>>();
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..threads.get() {
            let queue = queue.clone();
            scope.spawn(move || {
                let mut state = WorkerState::default();
                loop {
                    // A thread that panicked with the lock left the queue intact.
                    let job = queue.lock_forgiving().recv();
                    let Ok(job) = job else { break };
                    job(&mut state);
                }
            });
        }
        Self { jobs, threads }
    }

    /// Returns the number of threads.
    pub(super) fn threads(&self) -> usize {
        self.threads.get()
    }

    /// Queues `work`. The queue is unbounded: callers limit the jobs in flight.
    pub(super) fn submit<T: Send + 'env>(
        &self,
        work: impl FnOnce(&mut WorkerState) -> T + Send + 'env,
    ) -> Reply<T> {
        let (reply, answer): (SyncSender<T>, _) = sync_channel(1);
        let job = move |state: &mut WorkerState| {
            // After a failure, no receiver is left.
            let _ = reply.send(work(state));
        };
        // Without threads, the sender is dropped, and [`Reply::take`] returns `None`.
        let _ = self.jobs.send(Box::new(job));
        Reply(answer)
    }
}

impl<T> Reply<T> {
    /// Waits for the result; `None` if the thread panicked.
    pub(super) fn take(self) -> Option<T> {
        self.0.recv().ok()
    }
}
