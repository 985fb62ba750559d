"""Python's own answers about metadata, as lines of JSON: `python metadata.py closures|fields`, with
the questions on standard input; `questions` prints those about closures.

Runs in the environment that the questions are about, which has to hold `packaging`. The standard library's
`importlib.metadata` and `email` read, and `packaging` decides.
"""

from __future__ import annotations

import email
import functools
import importlib.metadata
import json
import re
import sys
from collections import deque

from packaging.markers import Marker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

FIRST_NAME = re.compile(r"\s*([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)")


class Installed:
    """The installed distributions, with each requirement and each marker parsed once."""

    def __init__(self) -> None:
        self.distributions: dict[str, importlib.metadata.Distribution] = {}
        for found in importlib.metadata.distributions():
            # Python uses the first of two in the path.
            self.distributions.setdefault(canonicalize_name(found.metadata["Name"]), found)
        self.requires = functools.cache(self._requires)
        self.holds = functools.cache(self._holds)

    def _requires(self, name: str) -> list[tuple[str, Requirement | None]]:
        read = []
        for text in self.distributions[name].requires or []:
            try:
                read.append((text, Requirement(text)))
            except InvalidRequirement:
                read.append((text, None))
        return read

    def _holds(self, marker: str, extra: str) -> bool:
        return Marker(marker).evaluate({"extra": extra})

    def closure(self, text: str) -> dict[str, object]:
        """Returns the closure of `text`: installed, missing with their dependents, and unreadable requirements."""
        known: dict[str, set[str]] = {}
        missing: set[tuple[str, str]] = set()
        unreadable: set[str] = set()
        queue: deque[str] = deque()

        def need(name: str, extras: set[str], by: str) -> None:
            name = canonicalize_name(name)
            if name not in self.distributions:
                missing.add((name, by))
            elif name not in known or not extras <= known[name]:
                known.setdefault(name, set()).update(extras)
                queue.append(name)

        root = Requirement(text)
        need(root.name, root.extras, "standard input")
        while queue:
            name = queue.popleft()
            distribution = self.distributions[name]
            by = f"{distribution.metadata['Name']} {distribution.version}"
            asked = known[name] or {""}
            for required, requirement in self.requires(name):
                if requirement is None:
                    # pip refuses to install such a distribution; only its name is usable.
                    unreadable.add(required)
                    first = FIRST_NAME.match(required)
                    if first and canonicalize_name(first[1]) in self.distributions:
                        need(first[1], set(), by)
                    continue
                marker = requirement.marker
                if marker is None or any(self.holds(str(marker), extra) for extra in asked):
                    need(requirement.name, requirement.extras, by)
        return {"members": sorted(known), "missing": sorted(missing), "unreadable": sorted(unreadable)}

    def questions(self) -> list[str]:
        """Returns every distribution, alone and with each of its extras."""
        texts = []
        for name, distribution in sorted(self.distributions.items()):
            texts.append(name)
            extras = {canonicalize_name(extra) for extra in distribution.metadata.get_all("Provides-Extra") or []}
            texts.extend(f"{name}[{extra}]" for extra in sorted(extras))
        return texts


def unfolded(value: str) -> str:
    """Returns a value in one line."""
    lines = (line.strip(" \t\r\f") for line in value.split("\n"))
    return " ".join(line for line in lines if line)


def fields(text: str) -> dict[str, object]:
    """Returns the fields of a METADATA, parsed like a text file."""
    message = email.message_from_string(text.replace("\r\n", "\n").replace("\r", "\n"))

    def every(name: str) -> list[str]:
        return [unfolded(value) for value in message.get_all(name, [])]

    found = {name: next(iter(filter(None, every(name))), "") for name in ("Name", "Version")}
    for name, value in found.items():
        if not value:
            return {"error": f"`{name}` is missing"}
    python = [value for value in every("Requires-Python") if value != "UNKNOWN"]
    return {
        "name": found["Name"],
        "version": found["Version"],
        "requires": every("Requires-Dist"),
        "extras": every("Provides-Extra"),
        "python": next(iter(python), None),
    }


def main() -> None:
    what = sys.argv[1]
    if what == "questions":
        print("\n".join(Installed().questions()))
        return
    installed = Installed()
    for line in sys.stdin:
        answer = installed.closure(line.strip()) if what == "closures" else fields(json.loads(line))
        print(json.dumps(answer))


if __name__ == "__main__":
    main()
