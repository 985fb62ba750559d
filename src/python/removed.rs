//! Modules and names that Python 3 removed from its standard library, by the first minor version without them.

/// Modules that were removed (PEP 594, PEP 632).
const MODULES: [(u64, &str); 4] = [
    (10, "formatter parser symbol"),
    (11, "binhex"),
    (12, "asynchat asyncore distutils imp smtpd"),
    (
        13,
        "aifc audioop cgi cgitb chunk crypt imghdr lib2to3 mailcap msilib nis nntplib ossaudiodev pipes sndhdr spwd \
         sunau telnetlib uu xdrlib",
    ),
];

/// Attributes of modules that were removed and that distributions of the time use.
const ATTRIBUTES: [(u64, &str, &str); 7] = [
    (
        10,
        "collections",
        "AsyncGenerator AsyncIterable AsyncIterator Awaitable ByteString Callable Collection Container Coroutine \
         Generator Hashable ItemsView Iterable Iterator KeysView Mapping MappingView MutableMapping MutableSequence \
         MutableSet Reversible Sequence Set Sized ValuesView",
    ),
    (11, "asyncio", "coroutine"),
    (11, "inspect", "formatargspec getargspec"),
    (12, "configparser", "SafeConfigParser"),
    (12, "pkgutil", "ImpImporter ImpLoader"),
    (12, "ssl", "match_hostname wrap_socket"),
    (13, "typing", "io re"),
];

/// Returns the first minor version of Python 3 without a module of the standard library.
pub(crate) fn module_removed_in(name: &str) -> Option<u64> {
    let is_listed = |(_, names): &&(u64, &str)| names.split_whitespace().any(|removed| removed == name);
    MODULES.iter().find(is_listed).map(|(first, _)| *first)
}

/// Returns the first minor version of Python 3 without a name in a module of the standard library.
pub(crate) fn attribute_removed_in(module: &str, name: &str) -> Option<u64> {
    let is_listed = |(_, known, names): &&(u64, &str, &str)| {
        *known == module && names.split_whitespace().any(|removed| removed == name)
    };
    ATTRIBUTES.iter().find(is_listed).map(|(first, ..)| *first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_version_that_removed_a_module_or_a_name() {
        assert_eq!([module_removed_in("cgi"), module_removed_in("os")], [Some(13), None]);
        assert_eq!(attribute_removed_in("collections", "MutableMapping"), Some(10));
        assert_eq!(attribute_removed_in("collections", "OrderedDict"), None);
    }
}
