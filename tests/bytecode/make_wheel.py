"""Packs a directory as the package `corpus` of a wheel, corpus-1.0-py3-none-any.whl (PEP 427)."""

import os
import sys
import zipfile

directory, target = sys.argv[1:]
info = "corpus-1.0.dist-info/"
members = {
    info + "METADATA": b"Metadata-Version: 2.1\nName: corpus\nVersion: 1.0\n",
    info + "WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
}
for here, _, names in sorted(os.walk(directory)):
    for name in sorted(names):
        path = os.path.join(here, name)
        with open(path, "rb") as file:
            members["corpus/" + os.path.relpath(path, directory)] = file.read()
record = "".join("%s,,\n" % name for name in [*members, info + "RECORD"])
members[info + "RECORD"] = record.encode()
with zipfile.ZipFile(target, "w") as wheel:
    for name, data in members.items():
        wheel.writestr(name, data)
