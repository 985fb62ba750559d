//! What the command prints: results to standard output, everything else to standard error.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use ipo_oci::error::FileError;
use ipo_oci::printable;
use ipo_oci::progress::{Edge, Progress, Transfer, Warning};
use ipo_oci::reference::Reference;
use ipo_oci::report::text::Style;
use ipo_oci::store::Stored;

use super::failure::Failure;
use super::timings::Timings;
use super::transfers::Transfers;

/// How much is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verbosity {
    /// Errors only.
    Quiet,
    /// Warnings and reports.
    Normal,
    /// Steps, too.
    Verbose,
}

/// When progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum ProgressMode {
    /// Lines that are replaced and bars on a terminal; elsewhere a line now and then of a transfer that takes long
    #[default]
    Auto,
    /// A line a step
    Plain,
    /// Nothing
    None,
}

/// The two output streams of the process.
#[derive(Debug)]
pub(crate) struct Terminal {
    verbosity: Verbosity,
    steps: Steps,
    transfers: Transfers,
    colour: bool,
    timings: Timings,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Steps {
    Hidden,
    Lines,
    Replaced,
}

impl Verbosity {
    /// From the flags `-q` and `-v`.
    pub(crate) fn new(quiet: bool, verbose: u8) -> Self {
        match (quiet, verbose) {
            (true, _) => Self::Quiet,
            (false, 0) => Self::Normal,
            _ => Self::Verbose,
        }
    }
}

impl Terminal {
    /// Looks at standard error: colours and replaced lines are for terminals (and `NO_COLOR` forbids the former).
    pub(crate) fn new(verbosity: Verbosity, progress: ProgressMode) -> Self {
        let terminal = io::stderr().is_terminal();
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
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
        Self { verbosity, steps, transfers, colour, timings: Timings::new() }
    }

    /// Where the time goes.
    pub(crate) fn timings(&self) -> &Timings {
        &self.timings
    }

    /// How a report on standard error is set off.
    pub(crate) fn style(&self) -> Style {
        if self.colour { Style::Coloured } else { Style::Plain }
    }

    /// Writes a text to standard output.
    pub(crate) fn result(&self, text: &str) -> Result<(), Failure> {
        self.bytes(printable::text(text).as_bytes())
    }

    /// Writes a JSON document to standard output.
    pub(crate) fn json(&self, document: &str) -> Result<(), Failure> {
        self.bytes(printable::json(document).as_bytes())
    }

    /// Writes bytes that were asked for as they are to standard output. A reader that went away (`| head`) is no error.
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

    /// Writes where an image was stored: to standard output, unless the image itself went there.
    pub(crate) fn stored(&self, stored: &Stored, destination: &Reference) -> Result<(), Failure> {
        let line = format!("{stored}\n");
        if destination.is_standard() {
            self.report(&line);
            return Ok(());
        }
        self.result(&line)
    }

    /// Writes a report to standard error, unless all is to be quiet.
    pub(crate) fn report(&self, text: &str) {
        if self.verbosity > Verbosity::Quiet {
            self.asked(text);
        }
    }

    /// Writes to standard error what was asked for by name.
    pub(crate) fn asked(&self, text: &str) {
        self.clear();
        eprint(&if self.colour { printable::coloured(text) } else { printable::text(text) });
    }

    /// Writes why the command failed.
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
        if self.colour { format!("\x1b[{style}m{word}\x1b[0m") } else { word.to_owned() }
    }

    /// Takes a step's line away, so that what follows stands alone.
    fn clear(&self) {
        if self.steps == Steps::Replaced {
            eprint("\r\x1b[K");
        }
    }
}

/// A text whose further lines stand to the right: none of them can be taken for a message of its own.
fn below(text: &str) -> String {
    printable::text(text).replace('\n', "\n    ")
}

/// Standard error that is closed must not end the build.
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
        // Bars stand where the step's line is.
        if let Some(line) = self.transfers.show(event, || self.clear()) {
            eprint(&printable::text(&line));
        }
    }

    fn span(&self, what: &str, edge: Edge) {
        self.timings.note(what, edge);
    }

    fn step(&self, what: &str) {
        let what = printable::name(what);
        match self.steps {
            Steps::Hidden => {}
            Steps::Lines => eprint(&format!("{what}\n")),
            // The bars say more, and stand where the line would.
            Steps::Replaced if self.transfers.on_screen() => {}
            // What does not fit is cut off (DECAWM off and on again): of a line that wraps, only the last row could be
            // taken away again.
            Steps::Replaced => eprint(&format!("\r\x1b[K\x1b[?7l{what} …\x1b[?7h")),
        }
    }
}
