"""Compares canonical files with the output of this interpreter's compiler.

Standard input has three lines for each file: the source, the canonical .pyc, and the file name that its code must
have. Prints the number of checked files, or fails with the first difference.
"""

import importlib.util
import marshal
import struct
import sys
import warnings

warnings.simplefilter("ignore")

CODE = type(compile("", "", "exec"))
NAMES = {"co_names", "co_varnames", "co_freevars", "co_cellvars"}


def key(value):
    return type(value).__name__, repr(value)


def compare(mine, theirs, filename, where):
    assert type(mine) is type(theirs), (where, mine, theirs)
    if isinstance(mine, CODE):
        assert mine.co_filename == filename, (where, mine.co_filename)
        attributes = [name for name in dir(mine) if name.startswith("co_") and name != "co_filename"]
        for attribute in attributes:
            left, right = getattr(mine, attribute), getattr(theirs, attribute)
            if callable(left):
                if attribute in ("co_lines", "co_positions"):
                    assert list(left()) == list(right()), (where, attribute)
                continue
            compare(left, right, filename, "%s.%s" % (where, attribute))
            for name in left if attribute in NAMES else ():
                assert sys.intern(name) is name, (where, attribute, name, "is not interned")
    elif isinstance(mine, (tuple, frozenset)):
        assert len(mine) == len(theirs), (where, mine, theirs)
        if isinstance(mine, frozenset):
            mine, theirs = sorted(mine, key=key), sorted(theirs, key=key)
        for number, (left, right) in enumerate(zip(mine, theirs)):
            compare(left, right, filename, "%s[%d]" % (where, number))
    elif isinstance(mine, slice):
        for attribute in ("start", "stop", "step"):
            compare(getattr(mine, attribute), getattr(theirs, attribute), filename, where)
    elif isinstance(mine, float):
        assert struct.pack("<d", mine) == struct.pack("<d", theirs), (where, mine, theirs)
    elif isinstance(mine, complex):
        compare((mine.real, mine.imag), (theirs.real, theirs.imag), filename, where)
    else:
        assert mine == theirs, (where, mine, theirs)


lines = sys.stdin.buffer.read().decode("utf-8").split("\n")
count = 0
for source, pyc, filename in zip(lines[0::3], lines[1::3], lines[2::3]):
    with open(source, "rb") as file:
        source_bytes = file.read()
    with open(pyc, "rb") as file:
        data = file.read()
    assert data[:4] == importlib.util.MAGIC_NUMBER, pyc
    assert data[4:8] == b"\1\0\0\0", (pyc, "is not an unchecked hash-based file")
    assert data[8:16] == importlib.util.source_hash(source_bytes), (pyc, "has a wrong hash")
    expected = compile(source_bytes, source, "exec", dont_inherit=True, optimize=0)
    # Round-trips the expected code as well: compile() may intern less than a load does.
    compare(marshal.loads(data[16:]), marshal.loads(marshal.dumps(expected)), filename, source)
    count += 1
print(count)
