#!/bin/sh
# Installs the program `ipo-oci` of a release into ~/.local/bin, or the folder in IPO_OCI_INSTALL_DIR:
#
#     curl --proto '=https' --tlsv1.2 -LsSf RELEASE/install.sh | sh
#
# The archive is compared with its SHA-256 digest before anything is unpacked. IPO_OCI_VERSION selects another version,
# IPO_OCI_DOWNLOADS another place of the archives: a URL, or a folder of a mirror.
set -eu

# The workflow of a release writes these two lines.
repository=
version=

say() { printf 'install.sh: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

version=${IPO_OCI_VERSION:-$version}
[ -n "$version" ] || fail "set IPO_OCI_VERSION to the version"
downloads=${IPO_OCI_DOWNLOADS:-${repository:+$repository/releases/download/v$version}}
[ -n "$downloads" ] || fail "set IPO_OCI_DOWNLOADS to the place of the archives"
folder=${IPO_OCI_INSTALL_DIR:-${XDG_BIN_HOME:-${HOME:?}/.local/bin}}

case $(uname -s) in
    Linux) system=unknown-linux-musl ;;
    Darwin) system=apple-darwin ;;
    *) fail "no program for $(uname -s): build with cargo install ipo-oci" ;;
esac
case $(uname -m) in
    x86_64 | amd64) machine=x86_64 ;;
    aarch64 | arm64) machine=aarch64 ;;
    *) fail "no program for $(uname -m): build with cargo install ipo-oci" ;;
esac
name=ipo-oci-v$version-$machine-$system

fetch() { # NAME
    case $downloads in
        *://*)
            if command -v curl >/dev/null; then
                curl --fail --silent --show-error --location --output "$work/$1" "$downloads/$1"
            elif command -v wget >/dev/null; then
                wget -q -O "$work/$1" "$downloads/$1"
            else
                fail "install curl or wget"
            fi
            ;;
        *) cp "$downloads/$1" "$work/$1" ;;
    esac
}

digest() {
    if command -v sha256sum >/dev/null; then
        sha256sum "$1"
    elif command -v shasum >/dev/null; then
        shasum -a 256 "$1"
    else
        openssl dgst -sha256 -r "$1"
    fi | cut -d ' ' -f 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fetch "$name.tar.gz" || fail "cannot download $name.tar.gz"
fetch "$name.tar.gz.sha256" || fail "cannot download the digest of $name.tar.gz"
expected=$(cut -d ' ' -f 1 "$work/$name.tar.gz.sha256")
found=$(digest "$work/$name.tar.gz")
[ -n "$found" ] && [ "$found" = "$expected" ] || fail "$name.tar.gz has the digest $found, expected $expected; nothing is installed"
tar -xzf "$work/$name.tar.gz" -C "$work" "$name/ipo-oci"
mkdir -p "$folder"
# A rename replaces a program that runs.
cp "$work/$name/ipo-oci" "$folder/.ipo-oci.new"
chmod 755 "$folder/.ipo-oci.new"
mv "$folder/.ipo-oci.new" "$folder/ipo-oci"
say "installed $("$folder/ipo-oci" --version) in $folder"
case :$PATH: in
    *":$folder:"*) ;;
    *) say "add $folder to PATH" ;;
esac
