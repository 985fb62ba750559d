"""Imports modules one by one, each in a process of its own, and prints a JSON line for each: module, verdict, places.

Runs with the interpreter that is asked, on this machine and in a container, and needs only Python's own library. The
modules are the lines of standard input. A verdict is `ok`, or the last exception of the chain with its text. The places
of a failure are the top-level names in `site-packages` whose code is in the tracebacks of the chain.
"""

import contextlib
import json
import os
import signal
import sys

SECONDS = 120


def places(error: "BaseException | None") -> "list[str]":
    """Returns the top-level names in `site-packages` of the frames of an exception and of those that it replaced."""
    files, seen = [], set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        frame = error.__traceback__
        while frame is not None:
            files.append(frame.tb_frame.f_code.co_filename)
            frame = frame.tb_next
        # An extension module that cannot be loaded has no frame.
        files.append(getattr(error, "path", None) or "")
        error = error.__cause__ or error.__context__
    inner = (file.partition("/site-packages/")[2] for file in files)
    return sorted({file.split("/")[0].split(".")[0] for file in inner if file})


def verdict(module: str) -> "tuple[str, list[str]]":
    """Imports the module in a child process, so a module that ends, kills or stalls it has a verdict too."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        signal.alarm(SECONDS)
        silence = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(silence, stream)
        answer = ("ended the process", [])
        try:
            __import__(module)
            answer = ("ok", [])
        except BaseException as error:  # SystemExit is a verdict as well.
            answer = (f"{type(error).__name__}: {error}"[:4000], places(error))
        finally:
            with contextlib.suppress(OSError):
                os.write(writing, json.dumps(answer).encode())
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        answer = stream.read()
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if not answer and code < 0:
        return f"ended by {signal.Signals(-code).name}", []
    return tuple(json.loads(answer)) if answer else ("ended the process", [])


def main() -> None:
    for line in sys.stdin:
        module = line.strip()
        print(json.dumps([module, *verdict(module)]), flush=True)


if __name__ == "__main__":
    main()
