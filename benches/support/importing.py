"""Imports modules one by one, each in a process of its own, and prints a JSON line for each: module and verdict.

Runs with the interpreter that is asked, on this machine and in a container, and needs only Python's own library. The
modules are the lines of standard input. A verdict is `ok`, or the last exception of the chain with its text.
"""

import contextlib
import json
import os
import signal
import sys

SECONDS = 120


def verdict(module: str) -> str:
    """Imports the module in a child process, so a module that ends, kills or stalls it has a verdict too."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        signal.alarm(SECONDS)
        silence = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(silence, stream)
        text = "ended the process"
        try:
            __import__(module)
            text = "ok"
        except BaseException as error:  # SystemExit is a verdict as well.
            text = f"{type(error).__name__}: {error}"
        finally:
            with contextlib.suppress(OSError):
                os.write(writing, text.encode(errors="replace")[:4000])
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        text = answer.read().decode(errors="replace")
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return text or f"ended by {signal.Signals(-code).name}" if code < 0 else text


def main() -> None:
    for line in sys.stdin:
        module = line.strip()
        print(json.dumps([module, verdict(module)]), flush=True)


main()
