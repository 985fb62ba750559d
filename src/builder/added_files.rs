//! The layers of the settings `files`, `prepare` and `writable`.

use std::path::{Path, PathBuf};

use super::{BuildError, Builder};
use crate::error::FileError;
use crate::plan::ExtraLayer;
use crate::plan::extra::ExtraEntries;
use crate::plan::layers::MIN_OWN_LAYER_BYTES;
use crate::recipe::{Recipe, ResolvedFile};
use crate::settings::{User, human_size};
use crate::traced_fs;
use crate::tree::{Entry, ImagePath, Owner};

/// Name of the layer for files without one of their own.
const FILES: &str = "files";
/// Name of the layer with directories that the process may write to.
const WRITABLE: &str = "writable";

/// The user of the image, and the directories that this user may write to.
#[derive(Debug, Clone)]
pub(super) struct WritableDirectories {
    pub(super) paths: Vec<ImagePath>,
    pub(super) user: User,
}

impl WritableDirectories {
    /// Returns those of `recipe`, before links of a base are followed.
    pub(super) fn of(recipe: &Recipe) -> Self {
        Self { paths: recipe.writable.clone(), user: recipe.user }
    }

    fn contains(&self, path: &ImagePath) -> bool {
        self.paths.iter().any(|directory| path.starts_with(directory))
    }

    /// Gives the directories, and the entries below them, to the user.
    pub(super) fn own_all(&self, entries: &mut [Entry]) {
        for entry in entries.iter_mut().filter(|entry| self.contains(&entry.path)) {
            (entry.uid, entry.gid) = (self.user.uid, self.user.gid);
        }
        self.open(entries);
    }

    /// Gives the directories alone to the user, with mode 0755: a lower layer or the base may have
    /// them with another.
    pub(super) fn open(&self, entries: &mut [Entry]) {
        let is_it = |entry: &&mut Entry| entry.is_directory() && self.paths.contains(&entry.path);
        for entry in entries.iter_mut().filter(is_it) {
            (entry.uid, entry.gid, entry.mode) = (self.user.uid, self.user.gid, 0o755);
        }
    }

    /// Returns the layer with the directories, if any.
    fn layer(&self) -> Option<ExtraEntries> {
        let owner = Owner::Extra { layer: WRITABLE.into() };
        let mut entries: Vec<Entry> =
            self.paths.iter().map(|path| Entry::directory(path.clone(), owner.clone())).collect();
        self.open(&mut entries);
        (!entries.is_empty()).then(|| ExtraEntries {
            name: WRITABLE.to_owned(),
            reason: "directories that the process may write to".to_owned(),
            replacing: false,
            entries,
        })
    }
}

impl Builder {
    /// Returns the layers of the settings, lowest first: files, `prepared` ones, directories.
    pub(super) fn layers_of_settings(
        &self,
        recipe: &Recipe,
        prepared: Vec<ExtraEntries>,
    ) -> Result<Vec<ExtraEntries>, BuildError> {
        let writable = WritableDirectories::of(recipe);
        let mut layers: Vec<ExtraEntries> = Vec::new();
        for file in &recipe.files {
            let added = self.added_file(file, &writable)?;
            match layers.iter_mut().find(|layer| layer.name == added.name) {
                Some(layer) => layer.entries.extend(added.entries),
                None => layers.push(added),
            }
        }
        layers.extend(prepared);
        layers.extend(writable.layer());
        Ok(layers)
    }

    /// Returns the entries of an item of `files`, in the layer that the item belongs to.
    fn added_file(
        &self,
        file: &ResolvedFile,
        writable: &WritableDirectories,
    ) -> Result<ExtraEntries, BuildError> {
        let from = self.host_path(&file.from)?;
        let metadata = traced_fs::metadata(&from).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => BuildError::AddedFileMissing(from.clone()),
            _ => FileError::new("read", &from, error).into(),
        })?;
        let keeps_name = file.into_directory && !metadata.is_dir();
        let name = from.file_name().and_then(|name| name.to_str()).filter(|_| keeps_name);
        let to = name.map_or_else(|| Ok(file.to.clone()), |name| file.to.join(name))?;
        let user = file.owner.or_else(|| writable.contains(&to).then_some(writable.user));
        let read = |name: &str| {
            let mut layer = ExtraLayer::new(name);
            if let Some(User { uid, gid }) = user {
                layer = layer.owner(uid, gid);
            }
            if let Some(mode) = file.mode {
                // Permission to read a directory is of no use without permission to enter it.
                layer = layer.file_mode(mode).directory_mode(mode & 0o777 | (mode & 0o444) >> 2);
            }
            let to = to.to_string();
            let layer = if metadata.is_dir() { layer.directory(&from, to) } else { layer.file(&from, to) };
            layer.reason("files of the settings").entries()
        };
        if let Some(name) = &file.layer {
            return Ok(read(name)?);
        }
        let added = read(FILES)?;
        let size: u64 = added.entries.iter().map(Entry::size_hint).sum();
        match to.file_name() {
            Some(name) if size >= MIN_OWN_LAYER_BYTES => {
                let reason =
                    format!("{} of the settings' files, changed apart from the others", human_size(size));
                Ok(ExtraEntries { reason, ..read(name)? })
            }
            _ => Ok(added),
        }
    }

    /// Returns a path of the settings on this machine: relative to the project, or to the home
    /// directory after `~`.
    fn host_path(&self, text: &str) -> Result<PathBuf, BuildError> {
        match text.strip_prefix('~') {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => {
                let home = self.home.as_ref().ok_or_else(|| BuildError::NoHome(text.to_owned()))?;
                Ok(home.join(rest.trim_start_matches('/')))
            }
            _ => Ok(self.root.join(Path::new(text))),
        }
    }
}
