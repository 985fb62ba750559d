"""Notes in a file."""

import json
import os
from pathlib import Path

from flask import Flask, jsonify, request


def create_app(folder=None):
    """Makes the application; notes are kept in ``folder``, else in ``NOTES_FOLDER`` or ``data``."""
    app = Flask(__name__)
    path = Path(folder or os.environ.get("NOTES_FOLDER", "data")) / "notes.json"

    def read():
        return json.loads(path.read_text()) if path.exists() else []

    @app.get("/health")
    def health():
        return jsonify(status="ok")

    @app.get("/notes")
    def notes():
        return jsonify(read())

    @app.post("/notes")
    def add():
        path.write_text(json.dumps([*read(), request.get_json()["text"]]))
        return "", 201

    return app
