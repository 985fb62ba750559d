//! Runs one step for many items on all cores, with results in order.

#![allow(clippy::disallowed_methods)] // Threads inherit the file trace.

use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::threads;
use crate::traced_fs::TraceRecorder;

/// Returns the number of threads that this machine runs in parallel.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// Calls `step` for 0 to `count` on up to `threads` threads, each with a state from `start`, and
/// returns the results in order. After an error, no new step begins; of several errors, the one
/// with the lowest number is returned.
pub(crate) fn each<S, T: Send, E: Send>(
    count: usize,
    threads: usize,
    start: impl Fn() -> Result<S, E> + Sync,
    step: impl Fn(&mut S, usize) -> Result<T, E> + Sync,
) -> Result<Vec<T>, E> {
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let work = || {
        let mut results = Vec::new();
        let mut state = match start() {
            Ok(state) => state,
            Err(error) => {
                failed.store(true, Ordering::Relaxed);
                return vec![(0, Err(error))];
            }
        };
        while !failed.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                break;
            }
            let result = step(&mut state, index);
            if result.is_err() {
                failed.store(true, Ordering::Relaxed);
            }
            results.push((index, result));
        }
        results
    };
    let mut results: Vec<_> = on_threads(threads.min(count), work).into_iter().flatten().collect();
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Drops `value` on another thread: freeing a hundred thousand small allocations takes as long as
/// examining ten thousand files.
pub(crate) fn drop_in_background<T: Send + 'static>(value: T) {
    // If no thread can be started, the closure and the value are dropped here.
    let _ = std::thread::Builder::new().spawn(move || drop(value));
}

/// Calls `work` on `threads` threads, including this one, and returns all results. The threads add to
/// the file trace of this one.
pub(crate) fn on_threads<T: Send>(threads: usize, work: impl Fn() -> T + Sync) -> Vec<T> {
    let trace = TraceRecorder::current();
    threads::on_threads(threads, || TraceRecorder::scoped(trace.as_ref(), &work))
}

/// Calls two functions in parallel.
pub(crate) fn both<A: Send, B>(one: impl FnOnce() -> A + Send, other: impl FnOnce() -> B) -> (A, B) {
    let trace = TraceRecorder::current();
    std::thread::scope(|scope| {
        let one = scope.spawn(|| TraceRecorder::scoped(trace.as_ref(), one));
        let other = other();
        (one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), other)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_whatever_the_number_of_threads() {
        for threads in [0, 1, 2, 7] {
            let squares = each(100, threads, || Ok::<_, ()>(()), |(), n| Ok(n * n)).unwrap();
            assert_eq!(squares, (0..100).map(|n| n * n).collect::<Vec<_>>());
        }
    }

    #[test]
    fn stops_at_the_first_error() {
        let outcome = each(100, 2, || Ok(()), |(), n| if n < 50 { Ok(n) } else { Err(n) });
        assert!(matches!(outcome, Err(50..)));
        let outcome = each(100, 2, || Err::<(), _>("no"), |(), n| Ok(n));
        assert_eq!(outcome, Err("no"));
    }
}
