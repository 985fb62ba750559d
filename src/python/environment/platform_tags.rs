//! Detects wheels built for another platform than the image's.
//!
//! The target of a wheel is in its tags (`WHEEL`, see `metadata::wheel`), that of an
//! extension module in the suffix of its name (PEP 3149) and in its ELF header (System V ABI, "ELF
//! Header"). Installers check the tags for the interpreter they run on; an environment that was
//! copied or made for another platform was checked for the wrong one.

use std::collections::BTreeSet;

use super::distribution::Distribution;
use super::error::{ForeignWheel, VenvError};
use super::machine::machine_of;
use super::venv::Venv;
use super::version::PythonVersion;
use crate::platform::Platform;

impl Venv {
    /// Returns the distributions with compiled modules for another Python or another platform than
    /// `platform`, by name: none of the wheel's tags suits, or a module's suffix or ELF header
    /// differs.
    pub fn foreign_wheels(&self, platform: &Platform) -> Result<Vec<ForeignWheel>, VenvError> {
        let check = PlatformCheck { venv: self, machine: platform.machine() };
        let mut foreign = Vec::new();
        for distribution in &self.distributions {
            if let Some(evidence) = check.evidence(distribution)? {
                let (name, version) = (distribution.name.to_string(), distribution.version.to_string());
                foreign.push(ForeignWheel { name, version, evidence });
            }
        }
        Ok(foreign)
    }

    /// Refuses distributions of these normalized names that do not suit `platform`.
    ///
    /// # Errors
    /// [`VenvError::ForeignWheels`] names all of them.
    pub fn refuse_foreign(&self, names: &BTreeSet<String>, platform: &Platform) -> Result<(), VenvError> {
        let mut wheels = self.foreign_wheels(platform)?;
        wheels.retain(|wheel| names.contains(&wheel.name));
        if wheels.is_empty() {
            return Ok(());
        }
        Err(VenvError::ForeignWheels {
            path: self.given.clone(),
            platform: Box::new(platform.clone()),
            wheels,
        })
    }
}

struct PlatformCheck<'a> {
    venv: &'a Venv,
    machine: String,
}

impl PlatformCheck<'_> {
    /// Returns the evidence that a distribution is foreign, if any.
    fn evidence(&self, distribution: &Distribution) -> Result<Option<String>, VenvError> {
        let PythonVersion { major, minor, .. } = self.venv.version;
        if let Some(wheel) = distribution.wheel.as_ref().filter(|wheel| !wheel.root_is_purelib)
            && !wheel.suits(major, minor, &self.machine)
        {
            return Ok(Some(wheel.tags.join(", ")));
        }
        let places: Vec<&String> = distribution.files.keys().filter(|place| is_library(place)).collect();
        let ours = format!("cpython-{major}{minor}");
        let of_other_suffix = places.iter().find(|place| self.suffix_is_foreign(place, &ours));
        // A wheel may hold modules for several Pythons; one suitable module is enough.
        let some_suit =
            || places.iter().any(|place| place.contains(&ours) && !self.suffix_is_foreign(place, &ours));
        if let Some(place) = of_other_suffix.filter(|_| !some_suit()) {
            return Ok(Some((*place).clone()));
        }
        // A wheel for any platform may hold helpers for several, such as debugpy.
        let for_any = distribution
            .wheel
            .as_ref()
            .is_some_and(|wheel| wheel.tags.iter().any(|tag| tag.ends_with("-any")));
        let mut other = None;
        for place in places.into_iter().filter(|place| !for_any || has_python_suffix(place)) {
            let Some(file) = self.venv.listing.get(place).and_then(|listed| listed.file()) else { continue };
            let machine = machine_of(&file.path)?;
            if machine.is_empty() {
                continue;
            }
            if is_same_machine(&machine, &self.machine) {
                return Ok(None);
            }
            other.get_or_insert_with(|| format!("{place} is for {machine}"));
        }
        Ok(other)
    }

    /// Returns true if a module's suffix names another Python or machine:
    /// `cpython-311-x86_64-linux-gnu`.
    fn suffix_is_foreign(&self, place: &str, ours: &str) -> bool {
        let Some(tag) = suffix(place) else { return false };
        let Some(rest) = tag.strip_prefix("cpython-") else { return false };
        let platform = rest.split_once('-').map(|(_, platform)| platform);
        !tag.starts_with(ours)
            || platform.is_some_and(|platform| !platform.starts_with(machine_in_suffix(&self.machine)))
    }
}

/// Returns the part between a module's name and `.so`.
pub(crate) fn suffix(place: &str) -> Option<&str> {
    Some(place.strip_suffix(".so")?.rsplit('/').next()?.split_once('.')?.1)
}

fn has_python_suffix(place: &str) -> bool {
    suffix(place).is_some_and(|suffix| suffix.starts_with("cpython-") || suffix == "abi3")
}

fn is_library(place: &str) -> bool {
    let name = place.rsplit('/').next().unwrap_or(place);
    name.ends_with(".so") || name.contains(".so.")
}

/// ELF headers do not distinguish the variants of 32-bit ARM.
fn is_same_machine(machine: &str, other: &str) -> bool {
    machine == other || (machine.starts_with("arm") && other.starts_with("arm"))
}

/// Returns the machine's name in a module's suffix: `cpython-311-x86_64-linux-gnu`.
pub(crate) fn machine_in_suffix(machine: &str) -> &str {
    match machine {
        "i686" => "i386",
        "armv7l" | "armv6l" => "arm",
        "ppc64le" => "powerpc64le",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::error::Advice;
    use crate::python::testing::FakeVenv;

    /// The beginning of an ELF file for a machine, as text: all bytes are ASCII.
    fn elf(machine: u8) -> String {
        let mut header = *b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\0\0";
        header[18] = machine;
        String::from_utf8(header.to_vec()).unwrap()
    }

    fn names(venv: &Venv, platform: &str) -> Vec<String> {
        let foreign = venv.foreign_wheels(&platform.parse().unwrap()).unwrap();
        foreign.into_iter().map(|wheel| wheel.name).collect()
    }

    fn wheel(tag: &str) -> String {
        format!("Root-Is-Purelib: false\nTag: {tag}\n")
    }

    #[test]
    fn finds_wheels_of_another_python_or_machine() {
        let mut fake = FakeVenv::new();
        for (name, tag, module) in [
            ("good", "cp311-cp311-manylinux_2_17_x86_64", "good.cpython-311-x86_64-linux-gnu.so"),
            ("pure", "py3-none-any", "pure.py"),
            ("old", "cp310-cp310-manylinux_2_17_x86_64", "old.cpython-310-x86_64-linux-gnu.so"),
            ("arm", "cp311-cp311-manylinux_2_17_aarch64", "arm.abi3.so"),
            ("suffix", "py3-none-any", "suffix.cpython-39-x86_64-linux-gnu.so"),
        ] {
            let info = format!("{name}-1.dist-info/WHEEL");
            fake.install(name, "1", &[], &[(&info, &wheel(tag)), (module, "")]);
        }
        let venv = fake.open();
        assert_eq!(names(&venv, "linux/amd64"), ["arm", "old", "suffix"]);
        assert_eq!(names(&venv, "linux/arm64"), ["good", "old", "suffix"]);
    }

    #[test]
    fn checks_elf_headers_of_modules() {
        // `e_machine` of AArch64 is 183, which is not ASCII; 62 is x86-64 and 40 is ARM.
        let mut fake = FakeVenv::new();
        fake.install("built", "1", &[], &[("built.so", &elf(62)), ("built.libs/libx.so.1", &elf(62))]);
        let tag = wheel("cp311-abi3-manylinux_2_17_armv7l");
        fake.install("lies", "2", &[], &[("lies-2.dist-info/WHEEL", &tag), ("lies.abi3.so", &elf(62))]);
        let any = wheel("py3-none-any");
        fake.install(
            "helpers",
            "1",
            &[],
            &[("helpers-1.dist-info/WHEEL", &any), ("attach_amd64.so", &elf(62))],
        );
        fake.install("both", "1", &[], &[("both.so", &elf(62)), ("lib/both.so", &elf(40))]);
        fake.install("script", "1", &[], &[("script.so", "not ELF")]);
        let venv = fake.open();
        assert_eq!(names(&venv, "linux/arm/v7"), ["built", "lies"]);
        assert_eq!(names(&venv, "linux/arm/v6"), ["built", "lies"]);
        assert_eq!(names(&venv, "linux/amd64"), ["lies"]);
    }

    #[test]
    fn the_error_names_only_selected_wheels() {
        let mut fake = FakeVenv::new();
        let tag = wheel("cp311-cp311-manylinux_2_17_x86_64");
        for name in ["numpy", "unused"] {
            let info = format!("{name}-1.dist-info/WHEEL");
            fake.install(name, "1", &[], &[(&info, &tag)]);
        }
        let venv = fake.open();
        let arm64: Platform = "linux/arm64".parse().unwrap();
        let error = venv.refuse_foreign(&["numpy".to_owned()].into(), &arm64).unwrap_err();
        let text = error.to_string();
        assert!(
            text.ends_with(
                "/app/.venv: it is not for linux/arm64: numpy 1 (cp311-cp311-manylinux_2_17_x86_64)"
            ),
            "{text}"
        );
        assert!(error.help().unwrap().contains("--venv linux/arm64=DIR"));
        venv.refuse_foreign(&BTreeSet::new(), &arm64).unwrap();
        venv.refuse_foreign(&["numpy".to_owned()].into(), &"linux/amd64".parse().unwrap()).unwrap();
    }

    #[test]
    fn reads_the_machine_from_the_header() {
        let own = machine_of(&std::env::current_exe().unwrap()).unwrap();
        assert_eq!(own, std::env::consts::ARCH);
        assert_eq!(machine_of(Path::new("/dev/null")).unwrap(), "");
    }
}
