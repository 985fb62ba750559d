"""A beacon that answers with its name."""
