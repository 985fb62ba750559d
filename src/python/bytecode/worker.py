# Compiles sources read from standard input; runs on CPython 3.9 and later.
#
# Writes one line first: the magic number and sys.hexversion. Each request is two lengths (32 bits, little endian),
# the file name in UTF-8 and the source; each answer is one byte (k: marshalled code, e: the compiler's message), a
# length and the bytes. The process ends with its input. Only the standard library can be imported, which the compiler
# does by itself: unicodedata for "\\N{...}", codecs for coding lines. The working directory is removed from the path.
import sys

sys.path[:] = [folder for folder in sys.path if folder]

import marshal

# The level of -O; the compiler accepts at most 2.
OPTIMIZE = min(int(sys.argv[1]), 2)


def magic():
    # importlib's loader is frozen into every interpreter.
    import _frozen_importlib_external as external

    return int.from_bytes(external.MAGIC_NUMBER[:2], "little")


def read(stream, size):
    data = stream.read(size)
    if len(data) != size:
        sys.exit(0)
    return data


def number(stream):
    return int.from_bytes(read(stream, 4), "little")


def answer(name, source):
    try:
        code = compile(source, name, "exec", dont_inherit=True, optimize=OPTIMIZE)
        return b"k", marshal.dumps(code)
    except Exception as error:
        line = getattr(error, "lineno", None)
        where = "" if line is None else " (line %s)" % line
        text = "%s: %s%s" % (type(error).__name__, getattr(error, "msg", None) or error, where)
        return b"e", text.encode("utf-8", "replace")[:500]


def main():
    requests = sys.stdin.buffer
    answers = sys.stdout.buffer
    # Other output goes to standard error.
    sys.stdout = sys.stderr
    answers.write(b"%d %d\n" % (magic(), sys.hexversion))
    answers.flush()
    while True:
        name_size = number(requests)
        source_size = number(requests)
        name = read(requests, name_size).decode("utf-8")
        kind, data = answer(name, read(requests, source_size))
        answers.write(kind + len(data).to_bytes(4, "little"))
        answers.write(data)
        answers.flush()


main()
