"""Shared code of the benchmarks. Needs only Python's standard library."""
