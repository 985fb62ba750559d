"""The application of the service admin."""

from shared import make_app

app = make_app("admin")
