"""A private Docker engine and a private registry, which end with the benchmark."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from .running import descendants, environment, remove

if TYPE_CHECKING:
    from collections.abc import Callable

_PATIENCE = 120.0


def _eventually(what: Callable[[], bool], process: subprocess.Popen[bytes]) -> bool:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end and process.poll() is None:
        if what():
            return True
        time.sleep(0.1)
    return False


class Engine:
    """`dockerd` in a temporary folder: no bridge, no firewall rule, separate from the machine's engine."""

    def __init__(self, client: str, *, buildkit: bool) -> None:
        self.client = client
        self.buildkit = buildkit
        # A short path, because the path of a socket may have 107 bytes.
        self.work = Path(tempfile.mkdtemp(prefix="ipo-bench."))
        self.host = f"unix://{self.work}/docker.sock"
        (self.work / "config").mkdir()
        command = [
            *("dockerd", "--data-root", self.work / "data", "--exec-root", self.work / "exec"),
            *("--pidfile", self.work / "pid", "--host", self.host, "--bridge", "none", "--iptables=false"),
        ]
        with (self.work / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [*(["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []), *map(str, command)],
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @staticmethod
    def start() -> Engine | str:
        """Returns the engine, or the reason for its absence."""
        if not shutil.which("dockerd"):
            return "dockerd is not installed (Debian: apt-get install docker.io)"
        if os.geteuid():
            return "an engine needs root"
        client = _client()
        if client is None:
            return "no client `docker` on PATH"
        engine = Engine(client[0], buildkit=client[1])
        if _eventually(engine.answers, engine.process):
            return engine
        log = (engine.work / "log").read_text(errors="replace").splitlines()
        engine.stop()
        return f"the engine did not start: {log[-1] if log else 'it said nothing'}"

    def answers(self) -> bool:
        env = environment(DOCKER_HOST=self.host, DOCKER_CONFIG=str(self.work / "config"))
        return subprocess.run([self.client, "version"], env=env, check=False, capture_output=True).returncode == 0

    def processes(self) -> list[int]:
        return descendants(self.process.pid)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for mount in sorted((mount for mount in mounts if mount.startswith(f"{self.work}/")), reverse=True):
            subprocess.run(["umount", "--lazy", mount], check=False)
        remove(self.work)


def _client() -> tuple[str, bool] | None:
    """Returns the client with BuildKit, if available: newer clients need a plugin that may be missing."""
    paths = [Path(folder) / "docker" for folder in os.environ.get("PATH", "").split(os.pathsep)]
    clients = [str(path) for path in paths if os.access(path, os.X_OK)]
    for client in clients:
        said = subprocess.run([client, "--version"], check=False, capture_output=True, text=True).stdout
        major = re.search(r"version (\d+)", said)
        plugin = subprocess.run([client, "buildx", "version"], check=False, capture_output=True).returncode == 0
        if plugin or (major and int(major[1]) < 23):
            return client, True
    return (clients[0], False) if clients else None


class Registry:
    """`docker-registry` with its log of requests."""

    def __init__(self, work: Path) -> None:
        self.work = work
        remove(work)
        (work / "data").mkdir(parents=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        config = {
            "version": "0.1",
            "log": {"level": "info", "accesslog": {"disabled": False}},
            "storage": {"filesystem": {"rootdirectory": str(work / "data")}, "delete": {"enabled": True}},
            "http": {"addr": f"127.0.0.1:{self.port}"},
        }
        # JSON is YAML.
        (work / "config.yml").write_text(json.dumps(config))
        self._run()

    def _run(self) -> None:
        with (self.work / "log").open("ab") as log:
            self.process = subprocess.Popen(
                ["docker-registry", "serve", str(self.work / "config.yml")],
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        if not _eventually(self._answers, self.process):
            raise SystemExit(f"docker-registry did not start: {(self.work / 'log').read_text(errors='replace')}")

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return True
        except OSError:
            return False

    def empty(self) -> None:
        self.stop()
        remove(self.work / "data", self.work / "log")
        (self.work / "data").mkdir()
        self._run()

    def image_size(self, name: str = "image", tag: str = "latest") -> int:
        accept = "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json"
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/v2/{name}/manifests/{tag}", headers={"Accept": accept}
        )
        with urllib.request.urlopen(request) as answer:
            text = answer.read()
        manifest = json.loads(text)
        return len(text) + sum(int(blob["size"]) for blob in [manifest["config"], *manifest["layers"]])

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()
