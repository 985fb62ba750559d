"""Runs programs and measures their cost, including that of their daemon."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ROOT = Path(__file__).resolve().parents[2]

# Removes settings of the user, which would affect the measurement.
_FOREIGN = ("IPO_OCI_", "UMOCI_", "BUILDAH_", "DOCKER_", "PIP_", "SOURCE_DATE_EPOCH", "VIRTUAL_ENV")


@dataclass(frozen=True)
class Run:
    """The cost of a program: wall-clock seconds, seconds of all processors, and peak resident bytes.

    The peak is that of the largest single process among the program, its children and its daemon: what several of
    them hold at once is not summed, which flatters programs of many processes.
    """

    seconds: float
    processor: float
    peak: int
    said: str = ""

    def then(self, other: Run) -> Run:
        """Returns the sum of two consecutive runs."""
        return Run(self.seconds + other.seconds, self.processor + other.processor, max(self.peak, other.peak))


def end_in_order() -> None:
    """Makes SIGTERM end the program like an error, so daemons and folders are removed."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


def environment(**more: str) -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith(_FOREIGN)} | more


def call(*command: object, env: dict[str, str] | None = None) -> None:
    """Runs an unmeasured program that has to succeed; its output is shown on failure."""
    words = [str(word) for word in command]
    done = subprocess.run(
        words,
        check=False,
        env=env or environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if done.returncode:
        sys.exit(f"{' '.join(words)} failed:\n{done.stdout.decode(errors='replace')}")


def measure(command: Sequence[object], env: dict[str, str], daemon: Iterable[int] = ()) -> Run:
    """Runs a program after a sync, so earlier writes do not fall into its measurement."""
    os.sync()
    return timed(command, env, daemon)


def timed(command: Sequence[object], env: dict[str, str], daemon: Iterable[int] = ()) -> Run:
    """Runs a program that has to succeed. `daemon` are the long-running processes that work for the program."""
    daemon = list(daemon)
    before = sum(map(_processor_seconds, daemon))
    for process in daemon:
        _forget_peak(process)
    start = time.perf_counter()
    child = subprocess.Popen(
        [str(word) for word in command],
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert child.stderr is not None
    said = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - start
    child.stderr.close()
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{said.decode(errors='replace')}")
    processor = usage.ru_utime + usage.ru_stime + sum(map(_processor_seconds, daemon)) - before
    return Run(seconds, processor, max([usage.ru_maxrss * 1024, *map(_peak, daemon)]), said.decode(errors="replace"))


def descendants(process: int) -> list[int]:
    """Returns the process and its current descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, waiting = [], [process]
    while waiting:
        found.append(waiting.pop())
        waiting += children.get(found[-1], [])
    return found


def _stat(process: int) -> list[str]:
    """Returns the fields of proc_pid_stat(5) from the state on; empty for a process that has ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _processor_seconds(process: int) -> float:
    """Includes children that have ended."""
    fields = _stat(process)
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def _forget_peak(process: int) -> None:
    with contextlib.suppress(OSError):
        Path(f"/proc/{process}/clear_refs").write_text("5")


def _peak(process: int) -> int:
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:")), 0)


def size_of(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def remove(*folders: Path) -> None:
    for folder in folders:
        if folder.is_symlink() or folder.is_file():
            folder.unlink()
        else:
            shutil.rmtree(folder, ignore_errors=True)


def copy(source: Path, to: Path) -> None:
    """Copies a tree with its times and links."""
    remove(to)
    to.parent.mkdir(parents=True, exist_ok=True)
    call("cp", "--archive", "--reflink=auto", source, to)


def machine() -> str:
    """Returns a description of the machine."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        os.uname().machine,
    )
    return f"{os.cpu_count()} cores of {cpu}, load {os.getloadavg()[0]:.1f} at the end"
