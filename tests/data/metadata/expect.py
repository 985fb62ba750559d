"""Writes expected.json: Python's reading of the files beside this script.

    python3 expect.py

needs `packaging`. Like importlib.metadata, reads text with universal newlines by email's parser. All files are of
public distributions, except `made-of-latin-1`, written by distutils.
"""

import email
import json
import pathlib

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

HERE = pathlib.Path(__file__).parent

# CPython 3.11.7 on Linux on x86-64.
ENVIRONMENT = {
    "implementation_name": "cpython",
    "implementation_version": "3.11.7",
    "os_name": "posix",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "platform_release": "",
    "platform_system": "Linux",
    "platform_version": "",
    "python_full_version": "3.11.7",
    "python_version": "3.11",
    "sys_platform": "linux",
}


def unfolded(value):
    """Returns the value in one line."""
    return " ".join(line.strip() for line in value.split("\n") if line.strip())


def requirement(text, provided):
    """Returns a requirement's fields, and the `provided` extras that enable it if it does not hold without one."""
    try:
        read = Requirement(text)
    except InvalidRequirement:
        return {"text": text, "refused": True}

    def holds(extra):
        return read.marker is None or read.marker.evaluate({**ENVIRONMENT, "extra": extra})

    return {
        "text": text,
        "name": canonicalize_name(read.name),
        "extras": sorted(canonicalize_name(extra) for extra in read.extras),
        "url": read.url,
        "holds": holds(""),
        "extra": [extra for extra in provided if holds(extra) and not holds("")],
    }


def expected(path):
    """Returns the expected fields of one file."""
    message = email.message_from_string(path.read_text(encoding="utf-8", errors="replace"))

    def every(name):
        return [unfolded(value) for value in message.get_all(name, [])]

    def first(name):
        return next(iter(every(name)), None)

    if path.suffix == ".WHEEL":
        return {"tags": every("Tag"), "root_is_purelib": first("Root-Is-Purelib") == "true"}
    provided = every("Provides-Extra")
    return {
        "name": first("Name"),
        "version": first("Version"),
        "summary": first("Summary"),
        "requires_python": first("Requires-Python"),
        "provides_extra": provided,
        "requires": [requirement(text, provided) for text in every("Requires-Dist")],
    }


def main():
    """Reads all files and writes expected.json."""
    files = sorted(path for path in HERE.iterdir() if path.suffix in (".METADATA", ".PKG-INFO", ".WHEEL"))
    found = {path.name: expected(path) for path in files}
    text = json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False)
    (HERE / "expected.json").write_text(text + "\n")


main()
