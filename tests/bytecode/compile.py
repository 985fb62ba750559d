"""Compiles all sources below a directory like one of the installers."""

import compileall
import os
import py_compile
import sys
import warnings

way, directory = sys.argv[1:]
warnings.simplefilter("ignore")

if way == "compileall":
    # Like pip: one process, in the order of names, with timestamps.
    compileall.compile_dir(directory, maxlevels=20, quiet=2)
elif way == "reversed":
    # Reverse order, in a process that has interned other strings before, with hashes.
    import ast, dis, http.client, json, typing, xml.dom.minidom  # noqa: E401, F401

    files = []
    for here, _, names in os.walk(directory):
        files += [os.path.join(here, name) for name in names if name.endswith(".py")]
    for file in sorted(files, reverse=True):
        py_compile.compile(file, quiet=2, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)
else:
    sys.exit("unknown way " + way)
