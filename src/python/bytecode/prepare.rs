//! Turns sources into bytecode entries: looks up findings, accepts installed bytecode, compiles the
//! rest.

use std::sync::Arc;

use super::canonical::{Canonical, SourceOf, can_be_canonical, of_code};
use super::error::{BytecodeError, MarshalError};
use super::header::{self, Binding, Header, source_hash};
use super::interpreter::{Identity, Interpreter, Outcome};
use super::magic::Format;
use super::memo::{Finding, Memo, Record, mark};
use super::store::{Compiled, Known, Store, key};
use super::validity::belongs;
use super::{Check, Mode, Python, Refused, Request, Source, remarks};
use crate::digest::{Digest, Hasher};
use crate::disk;
use crate::parallel::{cores, each};
use crate::plural::counted;
use crate::progress::Warning;
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
pub fn entries(request: &Request<'_>) -> Result<Vec<Entry>, BytecodeError> {
    let (entries, refused) = prepare(request)?;
    remarks::warn_of_refused(&refused, request.progress);
    Ok(entries)
}

/// Returns the same entries, and the sources that do not compile, without a warning.
pub fn prepare(request: &Request<'_>) -> Result<(Vec<Entry>, Vec<Refused>), BytecodeError> {
    if request.mode == Mode::Strip || request.sources.is_empty() {
        return Ok(Default::default());
    }
    let mut memo = Memo::load(request.cache, &request.python.executable);
    let Some(work) = Work::new(request, &mut memo)? else {
        memo.save();
        return Ok(Default::default());
    };
    let mut found = work.look_up(&memo)?;
    work.compile(&mut found)?;
    memo.note(found.iter().filter_map(|found| Some((found.memo_key, found.record()?))));
    memo.save();
    remarks::tell(request, &found);
    let refused = found.iter().filter_map(|found| work.refused(found)).collect();
    Ok((found.into_iter().filter_map(|found| work.entry(found)).collect(), refused))
}

/// The state of one call.
struct Work<'a> {
    request: &'a Request<'a>,
    identity: Identity,
    format: &'static Format,
    store: Store<'a>,
    installed: Installed,
}

/// The usability of installed bytecode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Installed {
    Usable,
    /// Not used: the code may differ between installations, or has another level of optimization.
    Accidental,
}

/// A source and its state.
pub(super) struct Found<'a> {
    pub(super) source: &'a Source,
    memo_key: Digest,
    pub(super) state: State,
}

/// The state of a source.
pub(super) enum State {
    /// Finished: the finding, with the compiled file if there is one.
    Done(Finding, Option<HostFile>),
    /// To compile, and to store under this key.
    Todo(Digest),
}

impl Found<'_> {
    /// Returns the record for the memo.
    fn record(&self) -> Option<Record> {
        let State::Done(finding, file) = &self.state else { return None };
        let files = [self.source.content.host_file(), self.source.pyc.as_ref()];
        let changed = files.into_iter().flatten().map(|file| file.stamp.changed).max();
        let mark = file.as_ref().map_or(0, mark);
        Some(Record { finding: *finding, changed: changed.unwrap_or_default(), mark })
    }
}

impl<'a> Work<'a> {
    /// Determines the interpreter's version; warns and returns `None` if unsupported.
    fn new(request: &'a Request<'a>, memo: &mut Memo) -> Result<Option<Self>, BytecodeError> {
        let identity = identify(request, memo)?;
        let format = match Format::of_magic(identity.magic) {
            Ok(format) => format,
            Err(error) => {
                let subject = request.python.executable.display().to_string();
                let message = match error {
                    MarshalError::OtherPython { release, magic } => format!(
                        "no bytecode goes in: it writes that of {release} (magic number {magic}), and CPython 3.9 \
                         to 3.15 are understood"
                    ),
                    other => format!("no bytecode goes in: {other}"),
                };
                request.progress.warn(Warning::new(subject, message));
                return Ok(None);
            }
        };
        if let Some(expected) = request.python.magic.filter(|magic| *magic != identity.magic) {
            return Err(surprise(request, identity, expected));
        }
        let installed = match request.mode {
            // Installers compile without a level of optimization.
            _ if request.python.optimize > 0 => Installed::Accidental,
            Mode::Compile if !identity.is_deterministic() => Installed::Accidental,
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

    fn look_up(&self, memo: &Memo) -> Result<Vec<Found<'a>>, BytecodeError> {
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
                let state = match memo.get(&memo_key).and_then(|record| self.recall(source, record)) {
                    Some(state) => state,
                    None => self.investigate(source, memo_key)?,
                };
                Ok(Some(Found { source, memo_key, state }))
            },
        )?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Returns the state for a record that is still valid.
    fn recall(&self, source: &Source, record: Record) -> Option<State> {
        let file = match record.finding {
            // Files with unchanged stamps can be damaged all the same.
            Finding::Compiled(_) | Finding::Promising if self.request.check == Check::Whole => return None,
            Finding::Compiled(key) => Some(self.store.file(key).filter(|file| mark(file) == record.mark)?),
            // A source above the limit has no message, and another key.
            Finding::Refused(key) if source.content.size_hint() <= MAX_SOURCE => {
                self.store.refusal(key)?;
                None
            }
            Finding::Reusable(_) | Finding::Promising | Finding::Sound => {
                source.pyc.as_ref()?;
                None
            }
            _ => None,
        };
        Some(State::Done(record.finding, file))
    }

    /// Reads the source and its installed bytecode.
    fn investigate(&self, source: &Source, memo_key: Digest) -> Result<State, BytecodeError> {
        if source.content.size_hint() > MAX_SOURCE {
            return Ok(State::Done(Finding::Refused(memo_key), None));
        }
        if self.request.check == Check::Header && self.is_promising(source) {
            return Ok(State::Done(Finding::Promising, None));
        }
        let bytes = source.content.read()?;
        let finding = match (&source.content, &source.pyc) {
            (Content::Host(file), Some(pyc)) => self.examine(source, &bytes, file, pyc),
            // The source is rewritten: installed bytecode is of another text.
            (_, Some(_)) => Finding::Stale,
            (_, None) => Finding::Missing,
        };
        if self.request.mode == Mode::Keep || matches!(finding, Finding::Reusable(_) | Finding::Sound) {
            return Ok(State::Done(finding, None));
        }
        let key = key(self.identity, self.request.python.optimize, &source.path, &bytes);
        Ok(match self.store.find(key) {
            Some(Known::Compiled(file)) => State::Done(Finding::Compiled(key), Some(file)),
            Some(Known::Refused) => State::Done(Finding::Refused(key), None),
            None => State::Todo(key),
        })
    }

    /// Returns whether an installer's bytecode has a header for this source. The check does not
    /// read the source; the code is read once, when its layer is written.
    fn is_promising(&self, source: &Source) -> bool {
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
            matches!(header.binding, Binding::Stamp { .. }) && belongs(&header, self.format, file, [0; 8])
        })
    }

    /// Examines an installer's bytecode: header and code.
    fn examine(&self, source: &Source, bytes: &[u8], file: &HostFile, pyc: &HostFile) -> Finding {
        if self.request.python.optimize > 0 {
            return Finding::Missing;
        }
        if self.installed == Installed::Accidental || pyc.size > TRANSFORM_LIMIT {
            return Finding::Stale;
        }
        // An unreadable file counts as stale.
        let Ok(pyc) = pyc.read() else { return Finding::Stale };
        let hash = source_hash(self.format, bytes);
        match Header::read(&pyc) {
            Ok((header, _)) if header.magic != self.format.magic => Finding::Foreign(header.magic),
            Ok((header, _)) if belongs(&header, self.format, file, hash) => {
                match header.binding {
                    _ if !can_be_canonical(&pyc, &source.path.to_string()) => Finding::Stale,
                    // The same finding as without reading the code: one state of files is one
                    // content.
                    Binding::Stamp { .. } => Finding::Sound,
                    Binding::Hash(_) => Finding::Reusable(hash),
                }
            }
            _ => Finding::Stale,
        }
    }

    /// Compiles all sources in [`State::Todo`].
    fn compile(&self, found: &mut [Found<'_>]) -> Result<(), BytecodeError> {
        let jobs: Vec<(&Source, Digest)> = found
            .iter()
            .filter_map(|found| match found.state {
                State::Todo(key) => Some((found.source, key)),
                State::Done(..) => None,
            })
            .collect();
        if jobs.is_empty() {
            return Ok(());
        }
        self.request.progress.step(&format!("compiling {}", counted(jobs.len() as u64, "module")));
        let workers = jobs.len().min(cores()).min(MAX_WORKERS);
        let start = || self.start_interpreter();
        let states = each(jobs.len(), workers, start, |interpreter, index| {
            jobs.get(index).map(|(source, key)| self.compile_one(interpreter, source, *key)).transpose()
        })?;
        drop(jobs);
        let todo = found.iter_mut().filter(|found| matches!(found.state, State::Todo(_)));
        for (found, state) in todo.zip(states.into_iter().flatten()) {
            found.state = state;
        }
        Ok(())
    }

    fn start_interpreter(&self) -> Result<Interpreter, BytecodeError> {
        let interpreter = Interpreter::start(&self.request.python.executable, self.request.python.optimize)?;
        if interpreter.identity() == self.identity {
            Ok(interpreter)
        } else {
            Err(surprise(self.request, interpreter.identity(), self.identity.magic))
        }
    }

    fn compile_one(
        &self,
        interpreter: &mut Interpreter,
        source: &Source,
        key: Digest,
    ) -> Result<State, BytecodeError> {
        let bytes = source.content.read()?;
        let code = match interpreter.compile(&source.path, &bytes)? {
            Outcome::Code(code) => code,
            Outcome::Refused(reason) => {
                self.store.keep_refusal(key, &reason)?;
                return Ok(State::Done(Finding::Refused(key), None));
            }
        };
        let pyc =
            of_code(self.format, &code, &source.path, &bytes).map_err(|error| BytecodeError::Compiled {
                interpreter: self.request.python.executable.clone(),
                path: source.path.clone(),
                source: error,
            })?;
        let file = self.store.keep(key, &pyc)?;
        Ok(State::Done(Finding::Compiled(key), Some(file)))
    }

    fn refused(&self, found: &Found<'_>) -> Option<Refused> {
        let State::Done(Finding::Refused(key), _) = &found.state else { return None };
        Some(Refused { path: found.source.path.clone(), reason: self.store.refusal(*key) })
    }

    fn entry(&self, found: Found<'_>) -> Option<Entry> {
        let content = match found.state {
            State::Done(Finding::Reusable(hash), _) => installed(found.source, SourceOf::Hash(hash))?,
            State::Done(Finding::Promising | Finding::Sound, _) => {
                installed(found.source, SourceOf::File(found.source.content.host_file()?.clone()))?
            }
            State::Done(Finding::Compiled(key), Some(file)) => {
                Content::Derived { file, transform: Arc::new(Compiled(key)) }
            }
            _ => return None,
        };
        let path = bytecode_path(found.source, &self.request.python.tag())?;
        Some(Entry::file(path, content, found.source.owner.clone()))
    }

    /// Returns a digest of everything that decides the finding about a source.
    fn memo_key(&self, source: &Source) -> Digest {
        let mut hasher = Hasher::new();
        let mut add = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        add(&self.identity.magic.to_le_bytes());
        add(&self.identity.hexversion.to_le_bytes());
        add(&[u8::from(self.request.mode == Mode::Keep)]);
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
            Content::Elsewhere { size, source } => {
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
fn installed(source: &Source, of: SourceOf) -> Option<Content> {
    let transform = Canonical { filename: source.path.clone(), source: of };
    Some(Content::Derived { file: source.pyc.clone()?, transform: Arc::new(transform) })
}

/// Determines the interpreter's version, from the memo or by running the interpreter. Compiled code
/// can depend on the patch level; without compiling, the caller's magic number suffices.
fn identify(request: &Request<'_>, memo: &mut Memo) -> Result<Identity, BytecodeError> {
    let python = request.python;
    let keeps = request.mode == Mode::Keep;
    if let (Some(magic), true) = (python.magic, keeps) {
        return Ok(Identity { magic, hexversion: 0 });
    }
    if let Some(known) = memo.interpreter(&python.executable) {
        return Ok(known);
    }
    match (Interpreter::start(&python.executable, python.optimize), Format::of_version(python.version)) {
        (Ok(interpreter), _) => {
            let identity = interpreter.identity();
            memo.remember_interpreter(&python.executable, identity);
            Ok(identity)
        }
        // Without compiling, an interpreter that does not run here is accepted.
        (Err(_), Some(format)) if keeps => {
            disk::mark_unreliable();
            Ok(Identity { magic: format.magic, hexversion: 0 })
        }
        (Err(error), _) => Err(error),
    }
}

/// Returns the error for an interpreter of an unexpected version.
fn surprise(request: &Request<'_>, identity: Identity, expected: u16) -> BytecodeError {
    let Identity { magic, hexversion } = identity;
    BytecodeError::Interpreter {
        interpreter: request.python.executable.clone(),
        reason: format!(
            "it is version {hexversion:#x} with the magic number {magic}, and one with {expected} was expected"
        ),
    }
}

/// Returns the path of a source's bytecode; `None` if the source is not a `.py` file.
fn bytecode_path(source: &Source, cache_tag: &str) -> Option<ImagePath> {
    let stem = source.path.file_name()?.strip_suffix(".py").filter(|stem| !stem.is_empty())?;
    source.path.parent()?.join(&format!("__pycache__/{stem}.{cache_tag}.pyc")).ok()
}
