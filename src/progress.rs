//! Progress reporting.
//!
//! The library prints no output. Embedders pass a [`Progress`]: the command's prints to standard
//! error, [`Silent`] ignores all events, [`WarningCollector`] keeps warnings.

use std::borrow::Cow;
use std::fmt;
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use crate::plural::counted;
use crate::sync::LockExt as _;

/// A problem that does not stop the build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// The subject: a file, a distribution, a setting.
    pub subject: String,
    /// The problem.
    pub message: String,
    /// Advice, if any.
    pub help: Option<String>,
}

impl Warning {
    /// Makes a warning without advice.
    pub fn new(subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self { subject: subject.into(), message: message.into(), help: None }
    }

    /// Adds advice.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.message)
    }
}

/// A receiver of events. All methods may be called from any thread.
///
/// ```
/// use ipo_oci::progress::{Progress, Step, Warning};
///
/// struct Bar;
///
/// impl Progress for Bar {
///     fn warn(&self, warning: Warning) {
///         eprintln!("warning: {warning}");
///     }
///
///     fn advance(&self, step: &Step<'_>) {
///         if let Some(count) = step.count {
///             eprint!("\r{:>3} % {step}", count.percent());
///         }
///     }
/// }
/// ```
pub trait Progress: Send + Sync {
    /// Receives a problem that does not stop the build.
    fn warn(&self, warning: Warning);

    /// Called at the begin of a step. Steps of several threads overlap.
    fn step(&self, step: &Step<'_>) {
        let _ = step;
    }

    /// Called when the count of a step has changed, at most about a hundred times for one count. The
    /// counts of one activity never decrease.
    fn advance(&self, step: &Step<'_>) {
        let _ = step;
    }

    /// Called at the begin and end of a span of work on this thread; spans of one thread nest. Use
    /// them to record timings.
    fn span(&self, activity: Activity, edge: Edge) {
        let _ = (activity, edge);
    }

    /// Called often during network transfers, and once at the end of each successful one.
    fn transfer(&self, transfer: &Transfer) {
        let _ = transfer;
    }
}

/// A step of a command. `Display` is a sentence of a few words: `writing layer 4 of 7: torch`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Step<'a> {
    /// The kind of work.
    pub activity: Activity,
    /// The subject, such as a file, a reference or the name of a layer; empty if the activity alone
    /// says all.
    pub subject: Cow<'a, str>,
    /// The number of the subject among others, if the activity numbers them.
    pub part: Option<Part>,
    /// The completed and the total amount of the activity, if known.
    pub count: Option<Count>,
}

/// The number of a subject, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Part {
    /// The number.
    pub number: u64,
    /// The number of the last.
    pub of: u64,
}

/// A completed and a total amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Count {
    /// The completed amount, at most `total`.
    pub done: u64,
    /// The total amount.
    pub total: u64,
    /// The unit of both.
    pub unit: Unit,
}

/// The unit of a [`Count`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unit {
    /// Bytes of files.
    Bytes,
    /// Python modules.
    Modules,
}

/// A kind of work. `Display` is a phrase of a few words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Activity {
    /// Reading an image or a root file system; the subject is its reference or path.
    ReadImage,
    /// Reading a layer of an image, for instance of the base; the subject is its digest.
    ReadImageLayer,
    /// Resolving Debian packages; the subject is the names.
    ResolvePackages,
    /// Turning Debian packages into a layer; the subject is its name.
    InstallPackages,
    /// Reading the virtual environment.
    ReadEnvironment,
    /// Moving the environment to its place in the image.
    RelocateEnvironment,
    /// Reading the interpreter.
    ReadInterpreter,
    /// Reading the source tree.
    ReadSource,
    /// Finding files of the system, in general.
    ReadSystem,
    /// Finding the shared libraries that programs need.
    FindLibraries,
    /// Finding the files that the base lacks.
    FindMissing,
    /// Reading and checking the bytecode of the environment.
    PrepareBytecode,
    /// Reading and checking the bytecode of the source.
    PrepareSourceBytecode,
    /// Compiling modules, which are counted.
    CompileModules,
    /// Assigning entries to layers.
    SplitLayers,
    /// Checking the image by rules.
    CheckImage,
    /// Checking that a cached plan is up to date.
    ValidatePlan,
    /// Caching a plan.
    CachePlan,
    /// Looking for layers in the local cache.
    FindLayers,
    /// Reading the files of a layer; the subject is its name.
    ReadLayer,
    /// Writing a layer; the subject is its name, and the bytes of all layers are counted.
    WriteLayer,
    /// Storing a layer in the local cache.
    CacheLayer,
    /// Fetching a layer from a remote cache; the subject is its name and the cache.
    FetchLayer,
    /// Storing a layer in a remote cache.
    UploadLayer,
    /// Waiting for another machine; the subject is the work that it does.
    Wait,
    /// Writing an image; the subject is its destination.
    WriteImage,
    /// Making files for the image with a command; the subject is the name of the layer with the
    /// command line.
    Prepare,
    /// Running a program; the subject is its command line.
    Run,
    /// None: the subject is a remark about a decision.
    Note,
}

impl<'a> Step<'a> {
    /// Makes a step whose activity alone says all.
    pub fn new(activity: Activity) -> Self {
        Self { activity, subject: Cow::Borrowed(""), part: None, count: None }
    }

    /// Makes a step on a subject.
    pub fn on(activity: Activity, subject: impl Into<Cow<'a, str>>) -> Self {
        Self { subject: subject.into(), ..Self::new(activity) }
    }

    /// Sets the number of the subject, from 1.
    #[must_use]
    pub fn numbered(self, number: u64, of: u64) -> Self {
        Self { part: Some(Part { number, of }), ..self }
    }

    /// Sets the completed and the total amount.
    #[must_use]
    pub fn counted(self, count: Count) -> Self {
        Self { count: Some(count), ..self }
    }
}

impl Count {
    /// Returns the completed fraction, from 0 to 1; 1 if the total is 0.
    pub fn fraction(self) -> f64 {
        if self.total == 0 { 1.0 } else { self.done.min(self.total) as f64 / self.total as f64 }
    }

    /// Returns the completed percentage, rounded down; 100 only at the end.
    pub fn percent(self) -> u8 {
        let percent = u128::from(self.done) * 100 / u128::from(self.total.max(1));
        if self.done >= self.total { 100 } else { u8::try_from(percent).unwrap_or(100) }
    }
}

impl fmt::Display for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { activity, subject, part, count } = self;
        match activity {
            Activity::Run | Activity::Note => return f.write_str(subject),
            Activity::ResolvePackages => return write!(f, "resolving the packages {subject}"),
            Activity::InstallPackages => return write!(f, "installing packages: {subject}"),
            Activity::ReadImageLayer => return write!(f, "reading layer {subject}"),
            Activity::ReadLayer => f.write_str("reading layer")?,
            Activity::WriteLayer => f.write_str("writing layer")?,
            Activity::FetchLayer => f.write_str("fetching")?,
            Activity::Wait => f.write_str("waiting for")?,
            Activity::WriteImage => f.write_str("writing")?,
            Activity::ReadImage => f.write_str("reading")?,
            Activity::CompileModules => {
                let total = count.map_or(0, |count| count.total);
                return write!(f, "compiling {}", counted(total, "module"));
            }
            _ => activity.fmt(f)?,
        }
        match (part, subject.is_empty()) {
            (Some(Part { number, of }), _) => write!(f, " {number} of {of}: {subject}"),
            (None, true) => Ok(()),
            (None, false) => write!(f, " {subject}"),
        }
    }
}

impl fmt::Display for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::ReadImage => "reading an image",
            Self::ReadImageLayer => "reading the layers of an image",
            Self::ResolvePackages => "resolving packages",
            Self::InstallPackages => "installing packages",
            Self::ReadEnvironment => "reading the environment",
            Self::RelocateEnvironment => "relocating the environment",
            Self::ReadInterpreter => "reading the interpreter",
            Self::ReadSource => "reading the source",
            Self::ReadSystem => "reading the system",
            Self::FindLibraries => "finding shared libraries",
            Self::FindMissing => "finding what the base lacks",
            Self::PrepareBytecode => "preparing bytecode",
            Self::PrepareSourceBytecode => "preparing the source's bytecode",
            Self::CompileModules => "compiling modules",
            Self::SplitLayers => "splitting into layers",
            Self::CheckImage => "checking the image",
            Self::ValidatePlan => "validating the cached plan",
            Self::CachePlan => "caching the plan",
            Self::FindLayers => "looking for layers",
            Self::ReadLayer => "reading layers",
            Self::WriteLayer => "writing layers",
            Self::CacheLayer => "caching layers",
            Self::FetchLayer => "fetching layers",
            Self::UploadLayer => "uploading layers",
            Self::Wait => "waiting for others",
            Self::WriteImage => "storing",
            Self::Prepare => "preparing",
            Self::Run => "running a program",
            Self::Note => "note",
        })
    }
}

/// The progress of an activity on several threads, as a [`Count`] of [`Progress::advance`].
pub(crate) struct Meter<'a> {
    progress: &'a dyn Progress,
    unit: Unit,
    total: u64,
    /// The completed amount, and the percentage reported last.
    state: Mutex<(u64, u8)>,
}

impl<'a> Meter<'a> {
    pub(crate) fn new(progress: &'a dyn Progress, unit: Unit, total: u64) -> Self {
        Self { progress, unit, total, state: Mutex::new((0, 0)) }
    }

    /// Returns the count so far.
    pub(crate) fn count(&self) -> Count {
        let done = self.state.lock_forgiving().0;
        Count { done, total: self.total, unit: self.unit }
    }

    /// Adds a completed amount, and reports the count if its percentage changed. `step` describes the
    /// subject.
    pub(crate) fn add(&self, amount: u64, step: &Step<'_>) {
        let mut state = self.state.lock_forgiving();
        state.0 = state.0.saturating_add(amount).min(self.total);
        let count = Count { done: state.0, total: self.total, unit: self.unit };
        if count.percent() > state.1 {
            state.1 = count.percent();
            // Under the lock, so that counts arrive in order.
            self.progress.advance(&step.clone().counted(count));
        }
    }
}

/// A boundary of a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    /// The begin.
    Begin,
    /// The end.
    End,
}

/// A span of work, which ends on drop.
#[must_use]
pub struct Span<'a> {
    progress: &'a dyn Progress,
    activity: Activity,
}

impl fmt::Debug for Span<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Span").field(&self.activity).finish()
    }
}

impl<'a> Span<'a> {
    /// Begins a span.
    pub fn begin(progress: &'a dyn Progress, activity: Activity) -> Self {
        progress.span(activity, Edge::Begin);
        Self { progress, activity }
    }
}

impl Drop for Span<'_> {
    fn drop(&mut self) {
        self.progress.span(self.activity, Edge::End);
    }
}

/// The state of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transfer<'a> {
    /// The digest of the blob. Unique among concurrent transfers of the same direction.
    pub name: &'a str,
    /// The layer's name in its image, if any: `dependencies`.
    pub title: Option<&'a str>,
    /// The direction.
    pub direction: Direction,
    /// Transferred bytes. May decrease after a lost connection.
    pub done_bytes: u64,
    /// Total bytes.
    pub total_bytes: u64,
    /// The phase of the transfer.
    pub state: TransferState,
}

impl<'a> Transfer<'a> {
    /// Describes a transfer of the blob `name` without a title: `(done, total)` in bytes.
    pub fn new(
        name: &'a str,
        direction: Direction,
        (done_bytes, total_bytes): (u64, u64),
        state: TransferState,
    ) -> Self {
        Self { name, title: None, direction, done_bytes, total_bytes, state }
    }
}

/// The direction of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// To this machine.
    Fetched,
    /// From this machine.
    Sent,
}

/// The phase of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransferState {
    /// In progress.
    Running,
    /// All bytes are transferred.
    Done,
    /// Skipped: the destination already has the blob.
    Present,
    /// Skipped: the destination mounted the blob from another of its repositories.
    Mounted,
}

/// A [`Progress`] that ignores all events.
#[derive(Debug, Default, Clone, Copy)]
pub struct Silent;

impl Progress for Silent {
    fn warn(&self, _: Warning) {}
}

/// A [`Progress`] that keeps the warnings, in order.
#[derive(Debug, Default)]
pub struct WarningCollector(Mutex<Vec<Warning>>);

impl WarningCollector {
    /// Returns the warnings so far.
    pub fn warnings(&self) -> Vec<Warning> {
        self.0.lock_forgiving().clone()
    }
}

impl Progress for WarningCollector {
    fn warn(&self, warning: Warning) {
        self.0.lock_forgiving().push(warning);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_sentences() {
        let count = Count { done: 0, total: 12, unit: Unit::Modules };
        for (step, sentence) in [
            (Step::new(Activity::ReadEnvironment), "reading the environment"),
            (Step::on(Activity::ReadImage, "oci:a:1"), "reading oci:a:1"),
            (Step::on(Activity::ReadImageLayer, "sha256:1"), "reading layer sha256:1"),
            (Step::on(Activity::WriteLayer, "torch").numbered(4, 7), "writing layer 4 of 7: torch"),
            (Step::on(Activity::ReadLayer, "torch").numbered(4, 7), "reading layer 4 of 7: torch"),
            (Step::on(Activity::FetchLayer, "torch from folder:x"), "fetching torch from folder:x"),
            (Step::new(Activity::CompileModules).counted(count), "compiling 12 modules"),
            (Step::on(Activity::Run, "uv sync"), "uv sync"),
        ] {
            assert_eq!(step.to_string(), sentence);
        }
    }

    #[test]
    fn only_a_complete_count_has_a_hundred_percent() {
        for (done, total, percent) in [(0, 3, 0), (2, 3, 66), (999, 1000, 99), (3, 3, 100), (0, 0, 100)] {
            let count = Count { done, total, unit: Unit::Bytes };
            assert_eq!(count.percent(), percent);
            assert!((0.0..=1.0).contains(&count.fraction()));
        }
    }

    /// Remembers the counts.
    #[derive(Default)]
    struct Counts(Mutex<Vec<u64>>);

    impl Progress for Counts {
        fn warn(&self, _: Warning) {}

        fn advance(&self, step: &Step<'_>) {
            self.0.lock().unwrap().extend(step.count.map(|count| count.done));
        }
    }

    #[test]
    fn a_meter_reports_each_percentage_once() {
        let counts = Counts::default();
        let meter = Meter::new(&counts, Unit::Bytes, 100_000);
        for _ in 0..200 {
            meter.add(600, &Step::new(Activity::WriteLayer));
        }
        let seen = counts.0.lock().unwrap().clone();
        assert!(seen.len() <= 100 && seen.is_sorted(), "{seen:?}");
        assert_eq!(seen.last(), Some(&100_000));
    }
}
