//! [`SourceState`]: a source on its way to bytecode.

use super::BytecodeSource;
use super::compile_memo::{MemoRecord, SourceFinding, mark};
use crate::digest::Digest;
use crate::tree::HostFile;

/// A source and its state.
pub(super) struct SourceState<'a> {
    pub(super) source: &'a BytecodeSource,
    pub(super) memo_key: Digest,
    pub(super) stage: CompileStage,
}

/// The state of a source.
pub(super) enum CompileStage {
    /// Finished: the finding, with the compiled file if there is one.
    Done(SourceFinding, Option<HostFile>),
    /// To compile, and to store under this key.
    Todo(Digest),
}

impl SourceState<'_> {
    /// Returns the record for the memo.
    pub(super) fn record(&self) -> Option<MemoRecord> {
        let CompileStage::Done(finding, file) = &self.stage else { return None };
        let files = [self.source.content.host_file(), self.source.pyc.as_ref()];
        let changed = files.into_iter().flatten().map(|file| file.stamp.changed).max();
        let mark = file.as_ref().map_or(0, mark);
        Some(MemoRecord { finding: *finding, changed: changed.unwrap_or_default(), mark })
    }
}
