//! The test runner: libtest's command line and output, with tests ignored at run time if a tool is
//! missing, and a list of the slowest tests after a run of many.

use std::any::Any;
use std::num::NonZero;
use std::panic;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Completion, Failed, Trial};

/// A function under `#[test]`.
#[derive(Debug)]
pub(crate) struct Test {
    /// `module_path!()` of the function: `it::copy`.
    pub module: &'static str,
    pub name: &'static str,
    /// The reason of an `#[ignore = "…"]`; such a test runs only with `--ignored`.
    pub ignored: Option<&'static str>,
    pub run: fn(),
}

inventory::collect!(Test);

/// The times of the tests that ended.
static TIMES: Mutex<Vec<(Duration, String)>> = Mutex::new(Vec::new());
/// The number of slowest tests in the list; a run of fewer tests has none.
const SLOWEST: usize = 40;

/// The panic payload of [`skip`]: the reason.
struct Skipped(String);

/// Ends the test as ignored, with the reason in the list of tests. On CI the test fails instead.
#[track_caller]
pub(crate) fn skip(reason: &str) -> ! {
    assert!(std::env::var_os("CI").is_none(), "{reason}, and CI skips no test");
    panic::resume_unwind(Box::new(Skipped(reason.to_owned())))
}

/// Ends the test as ignored, also on CI: the test needs something that the machine of a user need not have.
pub(crate) fn leave_out(reason: &str) -> ! {
    panic::resume_unwind(Box::new(Skipped(reason.to_owned())))
}

/// Runs the tests selected on the command line.
pub(crate) fn run() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // A third of a test's time is waiting: for engines, registries and health checks.
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    arguments.test_threads.get_or_insert(processors + processors.div_ceil(2));
    let everything = arguments.ignored || arguments.include_ignored;
    let trials = inventory::iter::<Test>().map(|test| {
        let name = match test.module.split_once("::") {
            Some((_, module)) => format!("{module}::{}", test.name),
            None => test.name.to_owned(),
        };
        let reason = test.ignored.filter(|_| !everything);
        let flagged = arguments.ignored && test.ignored.is_some();
        Trial::ignorable_test(name.clone(), move || match reason {
            Some(reason) => Ok(Completion::ignored_with(reason)),
            None => complete(name, test.run),
        })
        .with_ignored_flag(flagged)
    });
    let code = libtest_mimic::run(&arguments, trials.collect()).exit_code();
    print_slowest();
    code
}

fn print_slowest() {
    let mut times = std::mem::take(&mut *TIMES.lock().unwrap_or_else(PoisonError::into_inner));
    if times.len() <= SLOWEST {
        return;
    }
    times.sort_by(|one, other| other.cmp(one));
    println!("the slowest tests:");
    for (time, name) in &times[..SLOWEST] {
        println!("  {:6.1} s  {name}", time.as_secs_f64());
    }
    println!();
}

/// Runs a test on a thread of its own, since a test may drop capabilities of its thread.
fn complete(name: String, run: fn()) -> Result<Completion, Failed> {
    let begin = Instant::now();
    let thread =
        std::thread::Builder::new().name(name.clone()).spawn(run).map_err(|error| error.to_string())?;
    let joined = thread.join();
    TIMES.lock().unwrap_or_else(PoisonError::into_inner).push((begin.elapsed(), name));
    match joined {
        Ok(()) => Ok(Completion::Completed),
        Err(payload) => match payload.downcast::<Skipped>() {
            Ok(skipped) => Ok(Completion::ignored_with(skipped.0)),
            Err(payload) => Err(message(&*payload).into()),
        },
    }
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "the test panicked".to_owned())
}
