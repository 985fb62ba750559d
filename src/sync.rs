//! Locks that forgive poison.
//!
//! A thread that panics while it holds a lock poisons the lock. No value that this crate locks is
//! left inconsistent by a panic, and the panic ends the build in any case, so other threads
//! continue.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The value of a mutex, poisoned or not.
pub trait LockExt<T> {
    /// Locks the mutex.
    fn lock_forgiving(&self) -> MutexGuard<'_, T>;

    /// Returns the value.
    fn into_inner_forgiving(self) -> T;
}

impl<T> LockExt<T> for Mutex<T> {
    fn lock_forgiving(&self) -> MutexGuard<'_, T> {
        self.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn into_inner_forgiving(self) -> T {
        self.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for a signal of `condition`.
pub(crate) fn wait<'a, T>(condition: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condition.wait(guard).unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_poisoned_lock_is_locked() {
        let mutex = Mutex::new(1);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _guard = mutex.lock();
            panic!("while locked");
        }));
        assert!(panicked.is_err() && mutex.is_poisoned());
        assert_eq!(*mutex.lock_forgiving(), 1);
    }
}
