//! Packages of a distribution that a Dockerfile installs, as far as a service may need them.

use crate::service::hints::Evidence;

/// Packages without a use in an image without a shell, or whose files a build takes from this machine.
const NO_PROGRAMS: [&str; 57] = [
    "diffutils",
    "gcc-c++",
    "icu",
    "openssh-client",
    "pcre2",
    "pipenv",
    "procps-ng",
    "ssh",
    "tar",
    "which",
    "xz-utils",
    "zlib",
    "zlib1g",
    "apt-transport-https",
    "apt-utils",
    "bash",
    "bash-completion",
    "binutils",
    "build-base",
    "build-essential",
    "ca-certificates",
    "cargo",
    "clang",
    "cmake",
    "curl",
    "dirmngr",
    "dumb-init",
    "g++",
    "gcc",
    "git",
    "gnupg",
    "gnupg2",
    "gosu",
    "htop",
    "inetutils-ping",
    "iputils-ping",
    "less",
    "locales",
    "lsb-release",
    "make",
    "nano",
    "netcat",
    "netcat-openbsd",
    "netcat-traditional",
    "openssl",
    "pipx",
    "pkg-config",
    "procps",
    "rust",
    "rustc",
    "software-properties-common",
    "su-exec",
    "sudo",
    "tini",
    "tzdata",
    "vim",
    "wget",
];

/// Returns the packages that a service may need for their programs or data.
pub(super) fn programs(packages: &[(String, Evidence)]) -> impl Iterator<Item = &str> {
    packages.iter().map(|(name, _)| name.as_str()).filter(|name| {
        let is_development =
            ["-dev", "-devel", "-headers", "-doc", "-libs"].iter().any(|suffix| name.ends_with(suffix));
        let is_library = name.starts_with("lib") && !name.starts_with("libreoffice");
        let is_python = name.starts_with("python") || name.starts_with("py3-");
        !is_development && !is_library && !is_python && !NO_PROGRAMS.contains(name)
    })
}
