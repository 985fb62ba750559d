//! [`AppendedLayer`]: a finished layer of another tool.

use std::path::Path;
use std::sync::Arc;

use super::error::PlanError;
use crate::base::View;
use crate::image::{HistoryLine, LAYER_TITLE, Layer};
use crate::progress::Progress;

/// A finished layer of another tool, verified, for the top of an image.
///
/// The layer is taken as it is, with its whiteouts. The check for the programs that the image starts
/// knows its files, and not its whiteouts.
#[derive(Debug, Clone)]
pub struct AppendedLayer {
    layer: Layer,
    history: HistoryLine,
    disk_bytes: u64,
    files: u64,
    view: Arc<View>,
}

impl AppendedLayer {
    /// Reads `layer` to its end, and verifies its digest, size and diff ID, and that a runtime can
    /// unpack the archive. The index of the layer is cached in `cache`, so that the next build reads
    /// no byte of the layer.
    ///
    /// # Errors
    /// [`PlanError::AppendedLayer`] names the layer and the difference.
    pub fn verify(
        layer: Layer,
        history: HistoryLine,
        cache: Option<&Path>,
        progress: &dyn Progress,
    ) -> Result<Self, PlanError> {
        match View::of_layers(std::slice::from_ref(&layer), cache, progress) {
            Ok(view) => {
                let (disk_bytes, files) = view.layer_sizes().first().copied().unwrap_or_default();
                Ok(Self { layer, history, disk_bytes, files, view: Arc::new(view) })
            }
            Err(cause) => {
                let name = name_of(&history).to_owned();
                Err(PlanError::AppendedLayer { name, layer: layer.digest, cause: Box::new(cause) })
            }
        }
    }

    /// Returns the name: the text of its history line, without the prefix of this program's layers.
    pub fn name(&self) -> &str {
        name_of(&self.history)
    }

    /// Returns the layer.
    pub fn layer(&self) -> &Layer {
        &self.layer
    }

    /// Returns the history line.
    pub fn history(&self) -> &HistoryLine {
        &self.history
    }

    /// Returns the bytes of its files.
    pub fn disk_bytes(&self) -> u64 {
        self.disk_bytes
    }

    /// Returns the number of its regular files.
    pub fn files(&self) -> u64 {
        self.files
    }

    /// Returns its files.
    pub(crate) fn view(&self) -> &View {
        &self.view
    }
}

fn name_of(history: &HistoryLine) -> &str {
    history.created_by.strip_prefix(LAYER_TITLE).unwrap_or(&history.created_by)
}
