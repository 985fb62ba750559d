//! IPO701 to IPO703: budgets of the image, its layers and its distributions.
//!
//! Sizes are on disk, as in the size report: hard links to one file count once.

use std::collections::{BTreeMap, BTreeSet};

use crate::check::diagnostic::{Diagnostic, Reporter};
use crate::check::image::CheckedImage;
use crate::check::node::CheckedNode;
use crate::check::options::CheckOptions;
use crate::settings::human_size;
use crate::tree::{ImagePath, Owner};

pub(super) fn check(image: &CheckedImage, options: &CheckOptions, reporter: &mut Reporter<'_>) {
    if let Some(most) = options.max_size.filter(|_| reporter.wants(&["IPO701"])) {
        let bytes = bytes(image, &image.iter().map(|(path, _)| path).collect::<Vec<_>>(), most);
        if bytes > most {
            reporter.report(over("IPO701", "the image", bytes, most));
        }
    }
    if let Some(most) = options.max_layer_size.filter(|_| reporter.wants(&["IPO702"])) {
        for layer in &image.layers {
            let bytes = bytes(image, &layer.files.iter().collect::<Vec<_>>(), most);
            if bytes > most {
                reporter.report(over("IPO702", &format!("the layer `{}`", layer.name), bytes, most));
            }
        }
    }
    if let Some(most) = options.max_distribution_size.filter(|_| reporter.wants(&["IPO703"])) {
        let mut files: BTreeMap<Owner, Vec<&ImagePath>> = BTreeMap::new();
        for (path, _) in image.iter().filter(|(_, node)| node.is_file()) {
            if let Some(owner @ Owner::Distribution { .. }) = image.owner(path) {
                files.entry(owner).or_default().push(path);
            }
        }
        for (owner, files) in files {
            let bytes = bytes(image, &files, most);
            if bytes > most {
                let found = over("IPO703", &format!("the distribution {owner}"), bytes, most);
                reporter.report(found.of(Some(&owner)));
            }
        }
    }
}

/// Returns the bytes of regular files. Sizes before a rewrite are only an estimate, so if these are more
/// than `most`, the files are read.
fn bytes(image: &CheckedImage, paths: &[&ImagePath], most: u64) -> u64 {
    let nodes = || {
        let mut seen = BTreeSet::new();
        let nodes = paths.iter().filter_map(|path| image.lookup(path)).filter(|node| node.is_file());
        nodes.filter(move |node| node.file.is_none_or(|file| seen.insert(file)))
    };
    let estimate = nodes().map(|node| node.size).sum();
    if estimate <= most { estimate } else { nodes().map(CheckedNode::exact_size).sum() }
}

fn over(code: &'static str, subject: &str, bytes: u64, most: u64) -> Diagnostic {
    let (bytes, most) = (human_size(bytes), human_size(most));
    Diagnostic::new(code, format!("{subject} has {bytes}, more than {most}"))
        .with_help("look at the largest parts with `ipo-oci build --report text`, or raise the limit")
}

#[cfg(test)]
mod tests {
    use crate::check::testing::TestImage;
    use crate::check::{CheckOptions, RuleSelection, check};

    #[test]
    fn hard_links_count_once() {
        let image = TestImage::environment()
            .file("app/data", &"x".repeat(10_000))
            .hard_link("app/copy", "app/data")
            .hard_link("app/third", "app/data")
            .image();
        let found = |most: u64| {
            let selection = RuleSelection::new(&["IPO7".to_owned()], &[]).unwrap();
            let mut options = CheckOptions::new(selection);
            (options.max_size, options.max_layer_size) = (Some(most), Some(most));
            let found = check("test", &image, &options).diagnostics;
            found.into_iter().map(|found| found.code).collect::<Vec<_>>()
        };
        assert_eq!(found(15_000), [] as [&str; 0]);
        assert_eq!(found(9_000), ["IPO701", "IPO702"]);
    }
}
