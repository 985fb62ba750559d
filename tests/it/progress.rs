//! Progress for a program: typed steps and counts.

use std::process::Command;
use std::sync::Mutex;

use ipo_oci::builder::Builder;
use ipo_oci::progress::{Activity, Count, Progress, Step, Unit, Warning};

use crate::support::{Layout, Project, Venv, binary, clean_environment, copy_folder, run, skip};
use test_macros::test;

/// Remembers the steps and the counts.
#[derive(Default)]
struct Events {
    steps: Mutex<Vec<(Activity, String)>>,
    counts: Mutex<Vec<(Activity, Count)>>,
}

impl Progress for Events {
    fn warn(&self, _: Warning) {}

    fn step(&self, step: &Step<'_>) {
        self.steps.lock().expect("steps").push((step.activity, step.to_string()));
    }

    fn advance(&self, step: &Step<'_>) {
        let count = step.count.expect("a count");
        self.counts.lock().expect("counts").push((step.activity, count));
    }
}

impl Events {
    /// The counts of one activity.
    fn of(&self, activity: Activity) -> Vec<Count> {
        let counts = self.counts.lock().expect("counts");
        counts.iter().filter(|(of, _)| *of == activity).map(|(_, count)| *count).collect()
    }
}

#[test]
fn the_bytes_of_layers_are_counted_to_the_end() {
    let project = Project::tiny();
    let builder = || Builder::from_project(project.path()).expect("a project").cache(project.beside("cache"));
    for reuse in [false, true] {
        let events = Events::default();
        builder().build(&events).expect("built");
        let counts = events.of(Activity::WriteLayer);
        assert!(counts.is_sorted_by_key(|count| count.done), "{counts:?}");
        assert!(counts.iter().all(|count| count.unit == Unit::Bytes && count.total == counts[0].total));
        assert!(reuse || counts.len() > 10, "{counts:?}");
        let last = counts.last().expect("a count");
        assert_eq!((last.done, last.percent()), (last.total, 100));
        let steps = events.steps.lock().expect("steps");
        let written = steps.iter().filter(|(activity, _)| *activity == Activity::WriteLayer).count();
        assert_eq!(written == 0, reuse, "{steps:?}");
    }
}

#[test]
fn the_example_program_draws_a_bar() {
    let program = binary().with_file_name("examples").join("progress");
    if !program.exists() {
        skip("examples/progress is not built: cargo build --example progress");
    }
    let project = Project::of(&[]);
    copy_folder(Project::example().path(), &project.path().join("agencyos"));
    copy_folder(Venv::pip().path(), &project.path().join("agencyos/.venv"));
    let mut command = Command::new(program);
    clean_environment(&mut command);
    let outcome = run(command.current_dir(project.path()).args(["agencyos", "oci:image:1.0"])).success();
    let image = Layout::open(project.path().join("image")).image("1.0");
    assert_eq!(outcome.text().trim_end(), format!("oci:image:1.0@{}", image.digest));
    for part in ["reading the environment", "[====================] 100 % writing layer"] {
        assert!(outcome.stderr.contains(part), "{}", outcome.stderr);
    }
}
