"""A small back end, as an example of what `ipo-oci` packs."""

__version__ = "3.0.0"
