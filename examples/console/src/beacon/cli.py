"""The command ``beacon``."""

import argparse
import os

import waitress


def application(environ, start_response):
    """Answers each request with the name of the beacon (WSGI)."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [os.environ.get("BEACON_NAME", "beacon").encode()]


def main():
    """Serves until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="0.0.0.0")
    parser.add_argument("--port", type=int, default=int(os.environ.get("PORT", "8000")))
    options = parser.parse_args()
    waitress.serve(application, host=options.host, port=options.port)


if __name__ == "__main__":
    main()
