//! IPO610: files that git ignores and that go into the image.
//!
//! gitignore(5). Only a planned image has the folder with the `.gitignore`.

use crate::check::diagnostic::{Diagnostic, Reporter};
use crate::check::image::CheckedImage;
use crate::context::{Context, Detail};
use crate::tree::ImagePath;

/// Directories that are never source, and large.
const EXCLUDED: [&str; 4] = ["**/.git", "**/node_modules", "**/__pycache__", "**/*.py[cod]"];

pub(super) fn check(image: &CheckedImage, reporter: &mut Reporter<'_>) {
    if !reporter.wants(&["IPO610"]) {
        return;
    }
    let Some(project) = &image.project else { return };
    let Ok(excluded) = dockerignore::Dockerignore::from_lines("the check", &EXCLUDED) else {
        return;
    };
    let Ok(context) = Context::open(&project.root, project.ignore.clone()) else { return };
    let context = context.with_workdir(project.workdir.clone()).with_defaults(excluded);
    let Ok(listing) = context.walk(Detail::SkipIgnored) else { return };
    let in_image = |file: &str| -> Option<ImagePath> {
        let path = project.workdir.join(file).ok()?;
        image.is_source(&path).then_some(path)
    };
    let mut ignored = context.git_ignored(&listing);
    ignored.retain(|file| in_image(file).is_some());
    for found in ignored.ignored {
        let paths: Vec<ImagePath> = found.files.iter().filter_map(|file| in_image(file)).collect();
        let line = &found.rule;
        let message = format!("is ignored by git (line {} of {}: {})", line.line, line.file, line.pattern);
        let file = found.files.first().cloned().unwrap_or_default();
        reporter.report(
            Diagnostic::new("IPO610", message)
                .at_all(paths)
                .in_source(file, None)
                .with_help("exclude the file in .dockerignore, or include it with a `!` line there"),
        );
    }
}
