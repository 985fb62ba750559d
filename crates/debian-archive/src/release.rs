//! Releases: the file `InRelease` of a suite, its fields, the digests of its indexes, and its signature.
