//! Timings of a build: as a table, or as a trace in Chrome's Trace Event Format (complete events,
//! times in microseconds) for Perfetto and `chrome://tracing`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use ipo_oci::progress::{Activity, Edge};
use ipo_oci::report::GENERATOR;
use ipo_oci::sync::LockExt as _;
use serde_json::json;

/// Spans with their durations. Spans are recorded only after [`Timings::start`].
#[derive(Debug)]
pub(crate) struct Timings {
    /// The start of the process, approximately.
    origin: Instant,
    recording: Mutex<Option<Recording>>,
}

#[derive(Debug, Default)]
struct Recording {
    /// Threads in order of appearance, with their open spans.
    threads: Vec<(ThreadId, Vec<OpenSpan>)>,
    done: Vec<CompletedSpan>,
}

#[derive(Debug)]
struct OpenSpan {
    activity: Activity,
    began: Instant,
    /// Duration of nested spans.
    inside: Duration,
}

#[derive(Debug)]
struct CompletedSpan {
    activity: Activity,
    thread: usize,
    began: Instant,
    took: Duration,
    /// Duration without nested spans.
    own: Duration,
}

impl Timings {
    pub(crate) fn new() -> Self {
        Self { origin: Instant::now(), recording: Mutex::default() }
    }

    /// Starts recording.
    pub(crate) fn start(&self) {
        *self.lock() = Some(Recording::default());
    }

    /// Returns the time since the process began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.origin.elapsed()
    }

    /// Records the begin or end of a span on this thread.
    pub(crate) fn record(&self, activity: Activity, edge: Edge) {
        let now = Instant::now();
        if let Some(recording) = &mut *self.lock() {
            recording.record(activity, edge, now);
        }
    }

    /// Formats one line per kind of span, longest first. Threads run in parallel, so the sum of
    /// seconds may exceed the elapsed time, and the sum of shares 100 %.
    pub(crate) fn table(&self) -> String {
        let total = self.origin.elapsed();
        let mut sums: BTreeMap<Activity, (Duration, usize)> = BTreeMap::new();
        if let Some(recording) = &*self.lock() {
            for done in &recording.done {
                let sum = sums.entry(done.activity).or_default();
                sum.0 += done.own;
                sum.1 += 1;
            }
        }
        let mut rows: Vec<_> = sums.into_iter().map(|(activity, sum)| (activity.to_string(), sum)).collect();
        rows.sort_by(|a, b| b.1.0.cmp(&a.1.0).then_with(|| a.0.cmp(&b.0)));
        let width = rows.iter().map(|(what, _)| what.chars().count()).max().unwrap_or(0).max(5);
        let mut text = format!("\n{:width$}  {:>8}  {:>7}  {:>5}\n", "PART", "SECONDS", "OF ALL", "TIMES");
        for (what, (took, times)) in rows {
            let share = took.as_secs_f64() / total.as_secs_f64().max(1e-9) * 100.0;
            let seconds = took.as_secs_f64();
            let _ = writeln!(text, "{what:width$}  {seconds:>8.3}  {share:>5.1} %  {times:>5}");
        }
        let _ = writeln!(text, "{:width$}  {:>8.3}", "on the clock", total.as_secs_f64());
        text
    }

    /// Formats the trace.
    pub(crate) fn trace(&self) -> String {
        let microseconds = |time: Duration| time.as_secs_f64() * 1e6;
        let guard = self.lock();
        let done = guard.iter().flat_map(|recording| &recording.done);
        let events = done.map(|done| {
            json!({
                "name": done.activity.to_string(),
                "ph": "X",
                "pid": 1,
                "tid": done.thread,
                "ts": microseconds(done.began.duration_since(self.origin)),
                "dur": microseconds(done.took),
            })
        });
        let events: Vec<_> = events.collect();
        format!(
            "{:#}\n",
            json!({ "displayTimeUnit": "ms", "otherData": { "generator": GENERATOR }, "traceEvents": events })
        )
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Recording>> {
        self.recording.lock_forgiving()
    }
}

impl Recording {
    fn record(&mut self, activity: Activity, edge: Edge, now: Instant) {
        let id = thread::current().id();
        let thread = self.threads.iter().position(|(known, _)| *known == id).unwrap_or_else(|| {
            self.threads.push((id, Vec::new()));
            self.threads.len() - 1
        });
        let Some((_, open)) = self.threads.get_mut(thread) else { return };
        match edge {
            Edge::Begin => {
                open.push(OpenSpan { activity, began: now, inside: Duration::ZERO });
            }
            Edge::End => {
                let Some(OpenSpan { activity, began, inside }) = open.pop() else { return };
                let took = now.duration_since(began);
                if let Some(around) = open.last_mut() {
                    around.inside += took;
                }
                self.done.push(CompletedSpan {
                    activity,
                    thread: thread + 1,
                    began,
                    took,
                    own: took.saturating_sub(inside),
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_spans_count_once() {
        let timings = Timings::new();
        timings.record(Activity::ReadSource, Edge::Begin);
        timings.record(Activity::ReadSource, Edge::End);
        timings.start();
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        {
            let mut recording = timings.lock();
            let recording = recording.as_mut().unwrap();
            for (activity, edge, millis) in [
                (Activity::WriteLayer, Edge::Begin, 0),
                (Activity::CacheLayer, Edge::Begin, 100),
                (Activity::CacheLayer, Edge::End, 400),
                (Activity::WriteLayer, Edge::End, 1000),
                (Activity::CacheLayer, Edge::Begin, 1000),
                (Activity::CacheLayer, Edge::End, 1100),
                (Activity::ReadSystem, Edge::End, 1100),
            ] {
                recording.record(activity, edge, at(millis));
            }
        }
        let table = timings.table();
        let row = |what: &str| {
            let line = table.lines().find(|line| line.starts_with(what)).unwrap().to_owned();
            line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!((row("writing")[2].as_str(), row("caching")[2].as_str()), ("0.700", "0.400"));
        assert_eq!(row("caching").last().unwrap(), "2");
        assert!(!table.contains("source") && !table.contains("system"));
        let trace: serde_json::Value = serde_json::from_str(&timings.trace()).unwrap();
        let events = trace["traceEvents"].as_array().unwrap();
        assert_eq!(events.len(), 3);
        assert!(events.iter().all(|event| event["ph"] == "X" && event["dur"].as_f64() > Some(0.0)));
    }
}
