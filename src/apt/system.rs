//! Names of Debian systems: the suite of an os-release(5), the architecture of a platform.

use std::path::Path;

use crate::platform::Platform;

/// The places of os-release, relative to the root.
pub(super) const OS_RELEASE: [&str; 2] = ["etc/os-release", "usr/lib/os-release"];

/// Returns the suite of the system with the root folder `root`; `None` for other systems than Debian, Ubuntu and their
/// derivatives.
pub fn suite_of_root(root: &Path) -> Option<String> {
    let mut texts = OS_RELEASE.iter().filter_map(|path| fs_err::read_to_string(root.join(path)).ok());
    texts.find_map(|text| suite_of(&text))
}

/// Returns the suite that the text of an os-release names.
pub(super) fn suite_of(release: &str) -> Option<String> {
    let value = |name: &str| {
        let line = release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.map(|value| value.trim().trim_matches(['"', '\'']))
    };
    let is_known = |id: &str| matches!(id, "debian" | "ubuntu");
    let ids = value("ID").into_iter().chain(value("ID_LIKE").into_iter().flat_map(str::split_whitespace));
    // Derivatives such as Linux Mint name the suite of the Ubuntu below.
    let codename = value("UBUNTU_CODENAME").or(value("VERSION_CODENAME"));
    ids.into_iter().any(is_known).then_some(codename?).map(str::to_owned).filter(|name| !name.is_empty())
}

/// Returns Debian's name of an architecture (Debian Policy, section 11.1).
pub(super) fn architecture_of(platform: &Platform) -> Option<&'static str> {
    Some(match (platform.architecture.as_str(), platform.variant.as_deref()) {
        ("amd64", _) => "amd64",
        ("arm64", _) => "arm64",
        ("arm", Some("v5" | "v6")) => "armel",
        ("arm", _) => "armhf",
        ("386", _) => "i386",
        ("ppc64le", _) => "ppc64el",
        ("s390x", _) => "s390x",
        ("riscv64", _) => "riscv64",
        ("loong64", _) => "loong64",
        ("mips64le", _) => "mips64el",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_are_those_of_debian_and_its_derivatives() {
        for (release, suite) in [
            ("ID=debian\nVERSION_CODENAME=bookworm\n", Some("bookworm")),
            ("ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=noble\nUBUNTU_CODENAME=noble\n", Some("noble")),
            (
                "ID=linuxmint\nID_LIKE=\"ubuntu debian\"\nVERSION_CODENAME=wilma\nUBUNTU_CODENAME=noble",
                Some("noble"),
            ),
            ("ID=alpine\nVERSION_ID=3.20\n", None),
            ("ID=debian\n", None),
            ("", None),
        ] {
            assert_eq!(suite_of(release).as_deref(), suite, "{release}");
        }
    }

    #[test]
    fn architectures_have_the_names_of_debian() {
        for (platform, name) in [
            ("linux/amd64", Some("amd64")),
            ("linux/arm64", Some("arm64")),
            ("linux/arm/v7", Some("armhf")),
            ("linux/arm/v6", Some("armel")),
            ("linux/386", Some("i386")),
            ("linux/ppc64le", Some("ppc64el")),
            ("linux/wasm", None),
        ] {
            assert_eq!(architecture_of(&platform.parse().unwrap()), name, "{platform}");
        }
    }
}
