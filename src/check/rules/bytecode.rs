//! IPO501 and IPO502: bytecode that Python ignores, and modules without bytecode. Each start compiles
//! such modules again.
//!
//! Follows importlib's `SourceLoader` (`Lib/importlib/_bootstrap_external.py`) and PEP 3147 for the
//! names of files. Planned images are not checked: their bytecode is made for them.

use crate::check::diagnostic::{Diagnostic, Reporter, Severity};
use crate::check::image::CheckedImage;
use crate::check::node::CheckedNode;
use crate::check::pythons::CheckedPython;
use crate::check::user::CheckedUser;
use crate::plural::counted;
use crate::python::bytecode::{PycHeader, PycLink, magic_of};
use crate::tree::ImagePath;

/// The directory of bytecode beside its source.
const CACHE: &str = "__pycache__";
/// Number of bytes of a header.
const HEADER_BYTES: usize = 16;
/// The fewest bytes of source without bytecode that are reported: about a quarter of a second.
const LEAST_BYTES: u64 = 256 << 10;

pub(super) fn check(image: &CheckedImage, reporter: &mut Reporter<'_>) {
    let is_elsewhere = image.config.variable("PYTHONPYCACHEPREFIX").is_some();
    if image.is_planned || is_elsewhere || !reporter.wants(&["IPO501", "IPO502"]) {
        return;
    }
    let mut faults = BytecodeFaults::default();
    let user = image.user();
    for (path, node) in image.iter().filter(|(_, node)| node.is_file() && node.is_own()) {
        let name = path.file_name().unwrap_or_default();
        if name.ends_with(".pyc") {
            faults.add_bytecode(image, path);
        } else if name.ends_with(".py") {
            faults.add_source(image, path, node, &user);
        }
    }
    faults.report(image, reporter);
}

/// Files by their fault.
#[derive(Debug, Default)]
struct BytecodeFaults {
    stale: Vec<ImagePath>,
    of_other_python: Vec<ImagePath>,
    unloadable: Vec<ImagePath>,
    misleading: Vec<ImagePath>,
    missing: Vec<ImagePath>,
    missing_bytes: u64,
    /// Bytes of source that has bytecode, or can get it.
    compiled_bytes: u64,
}

/// Returns the Python that imports the file at `path`; for the source, that of the command.
fn importer<'a>(image: &'a CheckedImage, path: &ImagePath) -> Option<&'a CheckedPython> {
    let of_site = |python: &&CheckedPython| {
        python.sites.iter().chain(&python.stdlib).any(|directory| path.starts_with(directory))
    };
    image.pythons.iter().find(of_site).or_else(|| image.main_python().filter(|_| image.is_source(path)))
}

impl BytecodeFaults {
    fn add_bytecode(&mut self, image: &CheckedImage, path: &ImagePath) {
        let Some(python) = importer(image, path) else { return };
        let Some(magic) = magic_of(python.version) else { return };
        let Some((source, is_cached)) = source_of(python, path) else { return };
        let source_node = image.find(&source).filter(|(_, node)| node.is_file());
        let Some(header) = image.start(path, HEADER_BYTES).and_then(|start| PycHeader::read(&start)) else {
            return;
        };
        match (is_cached, source_node) {
            // Python loads such a file only without its source.
            (false, None) if header.magic != magic => self.unloadable.push(path.clone()),
            (false, _) | (true, None) => {}
            (true, Some(_)) if header.magic != magic => self.of_other_python.push(path.clone()),
            (true, Some((source, node))) => self.compare(image, path, header, (&source, node)),
        }
    }

    fn compare(
        &mut self,
        image: &CheckedImage,
        path: &ImagePath,
        header: PycHeader,
        (source, node): (&ImagePath, &CheckedNode),
    ) {
        let has_source = || image.read(source).is_none_or(|bytes| header.has_hash_of(&bytes));
        match header.link {
            PycLink::Stamp { time, size } => {
                let has_time = node.mtime.is_none_or(|modified| modified & 0xffff_ffff == i64::from(time));
                if !has_time || node.size & 0xffff_ffff != u64::from(size) {
                    self.stale.push(path.clone());
                }
            }
            PycLink::CheckedHash(_) if !has_source() => self.stale.push(path.clone()),
            // Python runs the file without a comparison.
            PycLink::UncheckedHash(_) if image.is_source(path) && !has_source() => {
                self.misleading.push(path.clone());
            }
            PycLink::CheckedHash(_) | PycLink::UncheckedHash(_) => {}
        }
    }

    fn add_source(&mut self, image: &CheckedImage, path: &ImagePath, node: &CheckedNode, user: &CheckedUser) {
        let is_of_sites =
            image.pythons.iter().any(|python| python.sites.iter().any(|site| path.starts_with(site)));
        if !is_of_sites && !image.is_source(path) {
            return;
        }
        let Some(python) = importer(image, path) else { return };
        let (Some(folder), Some(stem)) =
            (path.parent(), path.file_name().and_then(|name| name.strip_suffix(".py")))
        else {
            return;
        };
        let Ok(cache) = folder.join(CACHE) else { return };
        let tag = format!("{stem}.{}", tag(python));
        let has_bytecode = ["", ".opt-1", ".opt-2"].iter().any(|level| {
            cache.join(&format!("{tag}{level}.pyc")).is_ok_and(|path| image.lookup(&path).is_some())
        });
        let writable = image.lookup(&cache).or_else(|| image.lookup(&folder));
        let is_writable = user.is_root() || writable.is_some_and(|node| user.may_write(node));
        if has_bytecode || is_writable {
            self.compiled_bytes += node.size;
        } else {
            self.missing_bytes += node.size;
            self.missing.push(path.clone());
        }
    }

    fn report(self, image: &CheckedImage, reporter: &mut Reporter<'_>) {
        let again = "each start compiles the module again";
        let compile = "compile the environment when the image is built (`python -m compileall`), after its files have their times";
        let mut add = |paths: Vec<ImagePath>, severity: Severity, message: String, help: &str| {
            let Some(first) = paths.first() else { return };
            let found = Diagnostic::new("IPO501", message).of(image.owner(first).as_ref());
            reporter.report(found.at_all(paths).with_severity(severity).with_help(help));
        };
        add(
            self.stale,
            Severity::Warning,
            format!("is bytecode of another state of its source, by time and size or by hash: {again}"),
            compile,
        );
        add(
            self.of_other_python,
            Severity::Warning,
            format!("has the magic number of another Python: {again}"),
            compile,
        );
        add(
            self.unloadable,
            Severity::Error,
            "is bytecode of another Python, without its source: Python cannot import it".to_owned(),
            "compile the module with the interpreter of the image, or add its source",
        );
        add(
            self.misleading,
            Severity::Error,
            "is bytecode of another source than the file beside it, and Python does not compare them"
                .to_owned(),
            "compile the module again, or remove the file",
        );
        if self.missing_bytes >= LEAST_BYTES && self.missing_bytes > self.compiled_bytes {
            let files = counted(self.missing.len() as u64, "module");
            let megabytes = self.missing_bytes.div_ceil(100_000);
            let message = format!(
                "has no bytecode, like {files} of {}.{} MB in total, and the user of the process cannot write it: each start \
                 compiles them again",
                megabytes / 10,
                megabytes % 10
            );
            let owner = self.missing.first().and_then(|first| image.owner(first));
            reporter.report(
                Diagnostic::new("IPO502", message).of(owner.as_ref()).at_all(self.missing).with_help(compile),
            );
        }
    }
}

/// Returns the tag in the names of bytecode: `cpython-311`.
fn tag(python: &CheckedPython) -> String {
    format!("cpython-{}{}", python.version.major, python.version.minor)
}

/// Returns the source of a `.pyc` file that `python` may load, and true for one in `__pycache__`.
fn source_of(python: &CheckedPython, path: &ImagePath) -> Option<(ImagePath, bool)> {
    let (folder, name) = (path.parent()?, path.file_name()?.strip_suffix(".pyc")?);
    if folder.file_name() != Some(CACHE) {
        return Some((folder.join(&format!("{name}.py")).ok()?, false));
    }
    let name = [".opt-1", ".opt-2"].iter().find_map(|level| name.strip_suffix(level)).unwrap_or(name);
    let stem = name.strip_suffix(&tag(python))?.strip_suffix('.')?;
    Some((folder.parent()?.join(&format!("{stem}.py")).ok()?, true))
}

#[cfg(test)]
mod tests {
    use crate::check::testing::{MTIME, SITE, TestImage};
    use crate::settings::User;

    const TEXT: &str = "x = 1\n";
    const PYC: &str = "__pycache__/a.cpython-311.pyc";

    fn header(magic: u16, flags: u32, link: [u8; 8]) -> Vec<u8> {
        [&magic.to_le_bytes()[..], b"\r\n", &flags.to_le_bytes(), &link, b"N"].concat()
    }

    fn stamp(time: u64, size: usize) -> [u8; 8] {
        (u64::from(u32::try_from(time).unwrap()) | (size as u64) << 32).to_le_bytes()
    }

    #[test]
    fn headers_are_compared_with_the_source() {
        let fresh = stamp(MTIME, TEXT.len());
        for (name, pyc, fault) in [
            ("fresh", header(3495, 0, fresh), None),
            ("another time", header(3495, 0, stamp(MTIME + 1, TEXT.len())), Some("another state")),
            ("another size", header(3495, 0, stamp(MTIME, 1)), Some("another state")),
            ("another Python", header(3531, 0, fresh), Some("magic number")),
            ("a checked hash", header(3495, 3, [0; 8]), Some("another state")),
            ("an unchecked hash", header(3495, 1, [0; 8]), None),
            ("no bytecode", b"#!".to_vec(), None),
        ] {
            let image = TestImage::environment()
                .file(&format!("{SITE}/a.py"), TEXT)
                .bytes(&format!("{SITE}/{PYC}"), &pyc);
            let found = image.found("IPO501");
            assert_eq!(found.len(), usize::from(fault.is_some()), "{name}: {found:?}");
            assert!(fault.is_none_or(|fault| found[0].contains(fault)), "{name}: {found:?}");
        }
    }

    #[test]
    fn files_that_python_does_not_look_at_are_not_compared() {
        let other = header(3531, 0, stamp(1, 1));
        let image = TestImage::environment()
            .bytes(&format!("{SITE}/__pycache__/a.cpython-312.pyc"), &other)
            .bytes(&format!("{SITE}/__pycache__/gone.cpython-311.pyc"), &other)
            .file(&format!("{SITE}/a.py"), TEXT)
            .bytes(&format!("{SITE}/a.pyc"), &other)
            .bytes("srv/b.pyc", &other);
        assert_eq!(image.found("IPO501"), Vec::<String>::new());
        let image = image.bytes(&format!("{SITE}/only.pyc"), &other);
        assert!(image.found("IPO501")[0].contains("without its source"));
    }

    #[test]
    fn unchecked_bytecode_of_the_application_is_compared() {
        let image = TestImage::environment()
            .file("app/a.py", TEXT)
            .bytes(&format!("app/{PYC}"), &header(3495, 1, [0; 8]));
        assert!(image.found("IPO501")[0].contains("does not compare"), "{:?}", image.found("IPO501"));
    }

    #[test]
    fn much_source_without_bytecode_is_reported_once() {
        let text = "x = 1\n".repeat(20_000);
        let mut image = ["a", "b", "c"]
            .iter()
            .fold(TestImage::environment(), |image, name| image.file(&format!("{SITE}/{name}.py"), &text));
        assert_eq!(image.found("IPO502"), Vec::<String>::new(), "root writes bytecode");
        image.process.user = Some(User { uid: 1000, gid: 1000 });
        let found = image.diagnostics("IPO502");
        assert_eq!((found.len(), found[0].others.len()), (1, 3));
        let mut small = TestImage::environment().file(&format!("{SITE}/a.py"), "x = 1\n");
        small.process = image.process;
        assert_eq!(small.found("IPO502"), Vec::<String>::new());
    }
}
