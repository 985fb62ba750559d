//! Output of the command: results to standard output, everything else to standard error.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use ipo_oci::error::FileError;
use ipo_oci::printable;
use ipo_oci::progress::{Activity, Edge, Progress, Step, Transfer, Warning};
use ipo_oci::reference::Reference;
use ipo_oci::report::text::Style;
use ipo_oci::store::Stored;

use super::failure::Failure;
use super::timings::Timings;
use super::transfers::Transfers;

/// The amount of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verbosity {
    /// Errors only.
    Quiet,
    /// Warnings and reports.
    Normal,
    /// Steps, too.
    Verbose,
}

/// The display of progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum ProgressMode {
    /// Replaced lines and bars on a terminal; elsewhere occasional lines for long transfers
    #[default]
    Auto,
    /// One line per step
    Plain,
    /// Nothing
    None,
}

/// The width of text without a terminal, in columns.
const USUAL_WIDTH: usize = 80;
/// The largest width of text, in columns.
const MAX_WIDTH: usize = 100;

/// Returns the width of text on standard output.
pub(crate) fn width() -> usize {
    let of_terminal = || terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| usize::from(width.0));
    let of_variable = || std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    of_terminal().or_else(of_variable).unwrap_or(USUAL_WIDTH).min(MAX_WIDTH)
}

/// Returns the style of text on standard output.
pub(crate) fn standard_output_style() -> Style {
    if io::stdout().is_terminal() && has_colors() { Style::Colored } else { Style::Plain }
}

/// Returns false if the user switched colors off.
fn has_colors() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The two output streams of the process.
#[derive(Debug)]
pub(crate) struct Terminal {
    verbosity: Verbosity,
    steps: Steps,
    transfers: Transfers,
    color: bool,
    timings: Timings,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Steps {
    Hidden,
    Lines,
    Replaced,
}

impl Verbosity {
    /// Reads the flags `-q` and `-v`.
    pub(crate) fn new(quiet: bool, verbose: u8) -> Self {
        match (quiet, verbose) {
            (true, _) => Self::Quiet,
            (false, 0) => Self::Normal,
            _ => Self::Verbose,
        }
    }
}

impl Terminal {
    /// Examines standard error: colors and replaced lines need a terminal, and `NO_COLOR` disables
    /// colors.
    pub(crate) fn new(verbosity: Verbosity, progress: ProgressMode) -> Self {
        let terminal = io::stderr().is_terminal();
        let color = terminal && has_colors();
        let steps = match (verbosity, progress) {
            (Verbosity::Quiet, _) | (_, ProgressMode::None) => Steps::Hidden,
            (Verbosity::Verbose, _) | (_, ProgressMode::Plain) => Steps::Lines,
            (_, ProgressMode::Auto) if terminal => Steps::Replaced,
            (_, ProgressMode::Auto) => Steps::Hidden,
        };
        let transfers = match (steps, verbosity, progress) {
            (_, Verbosity::Quiet, _) | (_, _, ProgressMode::None) => Transfers::Hidden,
            (Steps::Replaced, ..) => Transfers::bars(),
            (Steps::Lines, ..) => Transfers::lines(true),
            (Steps::Hidden, ..) => Transfers::lines(false),
        };
        Self { verbosity, steps, transfers, color, timings: Timings::new() }
    }

    /// Returns the timings.
    pub(crate) fn timings(&self) -> &Timings {
        &self.timings
    }

    /// Returns the style of reports on standard error.
    pub(crate) fn style(&self) -> Style {
        if self.color { Style::Colored } else { Style::Plain }
    }

    /// Writes a text to standard output.
    pub(crate) fn result(&self, text: &str) -> Result<(), Failure> {
        self.bytes(printable::text(text).as_bytes())
    }

    /// Writes a text with colors of this program to standard output.
    pub(crate) fn styled_result(&self, text: &str) -> Result<(), Failure> {
        self.bytes(printable::colored(text).as_bytes())
    }

    /// Returns true if only errors are printed.
    pub(crate) fn is_quiet(&self) -> bool {
        self.verbosity == Verbosity::Quiet
    }

    /// Writes a JSON document to standard output.
    pub(crate) fn json(&self, document: &str) -> Result<(), Failure> {
        self.bytes(printable::json(document).as_bytes())
    }

    /// Writes raw bytes to standard output. A reader that closed the pipe (`| head`) is not an
    /// error.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> Result<(), Failure> {
        self.clear();
        let mut out = io::stdout().lock();
        match out.write_all(bytes).and_then(|()| out.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(FileError::new("write to", "standard output", error).into())
            }
            _ => Ok(()),
        }
    }

    /// Writes the reference of a stored image: to standard output, unless the image itself went
    /// there.
    pub(crate) fn stored(&self, stored: &Stored, destination: &Reference) -> Result<(), Failure> {
        let line = format!("{stored}\n");
        if destination.is_standard() {
            self.report(&line);
            return Ok(());
        }
        self.result(&line)
    }

    /// Writes a report to standard error, unless quiet.
    pub(crate) fn report(&self, text: &str) {
        if self.verbosity > Verbosity::Quiet {
            self.print_requested(text);
        }
    }

    /// Writes explicitly requested output to standard error.
    pub(crate) fn print_requested(&self, text: &str) {
        self.clear();
        eprint(&if self.color { printable::colored(text) } else { printable::text(text) });
    }

    /// Writes the error of the command.
    pub(crate) fn failure(&self, failure: &Failure) {
        self.transfers.end();
        self.clear();
        eprint(&format!("{} {}\n", self.styled("error:", "1;31"), below(&failure.to_string())));
        if let Some(help) = failure.help() {
            eprint(&self.help(&help));
        }
    }

    fn help(&self, text: &str) -> String {
        format!("  {} {}\n", self.styled("help:", "1;36"), below(text))
    }

    fn styled(&self, word: &str, style: &str) -> String {
        if self.color { format!("\x1b[{style}m{word}\x1b[0m") } else { word.to_owned() }
    }

    /// Replaces the line of a step.
    fn replace(&self, line: &str) {
        // Bars are more detailed and occupy the same line.
        if !self.transfers.on_screen() {
            // Overlong lines are truncated (DECAWM off and on again), since only the last row of a
            // wrapped line could be erased.
            eprint(&format!("\r\x1b[K\x1b[?7l{}\x1b[?7h", printable::name(line)));
        }
    }

    /// Erases the line of a step.
    fn clear(&self) {
        if self.steps == Steps::Replaced {
            eprint("\r\x1b[K");
        }
    }
}

/// Indents all lines but the first, so that none resembles a message of the program.
fn below(text: &str) -> String {
    printable::text(text).replace('\n', "\n    ")
}

/// A closed standard error must not end the build.
fn eprint(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

impl Progress for Terminal {
    fn warn(&self, warning: Warning) {
        if self.verbosity == Verbosity::Quiet {
            return;
        }
        self.transfers.aside(|| {
            self.clear();
            let (subject, message) = (printable::name(&warning.subject), below(&warning.message));
            eprint(&format!("{} {subject}: {message}\n", self.styled("warning:", "1;33")));
            if let Some(help) = warning.help {
                eprint(&self.help(&help));
            }
        });
    }

    fn transfer(&self, event: &Transfer) {
        // Bars replace the line of the step.
        if let Some(line) = self.transfers.show(event, || self.clear()) {
            eprint(&printable::text(&line));
        }
    }

    fn span(&self, activity: Activity, edge: Edge) {
        self.timings.record(activity, edge);
    }

    fn step(&self, step: &Step<'_>) {
        match self.steps {
            Steps::Hidden => {}
            Steps::Lines => eprint(&format!("{}\n", printable::name(&step.to_string()))),
            Steps::Replaced => self.replace(&format!("{step} …")),
        }
    }

    fn advance(&self, step: &Step<'_>) {
        if let (Steps::Replaced, Some(count)) = (self.steps, step.count) {
            self.replace(&format!("{step} … {} %", count.percent()));
        }
    }
}
