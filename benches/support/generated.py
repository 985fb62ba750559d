"""Environments and projects of any size, from generated and real files."""

from __future__ import annotations

import base64
import hashlib
import itertools
import shutil
import sys
from typing import TYPE_CHECKING

from .environment import PYTHON
from .running import call, remove

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_IN_A_FOLDER = 100
_IN_A_DISTRIBUTION = 1000


def bare_venv(at: Path) -> Path:
    """Creates an environment without pip; returns the folder of its packages."""
    remove(at)
    call(sys.executable, "-m", "venv", "--without-pip", at)
    return at / f"lib/python{PYTHON}/site-packages"


def project(at: Path, name: str, dependencies: list[str]) -> None:
    remove(at)
    at.mkdir(parents=True)
    wanted = ", ".join(f'"{dependency}"' for dependency in ["uvicorn", *dependencies])
    (at / "pyproject.toml").write_text(
        f'[project]\nname = "{name}"\nversion = "1.0"\ndependencies = [{wanted}]\n\n'
        '[tool.ipo-oci]\napp = "main:app"\nloop = "auto"\nhttp = "auto"\n'
    )
    (at / "main.py").write_text("async def app(scope, receive, send):\n    raise NotImplementedError\n")


class Distribution:
    """A distribution installed file by file, with digests in its RECORD as from an installer."""

    def __init__(self, packages: Path, name: str) -> None:
        self.packages = packages
        self.name = name
        self.info = f"{name}-1.0.dist-info"
        self.rows: list[str] = []
        self.add(f"{self.info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode())
        self.add(f"{self.info}/WHEEL", b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        self.add(f"{self.info}/INSTALLER", b"pip\n")

    def add(self, place: str, content: bytes) -> None:
        path = self.packages / place
        if not path.parent.exists():
            path.parent.mkdir(parents=True)
        path.write_bytes(content)
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        self.rows.append(f"{place},sha256={digest},{len(content)}\n")

    def finish(self) -> str:
        (self.packages / self.info / "RECORD").write_text("".join([*self.rows, f"{self.info}/RECORD,,\n"]))
        return self.name


def uvicorn(packages: Path) -> None:
    """Installs a substitute for the server, so the project passes the start check."""
    server = Distribution(packages, "uvicorn")
    server.add("uvicorn/__init__.py", b"")
    server.add(f"{server.info}/entry_points.txt", b"[console_scripts]\nuvicorn = uvicorn:main\n")
    server.finish()


def many_files(at: Path, files: int) -> tuple[Path, Path]:
    """Creates a project and its environment with small files: half of them source, half of them installed.

    One in a hundred is a module, which is compiled; the others are data of a few hundred bytes.
    """
    packages = bare_venv(at / "venv")
    uvicorn(packages)
    half = files // 2
    names = []
    for number, start in enumerate(range(0, half, _IN_A_DISTRIBUTION)):
        made = Distribution(packages, f"many{number}")
        for file in range(start, min(start + _IN_A_DISTRIBUTION, half)):
            made.add(*_small(f"{made.name}/part{file // _IN_A_FOLDER}", file))
        names.append(made.finish())
    project(at / "project", "many", names)
    for file in range(half):
        place, content = _small(f"data/part{file // _IN_A_FOLDER}", file)
        path = at / "project" / place
        if file % _IN_A_FOLDER == 0:
            path.parent.mkdir(parents=True)
        path.write_bytes(content)
    return at / "project", at / "venv"


def _small(folder: str, number: int) -> tuple[str, bytes]:
    if number % 100 == 0:
        return f"{folder}/module{number}.py", f"VALUE = {number}\n".encode()
    return f"{folder}/item{number}.json", (f'{{"number": {number}, "name": "item {number}"}}\n' * 10).encode()


def many_bytes(at: Path, size: int, real: Path) -> tuple[Path, Path]:
    """Creates a project and its environment with bytes in distributions of about 50 MB.

    They are copies of the libraries and data below `real`, each with a line of its own at the end, so that no two
    files have the same bytes.
    """
    packages = bare_venv(at / "venv")
    uvicorn(packages)
    sources = itertools.cycle(_large_files(real))
    names = []
    left = size
    for number in itertools.count():
        if left <= 0:
            break
        made = Distribution(packages, f"bulk{number}")
        for file in range(10_000):
            content = next(sources).read_bytes()[: max(left, 1)]
            made.add(
                f"{made.name}/part{file // _IN_A_FOLDER}/file{file}.bin", content + f"\n{number} {file}\n".encode()
            )
            left -= len(content)
            size_of_it = size - left - number * 50_000_000
            if left <= 0 or size_of_it >= 50_000_000:
                break
        names.append(made.finish())
    project(at / "project", "bulk", names)
    return at / "project", at / "venv"


def _large_files(real: Path) -> list[Path]:
    found = sorted(path for path in _regular(real) if path.suffix != ".py" and path.stat().st_size >= 64 << 10)
    if not found:
        raise SystemExit(f"{real} has no files of 64 KiB and more")
    return found


def _regular(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def free_bytes(at: Path) -> int:
    return shutil.disk_usage(at).free
