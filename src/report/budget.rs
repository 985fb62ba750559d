//! [`Budget`]: checks an image against its size budget, and suggests cuts.

use super::SizeReport;
use crate::error::Advice;
use crate::settings::human_size;

/// Number of suggested cuts.
const NAMED: usize = 5;

/// The error of an image that exceeds its budget.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "cannot accept image {image}: {} on disk, {} more than the {} allowed",
    human_size(*.disk_bytes), human_size(.disk_bytes - .budget_bytes), human_size(*.budget_bytes)
)]
#[non_exhaustive]
pub struct Budget {
    /// Name and tag of the image.
    pub image: String,
    /// Size of the image in bytes on disk.
    pub disk_bytes: u64,
    /// The budget in bytes on disk.
    pub budget_bytes: u64,
    /// The most effective cuts, largest first.
    pub cuts: Vec<Cut>,
}

/// A part of the image that could be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cut {
    /// Description of the part.
    pub what: String,
    /// Upper bound of the savings in bytes on disk.
    pub bytes: u64,
}

impl Budget {
    /// Returns an error with suggested cuts if `report` exceeds its budget.
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
