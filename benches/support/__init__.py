"""What the benchmarks of this folder share. Nothing but Python's own library is needed."""
