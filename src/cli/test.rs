//! `ipo-oci test`: starts an image without a container engine, and checks it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use ipo_oci::image::Image;
use ipo_oci::printable;
use ipo_oci::recipe::Target;
use ipo_oci::reference::Reference;
use ipo_oci::report::text::Style;
use ipo_oci::run::{self, Suite, TestOptions, TestReport, TestStep, UrlCheck};
use ipo_oci::settings::Seconds;
use ipo_oci::store;

use super::access::AccessArguments;
use super::arguments::setting;
use super::container::{ContainerArguments, NetworkArgument, failure};
use super::failure::Failure;
use super::project::ServiceArguments;
use super::reports::write_file;
use super::terminal::{self, Terminal};

/// Lines of a container's output that are printed after a failure, of its beginning and of its end. The
/// first error is mostly the cause of others.
const FIRST_LINES: usize = 60;
const LAST_LINES: usize = 20;
/// Bounds of the width of the names of steps.
const NAME_WIDTH: usize = 9;
const MAX_NAME_WIDTH: usize = 40;

/// Arguments of `ipo-oci test`.
#[derive(Args, Debug)]
pub(crate) struct TestArguments {
    /// Image, or folder of a project to build
    ///
    /// An image is oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:NAME:TAG],
    /// docker-daemon:NAME:TAG or [docker://]REGISTRY/NAME[:TAG]. The images of a project are built like
    /// those of `ipo-oci build`, and not stored.
    #[arg(value_name = "IMAGE|PROJECT", default_value = ".")]
    subject: String,
    /// Images of a project
    #[arg(long, value_enum, default_value = "runtime", value_delimiter = ',')]
    target: Vec<ServiceTarget>,
    /// Processes of a project, or all
    #[arg(long, value_name = "NAME,…", default_value = "web", value_delimiter = ',')]
    process: Vec<String>,
    #[command(flatten)]
    service: ServiceArguments,

    /// Path to request once the image is healthy; repeatable
    ///
    /// The response must have a status from 200 to 299, or STATUS.
    #[arg(long, value_name = "PATH[=STATUS]")]
    get: Vec<UrlCheck>,
    /// Port of the requests [default: the lowest exposed one]
    #[arg(long)]
    port: Option<u16>,
    /// Time until the image is healthy [default: that of its health check, at most 2min]
    #[arg(long, value_name = "TIME", value_parser = setting::<Seconds>)]
    timeout: Option<Seconds>,
    /// Network of the container
    #[arg(long, value_enum, default_value = "private")]
    network: NetworkArgument,
    /// Write the result as JUnit XML
    #[arg(long, value_name = "junit=FILE")]
    report: Option<JunitReport>,
    #[command(flatten)]
    container: ContainerArguments,
    #[command(flatten)]
    access: AccessArguments,
}

/// The targets with a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ServiceTarget {
    /// The application for production
    Runtime,
    /// With all distributions and reload
    Dev,
    /// Both
    All,
}

/// The file of `--report junit=FILE`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct JunitReport(PathBuf);

impl FromStr for JunitReport {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("junit=") {
            Some(file) if !file.is_empty() => Ok(Self(file.into())),
            _ => Err("write junit=FILE"),
        }
    }
}

/// The tests of a command.
struct Tests<'a> {
    options: TestOptions,
    style: Style,
    /// Width of the names of steps.
    width: usize,
    terminal: &'a Terminal,
    results: Vec<(String, TestReport)>,
}

/// Tests the images.
pub(crate) fn run(arguments: &TestArguments, terminal: &Terminal) -> Result<(), Failure> {
    let options = arguments.options()?;
    let width = options.requests.iter().map(|request| request.path.len() + "GET ".len()).max();
    let width = width.unwrap_or_default().clamp(NAME_WIDTH, MAX_NAME_WIDTH);
    let style = terminal::standard_output_style();
    let mut tests = Tests { options, style, width, terminal, results: Vec::new() };
    let folder = Path::new(&arguments.subject);
    let outcome = if folder.is_dir() {
        arguments.test_project(folder, &mut tests)
    } else {
        arguments.test_image(&mut tests)
    };
    if let Some(JunitReport(file)) = &arguments.report {
        let suites: Vec<_> = tests.results.iter().map(|(name, report)| Suite { name, report }).collect();
        write_file(file, &run::junit(&suites))?;
    }
    outcome?;
    tests.finish()
}

impl TestArguments {
    fn options(&self) -> Result<TestOptions, Failure> {
        let mut options = TestOptions::new(self.container.options(self.network, &self.access)?);
        options.requests.clone_from(&self.get);
        options.port = self.port;
        options.timeout = self.timeout.map(|timeout| timeout.0);
        Ok(options)
    }

    fn test_image(&self, tests: &mut Tests<'_>) -> Result<(), Failure> {
        let reference: Reference = self.subject.parse().map_err(Failure::argument)?;
        let image = store::open_image(&reference, self.service.platform.as_ref(), &self.access.access())?;
        tests.test(&reference.to_string(), &image)
    }

    /// Builds the images of a project and tests each.
    fn test_project(&self, folder: &Path, tests: &mut Tests<'_>) -> Result<(), Failure> {
        if folder.join("oci-layout").is_file() {
            let shown = printable::path(folder);
            return Err(Failure::usage(
                format!("{shown} is an OCI layout, and no project"),
                format!("write oci:{shown} for its image"),
            ));
        }
        let builder = self.service.builder(folder, &self.process.join(","), &self.access)?;
        let mut targets: Vec<Target> = Vec::new();
        for target in &self.target {
            targets.extend(match target {
                ServiceTarget::Runtime => &[Target::Runtime][..],
                ServiceTarget::Dev => &[Target::Dev],
                ServiceTarget::All => &[Target::Runtime, Target::Dev],
            });
        }
        targets.sort();
        targets.dedup();
        for target in targets {
            for set in builder.clone().target(target).build_processes(tests.terminal)? {
                let built = set.for_this_machine();
                tests.test(&built.name.to_string(), &built.image)?;
            }
        }
        Ok(())
    }
}

impl Tests<'_> {
    fn test(&mut self, name: &str, image: &Image) -> Result<(), Failure> {
        let Self { style, terminal, width, .. } = *self;
        if !self.results.is_empty() {
            self.print("\n")?;
        }
        let heading =
            format!("{} ({})\n", printable::name(name), printable::name(&image.platform.to_string()));
        self.print(&paint(style, BOLD, &heading))?;
        let outcome = run::test(image, &self.options, terminal, &mut |step| {
            // A closed standard output does not end the test.
            if !terminal.is_quiet() {
                let _ = terminal.styled_result(&line(step, width, style));
            }
        });
        let report = outcome.map_err(failure)?;
        let failed = report.failure().is_some();
        if failed {
            terminal.styled_result(&log(&report.log, style))?;
        } else {
            self.print(&format!("  {}\n", summary(&report)))?;
        }
        self.results.push((name.to_owned(), report));
        Ok(())
    }

    /// Prints a line of the result, unless quiet.
    fn print(&self, text: &str) -> Result<(), Failure> {
        if self.terminal.is_quiet() { Ok(()) } else { self.terminal.styled_result(text) }
    }

    /// Fails if a test failed.
    fn finish(&self) -> Result<(), Failure> {
        let failed: Vec<_> = self
            .results
            .iter()
            .filter_map(|(name, report)| Some((name, report.failure()?, report)))
            .collect();
        let Some((name, step, report)) = failed.first() else { return Ok(()) };
        let more = if failed.len() == 1 { String::new() } else { format!(", and {} more", failed.len() - 1) };
        let message = format!("the test of {name} failed: {}: {}{more}", step.name, step.detail);
        let help = report.hints.first().cloned();
        Err(Failure::found(message, help.unwrap_or_else(|| default_help(report))))
    }
}

fn default_help(report: &TestReport) -> String {
    if report.log.is_empty() {
        "the container printed nothing".to_owned()
    } else {
        "see the output of the container above".to_owned()
    }
}

const BOLD: &str = "1";
const FAINT: &str = "2";
const RED: &str = "31";
const GREEN: &str = "32";

fn paint(style: Style, code: &str, text: &str) -> String {
    match style {
        Style::Plain => text.to_owned(),
        Style::Colored => format!("\x1b[{code}m{text}\x1b[0m"),
    }
}

/// Returns the line of a step.
fn line(step: &TestStep, width: usize, style: Style) -> String {
    let mark = if step.has_failed() { paint(style, RED, "✗") } else { paint(style, GREEN, "✓") };
    let (name, detail) = (printable::name(&step.name), printable::name(&step.detail));
    format!("  {mark} {name:<width$} {detail}  {}\n", paint(style, FAINT, &duration(step.duration)))
}

/// Returns the first and the last lines of a container's output.
fn log(log: &str, style: Style) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let omitted = lines.len().saturating_sub(FIRST_LINES + LAST_LINES);
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        if omitted > 0 && number == FIRST_LINES {
            let more = format!("… {omitted} lines omitted, --report junit=FILE has more …");
            let _ = writeln!(text, "  {}", paint(style, FAINT, &more));
        }
        if omitted == 0 || number < FIRST_LINES || number >= FIRST_LINES + omitted {
            let _ = writeln!(text, "  {} {}", paint(style, FAINT, "│"), printable::text(line));
        }
    }
    text
}

fn summary(report: &TestReport) -> String {
    let time = |name: &[&str]| {
        let steps = report.steps.iter().filter(|step| name.contains(&step.name.as_str()));
        steps.map(|step| step.duration).sum::<Duration>()
    };
    let ready = report.steps.iter().find(|step| ["healthy", "listening"].contains(&step.name.as_str()));
    let total = duration(report.duration());
    match ready {
        Some(step) => {
            format!("passed in {total}, {} after {}", step.name, duration(time(&["start", &step.name])))
        }
        None => format!("passed in {total}"),
    }
}

fn duration(time: Duration) -> String {
    if time < Duration::from_millis(100) {
        format!("{} ms", time.as_millis())
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_both_ends_of_a_long_log() {
        let text: String = (0..150).fold(String::new(), |text, number| format!("{text}line {number}\n"));
        let shown = log(&text, Style::Plain);
        assert!(shown.starts_with("  │ line 0\n"), "{shown}");
        assert!(
            shown.contains(
                "  │ line 59\n  … 70 lines omitted, --report junit=FILE has more …\n  │ line 130\n"
            )
        );
        assert!(shown.ends_with("  │ line 149\n"));
        assert_eq!(shown.lines().count(), 81);
        assert_eq!(log("a\u{1b}[2J\n", Style::Plain), "  │ a\\u{1b}[2J\n");
    }
}
