"""The compared programs, behind one interface."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from .daemons import Engine, Registry
from .running import Run, call, environment, measure, remove

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .environment import Inputs

COLD = "cold"
WARM = ("unchanged", "source", "distribution", "checkout")


class Tool(Protocol):
    """A program that builds an image, with a folder of its own for its files."""

    name: str
    # The meaningful scenarios of this tool.
    scenarios: tuple[str, ...]

    def forget(self) -> None:
        """Removes the tool's cache and results."""

    def build(self, inputs: Inputs) -> dict[str, Run]:
        """Builds the image; returns the cost of each line of the table."""

    def size(self) -> int:
        """Returns the transfer size of the last image in bytes."""


class IpoOci:
    scenarios: tuple[str, ...] = (COLD, *WARM)

    def __init__(self, work: Path, binary: Path, compression: str, name: str = "ipo-oci") -> None:
        self.name = name
        self.binary = binary
        self.compression = compression
        self.work = work / name.replace(" ", "-")
        self.layout = self.work / "layout"

    def forget(self) -> None:
        remove(self.work)
        self.work.mkdir()

    def build(self, inputs: Inputs) -> dict[str, Run]:
        command = [
            *(self.binary, "build", inputs.project, "--venv", inputs.venv, "--no-provision"),
            *("-o", f"oci:{self.layout}", "--compression", self.compression),
        ]
        return {self.name: measure(command, environment(XDG_CACHE_HOME=str(self.work / "cache")))}

    def size(self) -> int:
        return image_size(self.layout)


class Umoci:
    """umoci has no cache and packs everything after any change."""

    name = "umoci insert"
    scenarios: tuple[str, ...] = (COLD,)

    def __init__(self, work: Path) -> None:
        self.layout = work / "umoci"

    def forget(self) -> None:
        remove(self.layout)

    def build(self, inputs: Inputs) -> dict[str, Run]:
        image = f"{self.layout}:latest"
        call("umoci", "init", "--layout", self.layout)
        call("umoci", "new", "--image", image)
        runs = [
            measure(["umoci", "insert", "--rootless", "--image", image, inputs.parts / part, to], environment())
            for part, to in (("system", "/"), ("venv", "/app/.venv"), ("source", "/app"))
        ]
        return {self.name: runs[0].then(runs[1]).then(runs[2])}

    def size(self) -> int:
        return image_size(self.layout)


class Buildah:
    """`build --layers`, with a cache, and `push` to a layout."""

    name = "buildah"
    scenarios: tuple[str, ...] = (COLD, *WARM)

    def __init__(self, work: Path) -> None:
        self.work = work / self.name
        self.layout = self.work / "layout"
        self.driver = "overlay"

    def _command(self) -> list[object]:
        storage = ["--root", self.work / "root", "--runroot", self.work / "run", "--storage-driver", self.driver]
        return [self.name, *storage]

    def forget(self) -> None:
        if (self.work / "root").exists():
            call(*self._command(), "rmi", "--all", "--force")
        # Its mounts would prevent the removal.
        call("sh", "-c", 'grep -o " $0/[^ ]*" /proc/mounts | sort -r | xargs -r umount --lazy', self.work)
        remove(self.work)
        self.work.mkdir()
        # Created before the measurement; detects a driver that does not work here.
        probe = [str(word) for word in (*self._command(), "images")]
        if subprocess.run(probe, env=environment(), check=False, capture_output=True).returncode:
            remove(self.work)
            self.work.mkdir()
            self.driver = "vfs"

    def build(self, inputs: Inputs) -> dict[str, Run]:
        file = inputs.parts / "Containerfile"
        build = measure(
            [
                *self._command(),
                *("build", "--layers", "--isolation", "chroot", "--tag", "image", "--file", file),
                inputs.parts,
            ],
            environment(),
        )
        push = measure([*self._command(), "push", "image", f"oci:{self.layout}:latest"], environment())
        return {f"{self.name} build ({self.driver})": build, f"{self.name} build + push": build.then(push)}

    def size(self) -> int:
        return image_size(self.layout)


class Podman(Buildah):
    """The same code as buildah's behind another command, with its own storage."""

    name = "podman"


class Docker:
    """`docker build` by a private engine, and `docker push` to a private registry."""

    name = "docker"
    scenarios: tuple[str, ...] = (COLD, *WARM)

    def __init__(self, work: Path, engine: Engine, registry: Registry) -> None:
        self.work = work / "docker"
        self.engine = engine
        self.registry = registry
        self.image = f"localhost:{registry.port}/image:latest"
        self.builder = "BuildKit" if engine.buildkit else "classic"

    def _environment(self) -> dict[str, str]:
        return environment(
            DOCKER_HOST=self.engine.host,
            DOCKER_CONFIG=str(self.engine.work / "config"),
            DOCKER_BUILDKIT=str(int(self.engine.buildkit)),
        )

    def forget(self) -> None:
        env = self._environment()
        call(self.engine.client, "system", "prune", "--all", "--force", env=env)
        call(self.engine.client, "builder", "prune", "--all", "--force", env=env)
        self.registry.empty()

    def build(self, inputs: Inputs) -> dict[str, Run]:
        file = inputs.parts / "Containerfile"
        command = [self.engine.client, "build", "--tag", self.image, "--file", file, inputs.parts]
        build = measure(command, self._environment(), self.engine.processes())
        push = measure([self.engine.client, "push", self.image], self._environment(), self.engine.processes())
        return {f"docker build ({self.builder})": build, "docker build + push": build.then(push)}

    def size(self) -> int:
        return self.registry.image_size()


def image_size(layout: Path) -> int:
    """Returns the bytes of the layout's `latest`, including the manifest, without older images of that name."""

    def blob(descriptor: dict[str, str]) -> Path:
        return layout / "blobs" / descriptor["digest"].replace(":", "/")

    manifests = json.loads((layout / "index.json").read_text())["manifests"]
    name = "org.opencontainers.image.ref.name"
    (latest,) = [each for each in manifests if each.get("annotations", {}).get(name) == "latest"]
    manifest = json.loads(blob(latest).read_text())
    return sum(blob(each).stat().st_size for each in (latest, manifest["config"], *manifest["layers"]))


NAMES = ("ipo-oci", "ipo-oci zstd", "umoci", "buildah", "podman", "docker")


@contextmanager
def tools(work: Path, binary: Path, compression: str, wanted: list[str]) -> Iterator[list[Tool]]:
    """Returns the requested tools that this machine has, and reports missing ones. Daemons end with the block."""
    found: list[Tool] = [IpoOci(work, binary, compression)]

    def missing(name: str, why: str) -> None:
        print(f"skipped: {name}: {why}", file=sys.stderr)

    if "ipo-oci zstd" in wanted:
        found.append(IpoOci(work, binary, "zstd", "ipo-oci zstd"))
    if "umoci" in wanted:
        if shutil.which("umoci"):
            found.append(Umoci(work))
        else:
            missing("umoci", "not installed (Debian: apt-get install umoci)")
    for tool in (Buildah, Podman):
        if tool.name in wanted:
            if shutil.which(tool.name):
                found.append(tool(work))
            else:
                missing(tool.name, f"not installed (Debian: apt-get install {tool.name})")
    engine = registry = None
    try:
        if "docker" in wanted:
            if not shutil.which("docker-registry"):
                missing("docker", "no registry to push to (Debian: apt-get install docker-registry)")
            elif isinstance(engine := Engine.start(), str):
                missing("docker", engine)
            else:
                registry = Registry(work / "registry")
                found.append(Docker(work, engine, registry))
        yield found
    finally:
        for tool in found:
            if isinstance(tool, Buildah):
                tool.forget()
        if registry:
            registry.stop()
        if isinstance(engine, Engine):
            engine.stop()
