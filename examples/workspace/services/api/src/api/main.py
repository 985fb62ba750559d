"""The application of the service api."""

from shared import make_app

app = make_app("api")
