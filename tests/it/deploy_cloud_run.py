"""Compares a document with the description of Cloud Run's Admin API v1: names and types of all fields."""

import json
import pathlib
import sys

import googleapiclient

documents = pathlib.Path(googleapiclient.__file__).parent / "discovery_cache" / "documents"
schemas = json.loads((documents / "run.v1.json").read_text())["schemas"]
TYPES = {"string": str, "boolean": bool, "integer": int, "number": (int, float)}


def check(value, schema, path):
    schema = schemas[schema["$ref"]] if "$ref" in schema else schema
    kind = schema.get("type")
    if kind == "object":
        assert isinstance(value, dict), f"{path}: {value!r} is no object"
        for key, item in value.items():
            known = schema.get("properties", {}).get(key, schema.get("additionalProperties"))
            assert known is not None, f"{path}: unknown field {key}"
            check(item, known, f"{path}.{key}")
    elif kind == "array":
        assert isinstance(value, list), f"{path}: {value!r} is no list"
        for number, item in enumerate(value):
            check(item, schema["items"], f"{path}[{number}]")
    elif schema.get("format") == "int64":
        assert isinstance(value, (int, str)) and str(value).isdigit(), f"{path}: {value!r}"
    else:
        assert isinstance(value, TYPES[kind]), f"{path}: {value!r} is no {kind}"


document = json.loads(sys.argv[1])
check(document, schemas[document["kind"]], document["kind"])
