//! Formats of `.pyc` files by magic number and Python version.
//!
//! The magic numbers are from CPython's `Lib/importlib/_bootstrap_external.py` (since 3.14
//! `Include/internal/pycore_magic_number.h`); the order of a code object's fields is that of
//! `w_complex_object` in each version's `Python/marshal.c`. Only released versions are supported:
//! the format changes between alphas and betas.

use super::error::MarshalError;

/// The `.pyc` format of one release series of CPython.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PycFormat {
    /// The magic number at the start of a file.
    pub(super) magic: u16,
    /// Major and minor version.
    pub(super) version: (u8, u8),
    /// The fields of a code object, in order.
    pub(super) fields: &'static [Field],
    /// The hash function for sources.
    pub(super) hash: SourceHash,
    /// The support for slices as constants.
    pub(super) slices: Slices,
}

/// One field of a marshalled code object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    /// A 32-bit number.
    Number,
    /// Bytes: code, tables.
    Bytes,
    /// The tuple of constants.
    Constants,
    /// A tuple of strings, interned by Python.
    Names,
    /// A string, interned by Python.
    Name,
    /// The file name.
    FileName,
}

/// The variant of SipHash behind `_imp.source_hash`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SourceHash {
    /// SipHash-1-3, since 3.11.
    Sip13,
    /// SipHash-2-4, before.
    Sip24,
}

/// The support for slices (marshal version 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slices {
    /// Slices are part of the format.
    Known,
    /// Slices are not part of the format.
    Unknown,
}

/// 3.9 and 3.10: variables by kind, and one table.
const FIELDS_3_9: &[Field] = {
    use Field::{Bytes, Constants, FileName, Name, Names, Number};
    &[
        Number,    // co_argcount
        Number,    // co_posonlyargcount
        Number,    // co_kwonlyargcount
        Number,    // co_nlocals
        Number,    // co_stacksize
        Number,    // co_flags
        Bytes,     // co_code
        Constants, // co_consts
        Names,     // co_names
        Names,     // co_varnames
        Names,     // co_freevars
        Names,     // co_cellvars
        FileName,  // co_filename
        Name,      // co_name
        Number,    // co_firstlineno
        Bytes,     // co_lnotab, in 3.10 co_linetable
    ]
};

/// 3.11 and later: variables in one tuple, the qualified name, the exception table.
const FIELDS_3_11: &[Field] = {
    use Field::{Bytes, Constants, FileName, Name, Names, Number};
    &[
        Number,    // co_argcount
        Number,    // co_posonlyargcount
        Number,    // co_kwonlyargcount
        Number,    // co_stacksize
        Number,    // co_flags
        Bytes,     // co_code
        Constants, // co_consts
        Names,     // co_names
        Names,     // co_localsplusnames
        Bytes,     // co_localspluskinds
        FileName,  // co_filename
        Name,      // co_name
        Name,      // co_qualname
        Number,    // co_firstlineno
        Bytes,     // co_linetable
        Bytes,     // co_exceptiontable
    ]
};

const FORMATS: [PycFormat; 7] = [
    old(3425, 9),
    old(3439, 10),
    new(3495, 11, Slices::Unknown),
    new(3531, 12, Slices::Unknown),
    new(3571, 13, Slices::Unknown),
    new(3627, 14, Slices::Known),
    new(3666, 15, Slices::Known),
];

/// The first magic number of each series; the numbers between belong to its alphas and betas.
const SERIES: [(u16, &str); 12] = [
    (3390, "Python 3.7"),
    (3400, "Python 3.8"),
    (3420, "a pre-release of Python 3.9"),
    (3430, "a pre-release of Python 3.10"),
    (3450, "a pre-release of Python 3.11"),
    (3500, "a pre-release of Python 3.12"),
    (3550, "a pre-release of Python 3.13"),
    (3600, "a pre-release of Python 3.14"),
    (3650, "a pre-release of Python 3.15"),
    (3700, "Python 3.16 or later"),
    (4000, "an unknown Python"),
    (u16::MAX, "an unknown Python"),
];

const fn old(magic: u16, minor: u8) -> PycFormat {
    PycFormat {
        magic,
        version: (3, minor),
        fields: FIELDS_3_9,
        hash: SourceHash::Sip24,
        slices: Slices::Unknown,
    }
}

const fn new(magic: u16, minor: u8, slices: Slices) -> PycFormat {
    PycFormat { magic, version: (3, minor), fields: FIELDS_3_11, hash: SourceHash::Sip13, slices }
}

impl PycFormat {
    /// Returns the format of files with the magic number `magic`.
    pub(super) fn of_magic(magic: u16) -> Result<&'static Self, MarshalError> {
        FORMATS.iter().find(|format| format.magic == magic).ok_or_else(|| {
            let release = SERIES
                .iter()
                .take_while(|(first, _)| *first <= magic)
                .last()
                .map_or("an old Python", |(_, name)| name);
            MarshalError::OtherPython { magic, release: release.to_owned() }
        })
    }

    /// Returns the format of a release series.
    pub(super) fn of_version(version: (u8, u8)) -> Option<&'static Self> {
        FORMATS.iter().find(|format| format.version == version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_each_released_series_by_its_magic_number() {
        for (magic, version) in
            [(3425, 9), (3439, 10), (3495, 11), (3531, 12), (3571, 13), (3627, 14), (3666, 15)]
        {
            assert_eq!(PycFormat::of_magic(magic).unwrap().version, (3, version));
            assert_eq!(PycFormat::of_version((3, version)).unwrap().magic, magic);
        }
    }

    #[test]
    fn names_the_release_of_an_unsupported_magic_number() {
        for (magic, name) in [
            (3379, "an old Python"),
            (3394, "Python 3.7"),
            (3413, "Python 3.8"),
            (3424, "a pre-release of Python 3.9"),
            (3660, "a pre-release of Python 3.15"),
            (3700, "Python 3.16 or later"),
            (62211, "an unknown Python"),
        ] {
            let error = PycFormat::of_magic(magic).unwrap_err();
            assert_eq!(error, MarshalError::OtherPython { magic, release: name.to_owned() });
        }
        assert!(PycFormat::of_version((3, 8)).is_none());
    }
}
