//! [`Machine`]: the architecture of an ELF file, with its names in OCI, Debian and glibc.

use std::fmt;

use object::elf;
use serde::{Deserialize, Serialize};

/// The word size of a file (gABI, `EI_CLASS`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Class {
    /// 32-bit.
    Elf32,
    /// 64-bit.
    Elf64,
}

/// The order of bytes in a number (gABI, `EI_DATA`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ByteOrder {
    /// Least significant first.
    Little,
    /// Most significant first.
    Big,
}

/// The machine that a file is for. Files for one machine can share a process, see
/// [`Machine::runs_with`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Machine {
    /// The word size.
    pub class: Class,
    /// The byte order.
    pub order: ByteOrder,
    /// `e_machine`, as registered with the gABI: 62 is x86-64.
    pub number: u16,
    /// `e_flags`, with a meaning specific to each machine.
    pub flags: u32,
}

/// An architecture by its OCI name (image-spec, `config.md`; the values are Go's).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OciPlatform {
    /// `GOARCH`: `amd64`, `arm64`.
    pub architecture: &'static str,
    /// The variant of the architecture: `v7` of `arm`.
    pub variant: Option<&'static str>,
}

impl fmt::Display for OciPlatform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.architecture)?;
        self.variant.map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

/// The names of one machine: OCI's, Debian's library directory, the kernel's (`AT_PLATFORM`), and
/// the flags of its entries in `ld.so.cache` (glibc, `sysdeps/generic/ldconfig.h`).
struct Names {
    platform: OciPlatform,
    multiarch: Option<&'static str>,
    token: &'static str,
    cache_flags: &'static [u32],
}

impl Machine {
    /// Returns the OCI name of the architecture, if OCI has one.
    ///
    /// 32-bit ARM with hardware floating point is `arm/v7`: headers do not distinguish `v6`.
    pub fn platform(self) -> Option<OciPlatform> {
        self.names().map(|names| names.platform)
    }

    /// Returns whether a file for this machine can be loaded into a process of the other.
    pub fn runs_with(self, other: Self) -> bool {
        let float = |machine: Self| machine.number == elf::EM_ARM.0 && machine.is_hard_float();
        (self.class, self.order, self.number) == (other.class, other.order, other.number)
            && float(self) == float(other)
    }

    /// Returns the directory below `lib` for this machine's libraries on Debian and its
    /// derivatives.
    pub fn multiarch(self) -> Option<&'static str> {
        self.names()?.multiarch
    }

    /// Returns the value of `$PLATFORM` in a search path.
    pub(super) fn platform_token(self) -> Option<&'static str> {
        self.names().map(|names| names.token)
    }

    /// Returns whether an `ld.so.cache` entry with these flags is for this machine.
    pub(super) fn accepts_cache_flags(self, flags: u32) -> bool {
        const ELF_LIBC6: u32 = 3;
        match self.names() {
            Some(names) => names.cache_flags.contains(&flags),
            None => flags & 0xff == ELF_LIBC6,
        }
    }

    fn is_hard_float(self) -> bool {
        // Files without either flag are older than the flags and count as hard-float, Debian's
        // current ABI.
        self.flags & elf::EF_ARM_ABI_FLOAT_SOFT == 0
    }

    fn names(self) -> Option<Names> {
        use ByteOrder::{Big, Little};
        use Class::{Elf32, Elf64};
        let names = |architecture, multiarch, token, cache_flags| Names {
            platform: OciPlatform { architecture, variant: None },
            multiarch: Some(multiarch),
            token,
            cache_flags,
        };
        Some(match (elf::Machine(self.number), self.class, self.order) {
            (elf::EM_X86_64, Elf64, Little) => names("amd64", "x86_64-linux-gnu", "x86_64", &[0x0303]),
            (elf::EM_386, Elf32, Little) => names("386", "i386-linux-gnu", "i686", &[0x0003]),
            (elf::EM_AARCH64, Elf64, Little) => names("arm64", "aarch64-linux-gnu", "aarch64", &[0x0a03]),
            (elf::EM_ARM, Elf32, Little) if self.is_hard_float() => Names {
                platform: OciPlatform { architecture: "arm", variant: Some("v7") },
                ..names("arm", "arm-linux-gnueabihf", "v7l", &[0x0903, 0x0003])
            },
            (elf::EM_ARM, Elf32, Little) => Names {
                platform: OciPlatform { architecture: "arm", variant: Some("v5") },
                ..names("arm", "arm-linux-gnueabi", "v5l", &[0x0b03, 0x0003])
            },
            (elf::EM_RISCV, Elf64, Little) => {
                names("riscv64", "riscv64-linux-gnu", "riscv64", &[0x1003, 0x0f03])
            }
            (elf::EM_PPC64, Elf64, Little) => names("ppc64le", "powerpc64le-linux-gnu", "power8", &[0x0503]),
            (elf::EM_PPC64, Elf64, Big) => names("ppc64", "powerpc64-linux-gnu", "power4", &[0x0503]),
            (elf::EM_S390, Elf64, Big) => names("s390x", "s390x-linux-gnu", "z13", &[0x0403]),
            (elf::EM_LOONGARCH, Elf64, Little) => {
                names("loong64", "loongarch64-linux-gnu", "loongarch64", &[0x1203, 0x1103])
            }
            (elf::EM_MIPS, Elf64, Little) => {
                names("mips64le", "mips64el-linux-gnuabi64", "mips", &[0x0703, 0x0e03])
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(class: Class, order: ByteOrder, number: u16, flags: u32) -> Machine {
        Machine { class, order, number, flags }
    }

    #[test]
    fn has_the_names_that_images_use() {
        use ByteOrder::{Big, Little};
        use Class::{Elf32, Elf64};
        for (of, name) in [
            (machine(Elf64, Little, 62, 0), "amd64"),
            (machine(Elf32, Little, 3, 0), "386"),
            (machine(Elf64, Little, 183, 0), "arm64"),
            (machine(Elf32, Little, 40, 0x0500_0400), "arm/v7"),
            (machine(Elf32, Little, 40, 0x0500_0200), "arm/v5"),
            (machine(Elf64, Little, 243, 5), "riscv64"),
            (machine(Elf64, Little, 21, 2), "ppc64le"),
            (machine(Elf64, Big, 22, 0), "s390x"),
        ] {
            assert_eq!(of.platform().map(|platform| platform.to_string()).as_deref(), Some(name));
        }
        assert_eq!(machine(Elf32, Little, 62, 0).platform(), None, "x32 has no name");
        assert_eq!(machine(Elf64, Little, 0xfeed, 0).platform(), None);
    }

    #[test]
    fn keeps_the_two_floating_point_conventions_of_arm_apart() {
        let hard = machine(Class::Elf32, ByteOrder::Little, 40, 0x0500_0400);
        let soft = machine(Class::Elf32, ByteOrder::Little, 40, 0x0500_0200);
        assert!(hard.runs_with(hard) && !hard.runs_with(soft));
    }

    #[test]
    fn flags_that_only_describe_do_not_separate() {
        let double = machine(Class::Elf64, ByteOrder::Little, 243, 4);
        let compressed = machine(Class::Elf64, ByteOrder::Little, 243, 5);
        assert!(double.runs_with(compressed));
    }
}
