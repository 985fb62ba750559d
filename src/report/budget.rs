//! [`Budget`]: the size that an image must not exceed, and what to cut when it does.

use super::SizeReport;
use crate::error::Advice;
use crate::settings::human_size;

/// How many things to cut are named.
const NAMED: usize = 5;

/// An image that is larger than it may be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "image {image} has {} on disk, {} more than the {} allowed",
    human_size(*.disk_bytes), human_size(.disk_bytes - .budget_bytes), human_size(*.budget_bytes)
)]
pub struct Budget {
    /// Name and tag of the image.
    pub image: String,
    /// What it has, in bytes on disk.
    pub disk_bytes: u64,
    /// What it may have.
    pub budget_bytes: u64,
    /// What would help most, the largest first.
    pub cuts: Vec<Cut>,
}

/// Something that could go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// What it is.
    pub what: String,
    /// Bytes on disk that would be saved at most.
    pub bytes: u64,
}

impl Budget {
    /// Whether `report` is over its budget, and what to cut if so.
    pub fn check(report: &SizeReport) -> Result<(), Self> {
        let Some(budget_bytes) = report.budget_bytes.filter(|budget| report.disk_bytes > *budget) else {
            return Ok(());
        };
        let distributions = report
            .distributions
            .iter()
            .map(|size| Cut { what: format!("{} {}", size.name, size.version), bytes: size.disk_bytes });
        let rest = [
            ("base: a smaller one, or none (scratch)", report.kinds.base),
            ("bytecode: --bytecode strip, and every start compiles again", report.kinds.bytecode),
            ("source: lines in .dockerignore", report.kinds.source),
            ("standard library: `trim` in the recipe", report.kinds.interpreter),
        ]
        .map(|(what, bytes)| Cut { what: what.to_owned(), bytes });
        let mut cuts: Vec<Cut> = distributions.chain(rest).filter(|cut| cut.bytes > 0).collect();
        cuts.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.what.cmp(&b.what)));
        cuts.truncate(NAMED);
        Err(Self { image: report.image.clone(), disk_bytes: report.disk_bytes, budget_bytes, cuts })
    }
}

impl Advice for Budget {
    fn help(&self) -> Option<String> {
        let cuts: Vec<String> =
            self.cuts.iter().map(|cut| format!("{:>9}  {}\n", human_size(cut.bytes), cut.what)).collect();
        Some(format!("cut the largest things, or allow more with --max-size:\n{}", cuts.concat().trim_end()))
    }
}
