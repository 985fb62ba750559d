# /// script
# requires-python = ">=3.11"
# dependencies = ["jsonschema==4.26.0"]
# ///
"""Validates TOML documents, one JSON string a line of standard input, with the JSON schema in the file argv[1].

Writes a line for each: the first error as a JSON string, or null.
"""

import json
import sys
import tomllib
from pathlib import Path

from jsonschema import Draft7Validator

schema = json.loads(Path(sys.argv[1]).read_text())
Draft7Validator.check_schema(schema)
validator = Draft7Validator(schema)
for line in sys.stdin:
    document = tomllib.loads(json.loads(line))
    error = next(validator.iter_errors(document), None)
    print(json.dumps(error.message if error else None))
