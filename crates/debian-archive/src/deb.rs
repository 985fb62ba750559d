//! Binary packages, deb(5): an `ar` archive of `debian-binary`, `control.tar` and `data.tar`.
