//! [`Log`]: the output of a container in bounded memory.

use std::collections::VecDeque;
use std::io::Read;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crate::sync::LockExt as _;

/// Bytes kept of the beginning of a container's output: the reason of a failed start.
const HEAD_BYTES: usize = 64 << 10;
/// Bytes kept of the end of a container's output.
const TAIL_BYTES: usize = 192 << 10;

/// The beginning and the end of an output, shared with the thread that reads it.
#[derive(Debug, Clone)]
pub(super) struct Log(Arc<Mutex<Kept>>);

#[derive(Debug)]
struct Kept {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    head_limit: usize,
    tail_limit: usize,
    /// Bytes dropped between the two.
    dropped: u64,
}

impl Log {
    /// Makes a log for a container.
    pub(super) fn new() -> Self {
        Self::with(HEAD_BYTES, TAIL_BYTES)
    }

    /// Makes a log with other limits.
    pub(super) fn with(head_limit: usize, tail_limit: usize) -> Self {
        let kept = Kept { head: Vec::new(), tail: VecDeque::new(), head_limit, tail_limit, dropped: 0 };
        Self(Arc::new(Mutex::new(kept)))
    }

    /// Reads `pipe` to its end on a thread of its own.
    pub(super) fn read(&self, mut pipe: impl Read + Send + 'static) -> JoinHandle<()> {
        let log = self.clone();
        std::thread::spawn(move || {
            let mut piece = [0; 16 << 10];
            while let Ok(got @ 1..) = pipe.read(&mut piece) {
                log.add(piece.get(..got).unwrap_or_default());
            }
        })
    }

    fn add(&self, bytes: &[u8]) {
        let mut kept = self.0.lock_forgiving();
        let room = kept.head_limit.saturating_sub(kept.head.len()).min(bytes.len());
        let (head, tail) = bytes.split_at(room);
        kept.head.extend_from_slice(head);
        kept.tail.extend(tail);
        let over = kept.tail.len().saturating_sub(kept.tail_limit);
        kept.tail.drain(..over);
        kept.dropped += over as u64;
    }

    /// Returns the output, without partial lines around a gap.
    pub(super) fn text(&self) -> String {
        let kept = self.0.lock_forgiving();
        let tail: Vec<u8> = kept.tail.iter().copied().collect();
        if kept.dropped == 0 {
            return String::from_utf8_lossy(&[kept.head.as_slice(), &tail].concat()).into_owned();
        }
        let head_end = kept.head.iter().rposition(|byte| *byte == b'\n').map_or(kept.head.len(), |at| at + 1);
        let tail_start = tail.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let (head, cut) = kept.head.split_at(head_end);
        let (more, tail) = tail.split_at(tail_start);
        let dropped = kept.dropped + (cut.len() + more.len()) as u64;
        let (head, tail) = (String::from_utf8_lossy(head), String::from_utf8_lossy(tail));
        format!("{head}… {dropped} bytes omitted …\n{tail}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_both_ends_of_a_long_output() {
        let log = Log::with(8, 8);
        log.add(b"one\ntwo\n");
        assert_eq!(log.text(), "one\ntwo\n");
        log.add(b"three\n");
        assert_eq!(log.text(), "one\ntwo\nthree\n");
        log.add(b"four\nfive\n");
        assert_eq!(log.text(), "one\ntwo\n… 11 bytes omitted …\nfive\n");
    }

    #[test]
    fn memory_is_bounded() {
        let log = Log::with(10, 10);
        for _ in 0..1000 {
            log.add(&[b'x'; 100]);
        }
        assert!(log.text().len() < 60, "{}", log.text());
    }
}
