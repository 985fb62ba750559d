//! Relations between packages, Debian Policy section 7.1: `libc6 (>= 2.36), libssl3 | libssl1.1`.
