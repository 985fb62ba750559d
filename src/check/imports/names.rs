//! Names of modules: the standard library, and distributions whose modules have another name.

use crate::python::removed::module_removed_in;

/// Modules of the standard library in all versions from 3.9 (`sys.stdlib_module_names`), without those
/// that begin with an underscore.
const STANDARD: &str = "abc antigravity argparse array ast asyncio atexit base64 bdb binascii bisect builtins bz2 \
    cProfile calendar cmath cmd code codecs codeop collections colorsys compileall concurrent configparser \
    contextlib contextvars copy copyreg csv ctypes curses dataclasses datetime dbm decimal difflib dis doctest email \
    encodings ensurepip enum errno faulthandler fcntl filecmp fileinput fnmatch fractions ftplib functools gc \
    genericpath getopt getpass gettext glob graphlib grp gzip hashlib heapq hmac html http idlelib imaplib importlib \
    inspect io ipaddress itertools json keyword linecache locale logging lzma mailbox marshal math mimetypes mmap \
    modulefinder msvcrt multiprocessing netrc nt ntpath nturl2path numbers opcode operator optparse os pathlib pdb \
    pickle pickletools pkgutil platform plistlib poplib posix posixpath pprint profile pstats pty pwd py_compile \
    pyclbr pydoc pydoc_data pyexpat queue quopri random re readline reprlib resource rlcompleter runpy sched secrets \
    select selectors shelve shlex shutil signal site smtplib socket socketserver sqlite3 sre_compile sre_constants \
    sre_parse ssl stat statistics string stringprep struct subprocess symtable sys sysconfig syslog tabnanny tarfile \
    tempfile termios test textwrap this threading time timeit tkinter token tokenize trace traceback tracemalloc tty \
    turtle turtledemo types typing unicodedata unittest urllib uuid venv warnings wave weakref webbrowser winreg \
    winsound wsgiref xml xmlrpc zipapp zipfile zipimport zlib zoneinfo";

/// Modules that came later, with the minor version.
const ADDED: [(&str, u64); 4] =
    [("tomllib", 11), ("annotationlib", 14), ("compression", 14), ("nturl2path", 0)];

/// Modules of distributions with another name.
const DISTRIBUTIONS: [(&str, &str); 32] = [
    ("Crypto", "pycryptodome"),
    ("MySQLdb", "mysqlclient"),
    ("OpenSSL", "pyopenssl"),
    ("PIL", "pillow"),
    ("attr", "attrs"),
    ("bs4", "beautifulsoup4"),
    ("corsheaders", "django-cors-headers"),
    ("cv2", "opencv-python-headless"),
    ("dateutil", "python-dateutil"),
    ("decouple", "python-decouple"),
    ("django_filters", "django-filter"),
    ("docx", "python-docx"),
    ("dotenv", "python-dotenv"),
    ("environ", "django-environ"),
    ("fitz", "pymupdf"),
    ("git", "gitpython"),
    ("google.protobuf", "protobuf"),
    ("grpc", "grpcio"),
    ("jose", "python-jose"),
    ("jwt", "pyjwt"),
    ("magic", "python-magic"),
    ("multipart", "python-multipart"),
    ("pkg_resources", "setuptools"),
    ("psycopg2", "psycopg2-binary"),
    ("pythonjsonlogger", "python-json-logger"),
    ("rest_framework", "djangorestframework"),
    ("serial", "pyserial"),
    ("skimage", "scikit-image"),
    ("sklearn", "scikit-learn"),
    ("slugify", "python-slugify"),
    ("telegram", "python-telegram-bot"),
    ("yaml", "pyyaml"),
];

/// Returns true for a module of the standard library of Python 3.`minor`.
pub(super) fn is_standard(name: &str, minor: u64) -> bool {
    let added = ADDED.iter().any(|(added, from)| *added == name && *from <= minor);
    let kept = module_removed_in(name).is_some_and(|first| minor < first);
    name.starts_with('_') || added || kept || STANDARD.split_whitespace().any(|standard| standard == name)
}

/// Returns the minor version that removed a module from the standard library, if 3.`minor` is not
/// older.
pub(in crate::check) fn removed_in(name: &str, minor: u64) -> Option<u64> {
    module_removed_in(name).filter(|first| minor >= *first)
}

/// Returns the distribution that has a module, if its name differs.
pub(in crate::check) fn distribution_of(module: &str) -> Option<&'static str> {
    let is_of =
        |known: &str| module == known || module.strip_prefix(known).is_some_and(|rest| rest.starts_with('.'));
    DISTRIBUTIONS.iter().find(|(known, _)| is_of(known)).map(|(_, distribution)| *distribution)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_library_depends_on_the_version() {
        for (name, minor, expected) in [
            ("os", 9, true),
            ("tomllib", 10, false),
            ("tomllib", 11, true),
            ("distutils", 11, true),
            ("distutils", 12, false),
            ("cgi", 12, true),
            ("cgi", 13, false),
            ("_thread", 13, true),
            ("requests", 13, false),
        ] {
            assert_eq!(is_standard(name, minor), expected, "{name} {minor}");
        }
        assert_eq!(
            (removed_in("cgi", 12), removed_in("cgi", 14), removed_in("os", 14)),
            (None, Some(13), None)
        );
    }

    #[test]
    fn this_machine_s_modules_are_standard() {
        let script = "import sys; print(sys.version_info.minor, *sys.stdlib_module_names)";
        let output = std::process::Command::new("python3").args(["-c", script]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let mut words = text.split_whitespace();
        let minor = words.next().unwrap().parse().unwrap();
        let unknown: Vec<&str> = words.filter(|name| !is_standard(name, minor)).collect();
        assert_eq!(unknown, [] as [&str; 0]);
    }

    #[test]
    fn distributions_of_modules() {
        assert_eq!(distribution_of("yaml"), Some("pyyaml"));
        assert_eq!(distribution_of("google.protobuf.json_format"), Some("protobuf"));
        assert_eq!(distribution_of("google.cloud"), None);
        assert_eq!(distribution_of("redis"), None);
    }
}
