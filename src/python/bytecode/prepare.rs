//! Turns sources into bytecode entries: looks up findings, accepts installed bytecode, compiles the
//! rest.

use std::sync::Arc;

use super::canonical::{Canonical, InstalledSource, can_be_canonical, of_code};
use super::compile_memo::{Memo, MemoRecord, SourceFinding, mark};
use super::compiler::{CompilerProcess, Identity, Outcome};
use super::error::{BytecodeError, MarshalError};
use super::header::{self, Header, Invalidation, source_hash};
use super::magic::PycFormat;
use super::state::{CompileStage, SourceState};
use super::store::{Compiled, Store, StoredResult, key};
use super::validity::belongs;
use super::{BytecodeCheck, BytecodeMode, BytecodeRequest, BytecodeSource, Python, Refused, warnings};
use crate::digest::{Digest, Hasher};
use crate::parallel::{cores, each};
use crate::progress::{Activity, Meter, Step, Unit, Warning};
use crate::traced_fs;
use crate::tree::{Content, Entry, HostFile, ImagePath, TRANSFORM_LIMIT};

/// The number of interpreters beyond which compiling is not any faster.
const MAX_WORKERS: usize = 8;
/// The largest accepted source, in bytes.
const MAX_SOURCE: u64 = 64 << 20;

/// Returns the bytecode entries of all sources, in the order of the sources: at
/// `<directory>/__pycache__/<name>.<cache tag>.pyc`, with mode 0644, the constant time and the
/// owner of the source.
///
/// Installed bytecode is not copied: its entries have a [`Canonical`] transform. Missing or stale
/// bytecode is compiled by as many processes as cores (at most eight) and stored in the cache. The
/// cache also has the findings about unchanged files, so a second call reads none of them.
///
/// A source that does not compile has no entry, as with pip; one warning counts such sources.
pub fn entries(request: &BytecodeRequest<'_>) -> Result<Vec<Entry>, BytecodeError> {
    let (entries, refused) = prepare(request)?;
    warnings::warn_of_refused(&refused, request.progress);
    Ok(entries)
}

/// Returns the same entries, and the sources that do not compile, without a warning.
pub fn prepare(request: &BytecodeRequest<'_>) -> Result<(Vec<Entry>, Vec<Refused>), BytecodeError> {
    if request.mode == BytecodeMode::Strip || request.sources.is_empty() {
        return Ok(Default::default());
    }
    let mut memo = Memo::load(request.cache, &request.python.executable);
    let Some(work) = Preparation::new(request, &mut memo)? else {
        memo.save();
        return Ok(Default::default());
    };
    let mut found = work.look_up(&memo)?;
    work.compile(&mut found)?;
    memo.note(found.iter().filter_map(|found| Some((found.memo_key, found.record()?))));
    memo.save();
    warnings::warn_of_excluded(request, &found);
    let refused = found.iter().filter_map(|found| work.refused(found)).collect();
    Ok((found.into_iter().filter_map(|found| work.entry(found)).collect(), refused))
}

/// The state of one call.
struct Preparation<'a> {
    request: &'a BytecodeRequest<'a>,
    identity: Identity,
    format: &'static PycFormat,
    store: Store<'a>,
    installed: Installed,
}

/// The usability of installed bytecode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Installed {
    Usable,
    /// Not used: the code may differ between installations, or has another level of optimization.
    Unusable,
}

impl<'a> Preparation<'a> {
    /// Determines the interpreter's version; warns and returns `None` if unsupported.
    fn new(request: &'a BytecodeRequest<'a>, memo: &mut Memo) -> Result<Option<Self>, BytecodeError> {
        let identity = identify(request, memo)?;
        let format = match PycFormat::of_magic(identity.magic) {
            Ok(format) => format,
            Err(error) => {
                let subject = request.python.executable.display().to_string();
                let message = match error {
                    MarshalError::OtherPython { release, magic } => format!(
                        "cannot include bytecode of {release} (magic number {magic}): CPython 3.9 to 3.15 are supported"
                    ),
                    other => format!("cannot include bytecode: {other}"),
                };
                request.progress.warn(Warning::new(subject, message));
                return Ok(None);
            }
        };
        if let Some(expected) = request.python.magic.filter(|magic| *magic != identity.magic) {
            return Err(unexpected_version(request, identity, expected));
        }
        let installed = match request.mode {
            // Installers compile without a level of optimization.
            _ if request.python.optimize > 0 => Installed::Unusable,
            BytecodeMode::Compile if !identity.is_deterministic() => Installed::Unusable,
            _ => Installed::Usable,
        };
        Ok(Some(Self {
            request,
            identity,
            format,
            store: Store { cache: request.cache, work: request.work },
            installed,
        }))
    }

    fn look_up(&self, memo: &Memo) -> Result<Vec<SourceState<'a>>, BytecodeError> {
        let sources = self.request.sources;
        let found = each(
            sources.len(),
            cores(),
            || Ok::<_, BytecodeError>(()),
            |(), index| {
                let Some(source) = sources.get(index).filter(|source| bytecode_path(source, "x").is_some())
                else {
                    return Ok(None);
                };
                let memo_key = self.memo_key(source);
                let stage = match memo.get(&memo_key).and_then(|record| self.validate(source, record)) {
                    Some(stage) => stage,
                    None => self.inspect(source, memo_key)?,
                };
                Ok(Some(SourceState { source, memo_key, stage }))
            },
        )?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Returns the state for a record that is still valid.
    fn validate(&self, source: &BytecodeSource, record: MemoRecord) -> Option<CompileStage> {
        let file = match record.finding {
            // Files with unchanged stamps can be damaged all the same.
            SourceFinding::Compiled(_) | SourceFinding::HeaderMatches
                if self.request.check == BytecodeCheck::Whole =>
            {
                return None;
            }
            SourceFinding::Compiled(key) => {
                Some(self.store.file(key).filter(|file| mark(file) == record.mark)?)
            }
            // A source above the limit has no message, and another key.
            SourceFinding::Refused(key) if source.content.size_hint() <= MAX_SOURCE => {
                self.store.refusal(key)?;
                None
            }
            SourceFinding::Reusable(_) | SourceFinding::HeaderMatches | SourceFinding::Verified => {
                source.pyc.as_ref()?;
                None
            }
            _ => None,
        };
        Some(CompileStage::Done(record.finding, file))
    }

    /// Reads the source and its installed bytecode.
    fn inspect(&self, source: &BytecodeSource, memo_key: Digest) -> Result<CompileStage, BytecodeError> {
        if source.content.size_hint() > MAX_SOURCE {
            return Ok(CompileStage::Done(SourceFinding::Refused(memo_key), None));
        }
        if self.request.check == BytecodeCheck::Header && self.has_matching_header(source) {
            return Ok(CompileStage::Done(SourceFinding::HeaderMatches, None));
        }
        let bytes = source.content.read()?;
        let finding = match (&source.content, &source.pyc) {
            (Content::Host(file), Some(pyc)) => self.examine(source, &bytes, file, pyc),
            // The source is rewritten: installed bytecode is of another text.
            (_, Some(_)) => SourceFinding::Stale,
            (_, None) => SourceFinding::Missing,
        };
        if self.request.mode == BytecodeMode::Keep
            || matches!(finding, SourceFinding::Reusable(_) | SourceFinding::Verified)
        {
            return Ok(CompileStage::Done(finding, None));
        }
        let key = key(self.identity, self.request.python.optimize, &source.path, &bytes);
        Ok(match self.store.find(key) {
            Some(StoredResult::Compiled(file)) => {
                CompileStage::Done(SourceFinding::Compiled(key), Some(file))
            }
            Some(StoredResult::Refused) => CompileStage::Done(SourceFinding::Refused(key), None),
            None => CompileStage::Todo(key),
        })
    }

    /// Returns whether an installer's bytecode has a header for this source. The check does not
    /// read the source; the code is read once, when its layer is written.
    fn has_matching_header(&self, source: &BytecodeSource) -> bool {
        let (Content::Host(file), Some(pyc), Installed::Usable) =
            (&source.content, &source.pyc, self.installed)
        else {
            return false;
        };
        if pyc.size > TRANSFORM_LIMIT {
            return false;
        }
        let Ok(start) = pyc.read_start(header::LENGTH) else { return false };
        Header::read(&start).is_ok_and(|(header, _)| {
            matches!(header.invalidation, Invalidation::Stamp { .. })
                && belongs(&header, self.format, file, [0; 8])
        })
    }

    /// Examines an installer's bytecode: header and code.
    fn examine(
        &self,
        source: &BytecodeSource,
        bytes: &[u8],
        file: &HostFile,
        pyc: &HostFile,
    ) -> SourceFinding {
        if self.request.python.optimize > 0 {
            return SourceFinding::Missing;
        }
        if self.installed == Installed::Unusable || pyc.size > TRANSFORM_LIMIT {
            return SourceFinding::Stale;
        }
        // An unreadable file counts as stale.
        let Ok(pyc) = pyc.read() else { return SourceFinding::Stale };
        let hash = source_hash(self.format, bytes);
        match Header::read(&pyc) {
            Ok((header, _)) if header.magic != self.format.magic => SourceFinding::Foreign(header.magic),
            Ok((header, _)) if belongs(&header, self.format, file, hash) => {
                match header.invalidation {
                    _ if !can_be_canonical(&pyc, &source.path.to_string()) => SourceFinding::Stale,
                    // The same finding as without reading the code: one state of files is one
                    // content.
                    Invalidation::Stamp { .. } => SourceFinding::Verified,
                    Invalidation::Hash(_) => SourceFinding::Reusable(hash),
                }
            }
            _ => SourceFinding::Stale,
        }
    }

    /// Compiles all sources in [`CompileStage::Todo`].
    fn compile(&self, found: &mut [SourceState<'_>]) -> Result<(), BytecodeError> {
        let jobs: Vec<(&BytecodeSource, Digest)> = found
            .iter()
            .filter_map(|found| match found.stage {
                CompileStage::Todo(key) => Some((found.source, key)),
                CompileStage::Done(..) => None,
            })
            .collect();
        if jobs.is_empty() {
            return Ok(());
        }
        let meter = Meter::new(self.request.progress, Unit::Modules, jobs.len() as u64);
        self.request.progress.step(&Step::new(Activity::CompileModules).counted(meter.count()));
        let workers = jobs.len().min(cores()).min(MAX_WORKERS);
        let start = || self.start_interpreter();
        let stages = each(jobs.len(), workers, start, |interpreter, index| {
            let Some((source, key)) = jobs.get(index) else { return Ok(None) };
            let stage = self.compile_one(interpreter, source, *key)?;
            meter.add(1, &Step::new(Activity::CompileModules));
            Ok(Some(stage))
        })?;
        drop(jobs);
        let todo = found.iter_mut().filter(|found| matches!(found.stage, CompileStage::Todo(_)));
        for (found, stage) in todo.zip(stages.into_iter().flatten()) {
            found.stage = stage;
        }
        Ok(())
    }

    fn start_interpreter(&self) -> Result<CompilerProcess, BytecodeError> {
        let interpreter =
            CompilerProcess::start(&self.request.python.executable, self.request.python.optimize)?;
        if interpreter.identity() == self.identity {
            Ok(interpreter)
        } else {
            Err(unexpected_version(self.request, interpreter.identity(), self.identity.magic))
        }
    }

    fn compile_one(
        &self,
        interpreter: &mut CompilerProcess,
        source: &BytecodeSource,
        key: Digest,
    ) -> Result<CompileStage, BytecodeError> {
        let bytes = source.content.read()?;
        let code = match interpreter.compile(&source.path, &bytes)? {
            Outcome::Code(code) => code,
            Outcome::Refused(reason) => {
                self.store.keep_refusal(key, &reason)?;
                return Ok(CompileStage::Done(SourceFinding::Refused(key), None));
            }
        };
        let pyc =
            of_code(self.format, &code, &source.path, &bytes).map_err(|error| BytecodeError::Compiled {
                interpreter: self.request.python.executable.clone(),
                path: source.path.clone(),
                error,
            })?;
        let file = self.store.keep(key, &pyc)?;
        Ok(CompileStage::Done(SourceFinding::Compiled(key), Some(file)))
    }

    fn refused(&self, found: &SourceState<'_>) -> Option<Refused> {
        let CompileStage::Done(SourceFinding::Refused(key), _) = &found.stage else { return None };
        Some(Refused { path: found.source.path.clone(), reason: self.store.refusal(*key) })
    }

    fn entry(&self, found: SourceState<'_>) -> Option<Entry> {
        let content = match found.stage {
            CompileStage::Done(SourceFinding::Reusable(hash), _) => {
                installed(found.source, InstalledSource::Hash(hash))?
            }
            CompileStage::Done(SourceFinding::HeaderMatches | SourceFinding::Verified, _) => {
                installed(found.source, InstalledSource::File(found.source.content.host_file()?.clone()))?
            }
            CompileStage::Done(SourceFinding::Compiled(key), Some(file)) => {
                Content::Derived { file, transform: Arc::new(Compiled(key)) }
            }
            _ => return None,
        };
        let path = bytecode_path(found.source, &self.request.python.tag())?;
        Some(Entry::file(path, content, found.source.owner.clone()))
    }

    /// Returns a digest of everything that decides the finding about a source.
    fn memo_key(&self, source: &BytecodeSource) -> Digest {
        let mut hasher = Hasher::new();
        let mut add = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        add(&self.identity.magic.to_le_bytes());
        add(&self.identity.hexversion.to_le_bytes());
        add(&[u8::from(self.request.mode == BytecodeMode::Keep)]);
        add(&[self.request.python.optimize]);
        add(source.path.as_str().as_bytes());
        match &source.content {
            Content::Bytes(bytes) => {
                add(b"bytes");
                add(bytes);
            }
            Content::Host(file) => {
                add(b"host");
                add(&mark(file).to_le_bytes());
            }
            Content::Patched { file, patches } => {
                add(b"patched");
                add(&mark(file).to_le_bytes());
                for patch in patches.iter() {
                    add(&patch.offset.to_le_bytes());
                    add(&patch.bytes);
                }
            }
            Content::Derived { file, transform } => {
                add(b"derived");
                add(&mark(file).to_le_bytes());
                add(transform.identity().as_bytes());
            }
            Content::External { size, source } => {
                add(b"elsewhere");
                add(&size.to_le_bytes());
                add(source.name().as_bytes());
            }
        }
        add(&source.pyc.as_ref().map_or(0, mark).to_le_bytes());
        hasher.finish()
    }
}

impl Python {
    /// Returns the tag in the name of a `.pyc`: `cpython-311`, or `cpython-311.opt-1`.
    fn tag(&self) -> String {
        match self.optimize {
            0 => self.cache_tag.clone(),
            level => format!("{}.opt-{level}", self.cache_tag),
        }
    }
}

/// Returns installed bytecode as content of the image.
fn installed(source: &BytecodeSource, of: InstalledSource) -> Option<Content> {
    let transform = Canonical { filename: source.path.clone(), source: of };
    Some(Content::Derived { file: source.pyc.clone()?, transform: Arc::new(transform) })
}

/// Determines the interpreter's version, from the memo or by running the interpreter. Compiled code
/// can depend on the patch level; without compiling, the caller's magic number suffices.
fn identify(request: &BytecodeRequest<'_>, memo: &mut Memo) -> Result<Identity, BytecodeError> {
    let python = request.python;
    let keeps = request.mode == BytecodeMode::Keep;
    if let (Some(magic), true) = (python.magic, keeps) {
        return Ok(Identity { magic, hexversion: 0 });
    }
    if let Some(known) = memo.interpreter(&python.executable) {
        return Ok(known);
    }
    match (CompilerProcess::start(&python.executable, python.optimize), PycFormat::of_version(python.version))
    {
        (Ok(interpreter), _) => {
            let identity = interpreter.identity();
            memo.remember_interpreter(&python.executable, identity);
            Ok(identity)
        }
        // Without compiling, an interpreter that does not run here is accepted.
        (Err(_), Some(format)) if keeps => {
            traced_fs::mark_unreliable();
            Ok(Identity { magic: format.magic, hexversion: 0 })
        }
        (Err(error), _) => Err(error),
    }
}

/// Returns the error for an interpreter of an unexpected version.
fn unexpected_version(request: &BytecodeRequest<'_>, identity: Identity, expected: u16) -> BytecodeError {
    let Identity { magic, hexversion } = identity;
    BytecodeError::OtherMagic {
        interpreter: request.python.executable.clone(),
        expected,
        found: magic,
        hexversion,
    }
}

/// Returns the path of a source's bytecode; `None` if the source is not a `.py` file.
fn bytecode_path(source: &BytecodeSource, cache_tag: &str) -> Option<ImagePath> {
    let stem = source.path.file_name()?.strip_suffix(".py").filter(|stem| !stem.is_empty())?;
    source.path.parent()?.join(&format!("__pycache__/{stem}.{cache_tag}.pyc")).ok()
}
