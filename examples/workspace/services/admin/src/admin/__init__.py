"""The service admin."""
