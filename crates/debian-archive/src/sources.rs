//! Package sources of a machine: `/etc/apt/sources.list`, `sources.list.d/*.list` and `*.sources`, sources.list(5).
