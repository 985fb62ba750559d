//! Small ELF files for tests: headers and a dynamic section without code.

use super::machine::{ByteOrder, Class, Machine};

/// The address of the file's first byte, so that addresses and offsets differ.
const BASE: u64 = 0x1_0000;

/// The content of an ELF file.
#[derive(Debug, Clone)]
pub(crate) struct Fixture {
    pub(crate) machine: Machine,
    pub(crate) kind: u16,
    pub(crate) interpreter: Option<&'static str>,
    /// Strings stored before all others, without a reference.
    pub(crate) strings: Vec<String>,
    /// Tags of the dynamic section with their strings. A suffix of a stored string shares its
    /// bytes, as with linkers.
    pub(crate) named: Vec<(u64, String)>,
    pub(crate) flags_1: u64,
    pub(crate) symbols: Vec<&'static str>,
    /// Needed versions: library and version.
    pub(crate) versions: Vec<(&'static str, &'static str)>,
    /// Defined versions.
    pub(crate) defines: Vec<&'static str>,
    pub(crate) sections: Sections,
}

/// The presence of section headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sections {
    Kept,
    Stripped,
}

pub(crate) const NEEDED: u64 = 1;
pub(crate) const SONAME: u64 = 14;
pub(crate) const RPATH: u64 = 15;
pub(crate) const RUNPATH: u64 = 29;

pub(crate) const X86_64: Machine =
    Machine { class: Class::Elf64, order: ByteOrder::Little, number: 62, flags: 0 };
pub(crate) const I386: Machine =
    Machine { class: Class::Elf32, order: ByteOrder::Little, number: 3, flags: 0 };
pub(crate) const S390X: Machine =
    Machine { class: Class::Elf64, order: ByteOrder::Big, number: 22, flags: 0 };
pub(crate) const PPC: Machine = Machine { class: Class::Elf32, order: ByteOrder::Big, number: 20, flags: 0 };

/// Returns a shared library for x86-64 that needs `needed`.
pub(crate) fn library(needed: &[&str]) -> Fixture {
    Fixture {
        machine: X86_64,
        kind: 3,
        interpreter: None,
        strings: Vec::new(),
        named: Vec::new(),
        flags_1: 0,
        symbols: Vec::new(),
        versions: Vec::new(),
        defines: Vec::new(),
        sections: Sections::Kept,
    }
    .with_all(NEEDED, needed)
}

/// Returns a program for x86-64 that needs `needed`.
pub(crate) fn program(interpreter: &'static str, needed: &[&str]) -> Fixture {
    Fixture { interpreter: Some(interpreter), flags_1: 0x0800_0000, ..library(needed) }
}

impl Fixture {
    pub(crate) fn with(mut self, tag: u64, text: &str) -> Self {
        // Search paths first: linkers store the longest string first, and others in its suffixes.
        let at = if matches!(tag, RPATH | RUNPATH) { 0 } else { self.named.len() };
        self.named.insert(at, (tag, text.to_owned()));
        self
    }

    fn with_all(self, tag: u64, texts: &[&str]) -> Self {
        texts.iter().fold(self, |fixture, text| fixture.with(tag, text))
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let Machine { class, order, .. } = self.machine;
        let wide = class == Class::Elf64;
        let (header_size, segment_size, symbol_size) = if wide { (64, 56, 24) } else { (52, 32, 16) };
        let mut strings = Strings(vec![0]);
        for text in &self.strings {
            strings.place(text);
        }
        let mut dynamic: Vec<(u64, u64)> =
            self.named.iter().map(|(tag, text)| (*tag, strings.place(text))).collect();
        let symbols: Vec<u64> = self.symbols.iter().map(|name| strings.place(name)).collect();
        let versions: Vec<(u64, u64)> =
            self.versions.iter().map(|(file, name)| (strings.place(file), strings.place(name))).collect();
        let defines: Vec<u64> = self.defines.iter().map(|name| strings.place(name)).collect();

        let mut body = FixtureWriter { bytes: Vec::new(), order, wide };
        let start = header_size + 3 * segment_size;
        let interpreter = self.interpreter.unwrap_or_default();
        body.bytes.extend(interpreter.as_bytes());
        body.bytes.push(0);
        body.align();
        let symbols_at = start + body.bytes.len() as u64;
        body.bytes.extend(vec![0; symbol_size]);
        for name in &symbols {
            body.u32(*name);
            body.bytes.extend(vec![0; symbol_size - 4]);
        }
        let symbols_end = start + body.bytes.len() as u64;
        body.bytes.extend(&strings.0);
        body.align();
        let versions_at = start + body.bytes.len() as u64;
        body.needs(&versions);
        let defines_at = start + body.bytes.len() as u64;
        body.defines(&defines);
        body.align();
        dynamic.extend([(5, BASE + symbols_end), (10, strings.0.len() as u64), (6, BASE + symbols_at)]);
        if !versions.is_empty() {
            dynamic.push((0x6fff_fffe, BASE + versions_at));
        }
        if !defines.is_empty() {
            dynamic.push((0x6fff_fffc, BASE + defines_at));
        }
        dynamic.extend([(0x6fff_fffb, self.flags_1), (0, 0), (NEEDED, u64::MAX >> 33)]);
        let dynamic_at = start + body.bytes.len() as u64;
        for (tag, value) in dynamic {
            body.word(tag);
            body.word(value);
        }
        let sections_at = start + body.bytes.len() as u64;
        if self.sections == Sections::Kept {
            body.sections(symbols_at, symbols_end - symbols_at);
        }
        let end = start + body.bytes.len() as u64;

        let mut file = FixtureWriter { bytes: Vec::new(), order, wide };
        file.bytes.extend([0x7f, b'E', b'L', b'F', if wide { 2 } else { 1 }]);
        file.bytes.extend([if order == ByteOrder::Little { 1 } else { 2 }, 1]);
        file.bytes.extend([0; 9]);
        file.u16(self.kind.into());
        file.u16(self.machine.number.into());
        file.u32(1);
        file.word(0);
        file.word(header_size);
        file.word(if self.sections == Sections::Kept { sections_at } else { 0 });
        file.u32(self.machine.flags.into());
        file.u16(header_size);
        file.u16(segment_size);
        file.u16(3);
        file.u16(if wide { 64 } else { 40 });
        file.u16(if self.sections == Sections::Kept { 2 } else { 0 });
        file.u16(0);
        let interpreter_kind = if self.interpreter.is_some() { 3 } else { 0 };
        file.segment(1, 0, end);
        file.segment(interpreter_kind, start, interpreter.len() as u64 + 1);
        file.segment(2, dynamic_at, sections_at - dynamic_at);
        file.bytes.extend(body.bytes);
        file.bytes
    }
}

struct Strings(Vec<u8>);

impl Strings {
    fn place(&mut self, text: &str) -> u64 {
        let wanted = [text.as_bytes(), &[0]].concat();
        let found = self.0.windows(wanted.len()).position(|window| window == wanted);
        let at = found.unwrap_or_else(|| {
            let at = self.0.len();
            self.0.extend(wanted);
            at
        });
        at as u64
    }
}

struct FixtureWriter {
    bytes: Vec<u8>,
    order: ByteOrder,
    wide: bool,
}

impl FixtureWriter {
    fn put(&mut self, value: u64, size: usize) {
        match self.order {
            ByteOrder::Little => self.bytes.extend(&value.to_le_bytes()[..size]),
            ByteOrder::Big => self.bytes.extend(&value.to_be_bytes()[8 - size..]),
        }
    }

    fn u16(&mut self, value: u64) {
        self.put(value, 2);
    }

    fn u32(&mut self, value: u64) {
        self.put(value, 4);
    }

    fn word(&mut self, value: u64) {
        self.put(value, if self.wide { 8 } else { 4 });
    }

    /// Writes the null section and a `.dynsym` (`SHT_DYNSYM`) of `size` bytes.
    fn sections(&mut self, symbols_at: u64, size: u64) {
        self.bytes.extend(vec![0; if self.wide { 64 } else { 40 }]);
        self.u32(0);
        self.u32(11);
        for word in [0, 0, symbols_at, size] {
            self.word(word);
        }
        self.u32(0);
        self.u32(0);
        self.word(0);
        self.word(0);
    }

    /// Writes a Verneed with one Vernaux for each library and version.
    fn needs(&mut self, versions: &[(u64, u64)]) {
        for (index, (file, name)) in versions.iter().enumerate() {
            let next = if index + 1 == versions.len() { 0 } else { 32 };
            self.u16(1);
            self.u16(1);
            for word in [*file, 16, next, 0] {
                self.u32(word);
            }
            self.u16(0);
            self.u16(2);
            self.u32(*name);
            self.u32(0);
        }
    }

    /// Writes a Verdef with one Verdaux for each version.
    fn defines(&mut self, names: &[u64]) {
        for (index, name) in names.iter().enumerate() {
            for half in [1, 0, index as u64 + 1, 1] {
                self.u16(half);
            }
            let next = if index + 1 == names.len() { 0 } else { 28 };
            for word in [0, 20, next, *name, 0] {
                self.u32(word);
            }
        }
    }

    fn align(&mut self) {
        while !self.bytes.len().is_multiple_of(8) {
            self.bytes.push(0);
        }
    }

    fn segment(&mut self, kind: u64, offset: u64, size: u64) {
        self.u32(kind);
        if self.wide {
            self.u32(4);
        }
        for word in [offset, BASE + offset, BASE + offset, size, size] {
            self.word(word);
        }
        if !self.wide {
            self.u32(4);
        }
        self.word(8);
    }
}

/// Name, flags, capabilities and path of an entry of `ld.so.cache`.
pub(crate) type CacheLine = (&'static str, u32, u64, &'static str);

/// Returns an `ld.so.cache` in the new format; `mark` is its byte-order field.
pub(crate) fn cache(lines: &[CacheLine], order: ByteOrder, mark: u8) -> Vec<u8> {
    const HEADER: u64 = 48;
    let mut file = FixtureWriter { bytes: b"glibc-ld.so.cache1.1".to_vec(), order, wide: true };
    file.u32(lines.len() as u64);
    file.u32(0);
    file.bytes.extend([mark, 0, 0, 0]);
    file.bytes.extend([0; 16]);
    let mut strings = Vec::new();
    let start = HEADER + 24 * lines.len() as u64;
    for (name, flags, capabilities, path) in lines {
        file.u32((*flags).into());
        for text in [name, path] {
            file.u32(start + strings.len() as u64);
            strings.extend(text.as_bytes());
            strings.push(0);
        }
        file.u32(0);
        file.word(*capabilities);
    }
    file.bytes.extend(strings);
    file.bytes
}
