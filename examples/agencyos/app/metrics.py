"""Prometheus metrics that are right with several workers.

Each worker counts in its own process. `prometheus_client` adds them up through memory-mapped files in a
directory that all workers share, and which has to be known before it is imported. uvicorn's workers are
children of one supervisor, so its process id and start time name the directory: below the temporary
directory, which is all that a read-only container can write to. A single process needs none.

Files are named by a worker's place, not by its process id. A worker that replaces a dead one has its place,
and continues its counters: no request is forgotten, and no file of a dead process is left over.
"""

import fcntl
import multiprocessing
import os
import shutil
import tempfile
import time
from pathlib import Path


def _shared_directory() -> Path | None:
    if given := os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        return Path(given)
    supervisor = multiprocessing.parent_process()
    if supervisor is None or supervisor.pid is None:
        return None
    try:
        # Field 22 of proc(5)'s stat. In a container the supervisor is process 1 after every restart.
        stat = Path(f"/proc/{supervisor.pid}/stat").read_text()
        started = stat.rpartition(")")[2].split()[19]
    except OSError:
        started = "0"
    prefix = f"agencyos-metrics-{supervisor.pid}-"
    directory = Path(tempfile.gettempdir()) / f"{prefix}{started}"
    for earlier in directory.parent.glob(f"{prefix}*"):
        if earlier != directory:
            shutil.rmtree(earlier, ignore_errors=True)
    return directory


def _take_place(directory: Path) -> int:
    """Returns the first place that no living worker has; the kernel frees it when this process ends."""
    place = 0
    while True:
        lock = os.open(directory / f"{place}.lock", os.O_CREAT | os.O_WRONLY, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return place
        except BlockingIOError:
            os.close(lock)
            place += 1


DIRECTORY = _shared_directory()
if DIRECTORY is not None:
    DIRECTORY.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(DIRECTORY)
    PLACE = _take_place(DIRECTORY)

from prometheus_client import (  # noqa: E402
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
    values,
)
from starlette.types import ASGIApp, Message, Receive, Scope, Send  # noqa: E402

CONTENT_TYPE = CONTENT_TYPE_LATEST

if DIRECTORY is not None:
    values.ValueClass = values.MultiProcessValue(lambda: PLACE)
    # Requests that a dead worker was answering.
    multiprocess.mark_process_dead(PLACE, path=DIRECTORY)

REQUESTS = Counter("http_requests", "Requests answered", ["method", "route", "status"])
SECONDS = Histogram("http_request_seconds", "Time to answer a request", ["method", "route"])
OPEN = Gauge("http_requests_open", "Requests being answered", multiprocess_mode="livesum")

# What a client sends may not make a new time series.
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


def render() -> bytes:
    """All workers' metrics in Prometheus' text format."""
    if DIRECTORY is None:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry, path=DIRECTORY)
    return generate_latest(registry)


def forget_this_process() -> None:
    """Takes this worker out of the gauges of living workers; its counters stay."""
    if DIRECTORY is not None:
        multiprocess.mark_process_dead(PLACE, path=DIRECTORY)


class Measure:
    """ASGI middleware that counts and times requests by route, not by path."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status = 500

        async def remember(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        start = time.perf_counter()
        OPEN.inc()
        try:
            await self.app(scope, receive, remember)
        finally:
            OPEN.dec()
            method = scope["method"] if scope["method"] in METHODS else "other"
            route = getattr(scope.get("route"), "path", None) or scope.get("root_path") or "other"
            REQUESTS.labels(method, route, str(status)).inc()
            SECONDS.labels(method, route).observe(time.perf_counter() - start)
