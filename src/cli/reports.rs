//! `--report`: formats and destinations of size reports.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use ipo_oci::atomic_file;
use ipo_oci::error::FileError;
use ipo_oci::printable;
use ipo_oci::report::{SizeReport, html, markdown, text};
use ipo_oci::suggest::with_nearest;

use super::failure::Failure;
use super::terminal::Terminal;

/// A requested report: `FORM` for standard error, `FORM=FILE` for a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReportArgument {
    format: ReportFormat,
    file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReportFormat {
    Text,
    Json,
    Html,
    Markdown,
}

impl ReportFormat {
    fn render(self, report: &SizeReport, style: text::Style) -> String {
        match self {
            Self::Text => text::render_as(report, style),
            Self::Json => printable::json(&report.to_json()),
            Self::Html => printable::text(&html::render(report)),
            Self::Markdown => markdown::render(report),
        }
    }
}

impl ReportArgument {
    /// Returns the destination file as given.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }
}

impl FromStr for ReportArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (format, file) = match text.split_once('=') {
            Some((format, file)) => (format, Some(file)),
            None => (text, None),
        };
        let format = match format {
            "text" => ReportFormat::Text,
            "json" => ReportFormat::Json,
            "html" => ReportFormat::Html,
            "markdown" => ReportFormat::Markdown,
            _ => {
                let known = ["text", "json", "html", "markdown"];
                return Err(with_nearest("write text, json, html or markdown", format, known));
            }
        };
        match file {
            Some("") => Err("write a file name after `=`".to_owned()),
            Some("-") => Err("leave out `=-` for standard error; standard output is for the image's \
                              reference"
                .to_owned()),
            file => Ok(Self { format, file: file.map(PathBuf::from) }),
        }
    }
}

/// The position of a report among the images of one target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ImagePosition {
    /// The only platform, or the first.
    First,
    /// Another platform.
    Other,
}

/// Writes the requested reports. If none goes to standard error, the text table does. `suffix`
/// distinguishes the image from others of the build in the name of a file.
pub(crate) fn write(
    requests: &[ReportArgument],
    report: &SizeReport,
    suffix: &str,
    of: ImagePosition,
    terminal: &Terminal,
) -> Result<(), Failure> {
    if requests.iter().all(|request| request.file.is_some()) {
        terminal.report(&text::render_as(report, terminal.style()));
    }
    for request in requests {
        match &request.file {
            None => terminal.print_requested(&request.format.render(report, terminal.style())),
            Some(file) => {
                let text = request.format.render(report, text::Style::Plain);
                write_file(&file_of(file, suffix, &report.platform, of), &text)?;
            }
        }
    }
    Ok(())
}

/// Returns whether standard error carries output for programs.
pub(crate) fn for_programs(requests: &[ReportArgument]) -> bool {
    requests.iter().any(|request| request.file.is_none() && request.format != ReportFormat::Text)
}

/// Refuses files in missing folders before the build.
pub(crate) fn check(requests: &[ReportArgument], other: Option<&Path>) -> Result<(), Failure> {
    let files = requests.iter().filter_map(|request| request.file.as_deref()).chain(other);
    for file in files {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let metadata =
            std::fs::metadata(folder).map_err(|error| FileError::new("write in", folder, error))?;
        if !metadata.is_dir() {
            return Err(FileError::new("write in", folder, std::io::ErrorKind::NotADirectory.into()).into());
        }
    }
    Ok(())
}

/// Writes a file given by the user.
pub(crate) fn write_file(path: &Path, text: &str) -> Result<(), Failure> {
    Ok(atomic_file::write_text(path, text)?)
}

/// Returns the file of a report: with several images or platforms, each has a separate file
/// (`sizes.json`, `sizes-dev.json`, `sizes-linux-arm64.json`, `sizes-dev-linux-arm64.json`).
fn file_of(file: &Path, suffix: &str, platform: &str, of: ImagePosition) -> PathBuf {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let mut name = format!("{stem}{suffix}");
    if of == ImagePosition::Other {
        name = format!("{name}-{}", platform.replace('/', "-"));
    }
    if let Some(extension) = file.extension() {
        name = format!("{name}.{}", extension.to_string_lossy());
    }
    file.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_image_and_platform_has_a_separate_file() {
        for (suffix, of, file, expected) in [
            ("", ImagePosition::First, "a/sizes.json", "a/sizes.json"),
            ("-dev", ImagePosition::First, "sizes.json", "sizes-dev.json"),
            ("", ImagePosition::Other, "a/sizes.json", "a/sizes-linux-arm64.json"),
            ("", ImagePosition::Other, "sizes", "sizes-linux-arm64"),
            ("-dev-worker", ImagePosition::Other, "sizes.json", "sizes-dev-worker-linux-arm64.json"),
        ] {
            let found = file_of(Path::new(file), suffix, "linux/arm64", of);
            assert_eq!(found, PathBuf::from(expected));
        }
    }

    #[test]
    fn parses_report_arguments() {
        let html: ReportArgument = "html=a=b.html".parse().unwrap();
        assert_eq!(html, ReportArgument { format: ReportFormat::Html, file: Some("a=b.html".into()) });
        let json: ReportArgument = "json".parse().unwrap();
        assert_eq!(json, ReportArgument { format: ReportFormat::Json, file: None });
        for wrong in ["", "pdf", "json=", "html=-", "=x"] {
            assert!(wrong.parse::<ReportArgument>().is_err(), "{wrong}");
        }
    }
}
