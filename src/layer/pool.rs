//! Threads that do the work of one layer: read its files ahead of the archive and compress its blocks.
//!
//! Both are jobs of one queue, so whatever there is to do keeps all threads busy. A job never waits for another, and who
//! asks for one gets a [`Reply`] at once, to be taken in an order of his own: that is how results do not depend on the threads.

use std::num::NonZero;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::compress::Deflater;

/// What a thread keeps from one job to the next.
#[derive(Default)]
pub(super) struct Tools {
    pub(super) deflater: Deflater,
}

type Job<'env> = Box<dyn FnOnce(&mut Tools) + Send + 'env>;

/// The threads. They end when it is dropped and the queue is empty.
pub(super) struct Pool<'env> {
    jobs: Sender<Job<'env>>,
    threads: NonZero<usize>,
}

/// The answer to a job, sooner or later.
pub(super) struct Reply<T>(Receiver<T>);

impl<'env> Pool<'env> {
    /// Starts `threads` in `scope`.
    pub(super) fn start<'scope>(scope: &'scope thread::Scope<'scope, 'env>, threads: NonZero<usize>) -> Self {
        let (jobs, queue) = channel::<Job<'env>>();
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..threads.get() {
            let queue = queue.clone();
            scope.spawn(move || {
                let mut tools = Tools::default();
                loop {
                    // A thread that died while it held the lock left the queue as it was.
                    let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(job) = job else { break };
                    job(&mut tools);
                }
            });
        }
        Self { jobs, threads }
    }

    /// How many there are.
    pub(super) fn threads(&self) -> usize {
        self.threads.get()
    }

    /// Has `work` done. Who asks takes care not to ask for too much at once: nothing here bounds it.
    pub(super) fn ask<T: Send + 'env>(&self, work: impl FnOnce(&mut Tools) -> T + Send + 'env) -> Reply<T> {
        let (reply, answer): (SyncSender<T>, _) = sync_channel(1);
        let job = move |tools: &mut Tools| {
            // Nobody waits for the answer once something has failed.
            let _ = reply.send(work(tools));
        };
        // Without threads the answer never comes, which whoever waits for it is told.
        let _ = self.jobs.send(Box::new(job));
        Reply(answer)
    }
}

impl<T> Reply<T> {
    /// Waits for it; none if the thread that worked on it died.
    pub(super) fn take(self) -> Option<T> {
        self.0.recv().ok()
    }
}
