//! Long transfers: bars on a terminal, occasional lines elsewhere.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use ipo_oci::printable;
use ipo_oci::progress::{Direction, Transfer, TransferState};
use ipo_oci::settings::human_size;
use ipo_oci::sync::LockExt as _;

/// Smaller blobs, in bytes, finish too quickly for a display.
const MIN_BYTES: u64 = 4 << 20;
/// The interval between lines of one transfer.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// The most characters shown of a digest.
const SHOWN: usize = 19;

/// One blob may be fetched and sent at the same time.
type TransferKey = (Direction, String);

/// The display of transfers.
#[derive(Debug)]
pub(crate) enum Transfers {
    /// No display.
    Hidden,
    /// Occasional lines; `all` adds a line at the end of each transfer.
    Lines { all: bool, running: Mutex<HashMap<TransferKey, Instant>> },
    /// A bar per transfer.
    Bars { all: MultiProgress, running: Mutex<HashMap<TransferKey, ProgressBar>> },
}

impl Transfers {
    pub(crate) fn lines(all: bool) -> Self {
        Self::Lines { all, running: Mutex::default() }
    }

    pub(crate) fn bars() -> Self {
        Self::Bars { all: MultiProgress::new(), running: Mutex::default() }
    }

    /// Displays the state of a transfer, and returns a line to print, if any. `make_room` is called
    /// before the first bar appears, while no bar can appear.
    pub(crate) fn show(&self, event: &Transfer, make_room: impl FnOnce()) -> Option<String> {
        if event.total_bytes < MIN_BYTES {
            return None;
        }
        let done = event.state != TransferState::Running;
        let key = (event.direction, event.name.to_owned());
        let digest = event.name.get(..SHOWN).unwrap_or(event.name);
        let name = &event.title.map_or_else(|| digest.to_owned(), printable::name);
        match self {
            Self::Hidden => None,
            Self::Lines { all, running } => {
                let mut running = running.lock_forgiving();
                let total = human_size(event.total_bytes);
                if done {
                    let long =
                        running.remove(&key).is_some_and(|last_line| last_line.elapsed() > LINE_INTERVAL);
                    return (*all || long).then(|| format!("{name}: {total}, {}\n", outcome(event.state)));
                }
                let last_line = running.entry(key).or_insert_with(Instant::now);
                if last_line.elapsed() < LINE_INTERVAL {
                    return None;
                }
                *last_line = Instant::now();
                Some(format!("{name}: {} of {total}\n", human_size(event.done_bytes)))
            }
            Self::Bars { all, running } => {
                let mut running = running.lock_forgiving();
                if done && !running.contains_key(&key) {
                    return None;
                }
                if running.is_empty() {
                    make_room();
                }
                let bar = running.entry(key.clone()).or_insert_with(|| {
                    let bar = all.add(ProgressBar::new(event.total_bytes));
                    if let Ok(style) = ProgressStyle::with_template(
                        "{prefix:19!} [{bar:30}] {decimal_bytes:>9} of {decimal_total_bytes} {decimal_bytes_per_sec:>12}",
                    ) {
                        bar.set_style(style.progress_chars("=> "));
                    }
                    bar.set_prefix(printable::name(name));
                    bar
                });
                bar.set_position(event.done_bytes);
                if done {
                    bar.finish_and_clear();
                    running.remove(&key);
                }
                None
            }
        }
    }

    /// Returns true if bars are on the screen.
    pub(crate) fn on_screen(&self) -> bool {
        match self {
            Self::Bars { running, .. } => !running.lock_forgiving().is_empty(),
            Self::Hidden | Self::Lines { .. } => false,
        }
    }

    /// Calls `write` with the bars hidden.
    pub(crate) fn aside<R>(&self, write: impl FnOnce() -> R) -> R {
        match self {
            Self::Bars { all, .. } if self.on_screen() => all.suspend(write),
            _ => write(),
        }
    }

    /// Removes the bars of failed transfers.
    pub(crate) fn end(&self) {
        if let Self::Bars { all, running } = self {
            for bar in running.lock_forgiving().values() {
                bar.finish_and_clear();
            }
            let _ = all.clear();
        }
    }
}

/// Names the outcome of a transfer.
fn outcome(state: TransferState) -> &'static str {
    match state {
        TransferState::Present => "already present",
        TransferState::Mounted => "mounted from another repository",
        _ => "done",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(done_bytes: u64, total_bytes: u64) -> Transfer<'static> {
        let state = if done_bytes < total_bytes { TransferState::Running } else { TransferState::Done };
        Transfer::new("sha256:1", Direction::Sent, (done_bytes, total_bytes), state)
    }

    #[test]
    fn hides_quick_and_small_transfers() {
        let lines = Transfers::lines(false);
        assert_eq!(lines.show(&event(1, 2), || ()), None);
        assert_eq!(lines.show(&event(1, MIN_BYTES), || ()), None);
        assert_eq!(lines.show(&event(MIN_BYTES, MIN_BYTES), || ()), None);
    }

    #[test]
    fn makes_room_only_before_the_first_bar() {
        let bars = Transfers::bars();
        let mut made = 0;
        for done in [1, 2, MIN_BYTES - 1, MIN_BYTES] {
            bars.show(&event(done, MIN_BYTES), || made += 1);
        }
        assert!(!bars.on_screen());
        assert_eq!(made, 1);
        // A blob that was already present never had a bar.
        bars.show(&event(MIN_BYTES, MIN_BYTES), || made += 1);
        assert!(!bars.on_screen());
        assert_eq!(made, 1);
    }

    #[test]
    fn shows_layer_names() {
        let lines = Transfers::lines(true);
        let mut event = event(MIN_BYTES, MIN_BYTES);
        event.title = Some("scipy\n");
        assert_eq!(lines.show(&event, || ()).as_deref(), Some("scipy\\n: 4.2 MB, done\n"));
    }

    #[test]
    fn verbose_mode_reports_every_large_transfer() {
        let lines = Transfers::lines(true);
        assert_eq!(lines.show(&event(1, MIN_BYTES), || ()), None);
        assert_eq!(
            lines.show(&event(MIN_BYTES, MIN_BYTES), || ()).as_deref(),
            Some("sha256:1: 4.2 MB, done\n")
        );
    }
}
