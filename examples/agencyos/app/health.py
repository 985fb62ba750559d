"""What the service stands on, and whether it is there. Nothing here writes to a disk."""

import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Mapping
from typing import Literal, Protocol

from pydantic import BaseModel


class ServiceHealth(BaseModel):
    """One thing that the service needs."""

    status: Literal["up", "down"]
    milliseconds: float
    detail: str | None = None


class Health(BaseModel):
    """What `/health` answers; it is healthy when everything is up."""

    status: Literal["healthy", "unhealthy"]
    services: dict[str, ServiceHealth]


class Probe(Protocol):
    """Something that can be asked whether it works."""

    def probe(self) -> None:
        """Raises what is wrong."""


class Database:
    """A SQLite database; in memory, each worker has its own."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        # Endpoints run on a pool of threads, and SQLite's connection is one.
        self._lock = threading.Lock()

    def open(self) -> None:
        self._connection = sqlite3.connect(self._path, check_same_thread=False)

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def probe(self) -> None:
        with self._lock:
            if self._connection is None:
                raise RuntimeError("not open")
            self._connection.execute("SELECT 1").fetchone()


class Disk:
    """Room for temporary files."""

    def __init__(self, minimum_free_bytes: int) -> None:
        self._minimum = minimum_free_bytes

    def probe(self) -> None:
        free = shutil.disk_usage(tempfile.gettempdir()).free
        if free < self._minimum:
            raise RuntimeError(f"{free} bytes free, {self._minimum} needed")


def check(probes: Mapping[str, Probe]) -> Health:
    """Asks all of them."""
    services = {}
    for name, probe in probes.items():
        start = time.perf_counter()
        detail = None
        try:
            probe.probe()
        except Exception as error:
            detail = str(error)
        services[name] = ServiceHealth(
            status="up" if detail is None else "down",
            milliseconds=round((time.perf_counter() - start) * 1000, 3),
            detail=detail,
        )
    healthy = all(service.status == "up" for service in services.values())
    return Health(status="healthy" if healthy else "unhealthy", services=services)
