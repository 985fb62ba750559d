"""The environment of about 450 MB of all scenarios, and the trees built from it."""

from __future__ import annotations

import json
import os
import re
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .running import call, copy, environment, remove

if TYPE_CHECKING:
    from pathlib import Path

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"

REQUIREMENTS = """\
annotated-doc==0.0.7
annotated-types==0.8.0
anyio==4.16.0
click==8.5.1
cloudpickle==3.1.2
fastapi==0.165.0
h11==0.16.0
httptools==0.9.0
idna==3.20
joblib==1.6.0
narwhals==2.29.0
numpy==2.4.6 ; python_full_version < '3.12'
numpy==2.5.5 ; python_full_version >= '3.12'
opentelemetry-api==1.45.2
pandas==3.1.1
pydantic==2.14.3
pydantic-core==2.50.4
python-dateutil==4.0.0
python-dotenv==1.2.4
pyyaml==6.0.3
scikit-learn==1.9.1
scipy==1.17.1 ; python_full_version < '3.12'
scipy==1.18.1 ; python_full_version >= '3.12'
sqlalchemy==2.1.9
starlette==1.10.0
threadpoolctl==3.8.0
typing-extensions==4.16.0
typing-inspection==0.4.5
tzdata==2026.6
uvicorn==0.54.0
uvloop==0.23.0
watchfiles==1.3.0
websockets==17.4
"""

PROJECT = """\
[project]
name = "large"
version = "1.0"
dependencies = [
    "fastapi", "uvicorn[standard]", "uvloop", "httptools", "pydantic", "sqlalchemy",
    "numpy", "pandas", "scipy", "scikit-learn",
]
"""

APPLICATION = """\
from fastapi import FastAPI

app = FastAPI()


@app.get("/")
def root() -> dict[str, str]:
    return {"status": "ok"}
"""

# The distribution that changes in the scenario `distribution`: about 1 MB with its bytecode.
SMALL = "click"

# Files of an environment that an image of a service leaves out.
_TOOLS = re.compile(r"(pip|setuptools|_distutils_hack|distutils-precedence\.pth|pkg_resources)($|-.*)")

CONTAINERFILE = """\
FROM scratch
ENV PATH=/app/.venv/bin:/usr/local/bin:/usr/bin:/bin
CMD ["/app/.venv/bin/uvicorn", "main:app"]
COPY system/ /
COPY venv/ /app/.venv/
COPY source/ /app/
"""


@dataclass(frozen=True)
class Inputs:
    """One project in the input form of each kind of tool."""

    project: Path
    venv: Path
    # `system`, `venv` and `source`: finished trees for tools that only pack.
    parts: Path

    @staticmethod
    def under(folder: Path) -> Inputs:
        return Inputs(folder / "project", folder / "venv", folder / "parts")


def wheels(folder: Path) -> Path:
    """Returns the wheels, downloaded once for each interpreter and list of pins."""
    kept = folder / f"wheels-{PYTHON}"
    stamp = kept / "requirements.txt"
    if not stamp.exists() or stamp.read_text() != REQUIREMENTS:
        print(f"downloading {kept}, once", file=sys.stderr)
        remove(kept)
        kept.mkdir(parents=True)
        wanted = folder / "requirements.txt"
        wanted.write_text(REQUIREMENTS)
        # The only step with pip's configured mirror or proxy.
        call(sys.executable, "-m", "pip", "download", "--quiet", "--requirement", wanted, "--dest", kept, env=_own())
        wanted.rename(stamp)
    return kept


def _own() -> dict[str, str]:
    return dict(os.environ) | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def make_venv(at: Path, wheels: Path) -> None:
    """Creates a fresh environment, like `pip install` in a CI job."""
    remove(at)
    call(sys.executable, "-m", "venv", at)
    _install(at, "--find-links", wheels, "--requirement", wheels / "requirements.txt")


def _install(venv: Path, *what: object) -> None:
    pip = [venv / "bin/python", "-m", "pip", "--disable-pip-version-check", "--quiet"]
    call(*pip, "install", "--no-index", *what, env=environment())


def make_project(at: Path) -> None:
    at.mkdir(parents=True)
    (at / "pyproject.toml").write_text(PROJECT)
    (at / "main.py").write_text(APPLICATION)


def change_source(inputs: Inputs, number: int) -> None:
    """Changes one line of the source to one that no build has seen."""
    for folder in (inputs.project, inputs.parts / "source"):
        (folder / "main.py").write_text(f"{APPLICATION}\n\nCHANGE = {number}\n")


def restore_source(inputs: Inputs) -> None:
    for folder in (inputs.project, inputs.parts / "source"):
        (folder / "main.py").write_text(APPLICATION)


def change_distribution(inputs: Inputs, wheels: Path, number: int) -> None:
    """Installs another version of one small distribution, which no build has seen."""
    _install(inputs.venv, "--no-deps", "--force-reinstall", _another_version(wheels, number))
    refresh(inputs)


def restore_distribution(inputs: Inputs, wheels: Path) -> None:
    _install(inputs.venv, "--no-deps", "--force-reinstall", _wheel(wheels))
    refresh(inputs)


def _wheel(wheels: Path) -> Path:
    (found,) = wheels.glob(f"{SMALL}-*.whl")
    return found


def _another_version(wheels: Path, number: int) -> Path:
    """Returns the wheel with another version and one more line in a module."""
    original = _wheel(wheels)
    name, version, rest = original.name.split("-", 2)
    changed = f"{version}.post{number}"
    to = wheels / "changed" / f"{name}-{changed}-{rest}"
    to.parent.mkdir(exist_ok=True)
    old, new = f"{name}-{version}.dist-info/", f"{name}-{changed}.dist-info/"
    with zipfile.ZipFile(original) as read, zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as written:
        for member in read.infolist():
            content = read.read(member)
            if member.filename == f"{old}METADATA":
                content = content.replace(f"\nVersion: {version}\n".encode(), f"\nVersion: {changed}\n".encode())
            elif member.filename == f"{old}RECORD":
                content = _rows_without_digests(content, old, new)
            elif member.filename == f"{name}/__init__.py":
                content += f"\n_CHANGE = {number}\n".encode()
            written.writestr(member.filename.replace(old, new), content)
    return to


def _rows_without_digests(record: bytes, old: str, new: str) -> bytes:
    rows = [line.split(",")[0] for line in record.decode().splitlines()]
    return "".join(f"{row.replace(old, new)},,\n" for row in rows).encode()


def unpack(layout: Path, to: Path) -> None:
    """Unpacks the layout's only image. Modes may forbid writing, except for root."""

    def blob(descriptor: dict[str, str]) -> Path:
        return layout / "blobs" / descriptor["digest"].replace(":", "/")

    index = json.loads((layout / "index.json").read_text())
    manifest = json.loads(blob(index["manifests"][0]).read_text())
    to.mkdir()
    for layer in manifest["layers"]:
        with tarfile.open(blob(layer)) as tar:
            if hasattr(tarfile, "fully_trusted_filter"):  # from 3.12, and in later patches of older versions
                tar.extraction_filter = tarfile.fully_trusted_filter
            tar.extractall(to)


def split(tree: Path, parts: Path) -> None:
    """Splits an image's tree into the parts that a Containerfile copies one after another."""
    parts.mkdir()
    (tree / "app/.venv").rename(parts / "venv")
    (tree / "app").rename(parts / "source")
    tree.rename(parts / "system")
    (parts / "Containerfile").write_text(CONTAINERFILE)


def refresh(inputs: Inputs) -> None:
    """Puts the packages of the environment into its part, with times and bytecode as pip wrote them."""
    library = inputs.parts / "venv/lib"
    copy(inputs.venv / "lib", library)
    for packages in library.glob("python*/site-packages"):
        for entry in packages.iterdir():
            if _TOOLS.fullmatch(entry.name):
                remove(entry)
