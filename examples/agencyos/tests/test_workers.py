"""The service as production runs it: uvicorn with several workers."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
SECONDS = 60


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as response:
        return response.read().decode()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], str, Path]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("AGENCYOS_")}
    environment |= {
        "UVICORN_PORT": str(port),
        "UVICORN_LOG_CONFIG": "app/logging.json",
        "TMPDIR": str(tmp_path),
    }
    output = tmp_path / "output"
    with output.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "app.main:app", "--workers", "4", "--http", "httptools"],
            cwd=PROJECT,
            env=environment,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + SECONDS
        while True:
            assert process.poll() is None, output.read_text()
            try:
                get(f"{url}/health")
                break
            except OSError:
                assert time.monotonic() < deadline, output.read_text()
                time.sleep(0.05)
        yield process, url, output
    finally:
        process.kill()
        process.wait()


def workers(supervisor: int) -> set[int]:
    """Returns the process ids of uvicorn's workers; Python's resource tracker is another child."""
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    commands = {int(child): Path(f"/proc/{child}/cmdline").read_bytes() for child in children}
    return {child for child, command in commands.items() if b"spawn_main" in command}


def test_a_killed_worker_s_counts_stay_and_its_files_do_not(
    server: tuple[subprocess.Popen[bytes], str, Path],
) -> None:
    process, url, output = server
    wanted = 'http_requests_total{method="GET",route="/",status="200"} '

    def count() -> list[str]:
        lines = get(f"{url}/metrics").splitlines()
        return [line.removeprefix(wanted) for line in lines if line.startswith(wanted)]

    def places() -> list[str]:
        files = output.parent.glob("agencyos-metrics-*/*")
        return sorted({path.stem.rpartition("_")[2] for path in files})

    for _ in range(100):
        get(f"{url}/")
    assert count() == ["100.0"]
    wait_until(lambda: places() == ["0", "1", "2", "3"])
    before = workers(process.pid)
    for killed in before:
        os.kill(killed, signal.SIGKILL)
    wait_until(lambda: len(workers(process.pid) - before) == 4)
    for _ in range(20):
        # The connection waits until a worker is ready.
        get(f"{url}/")
    assert count() == ["120.0"]
    assert places() == ["0", "1", "2", "3"]


def test_metrics_add_up_and_it_stops_in_order(server: tuple[subprocess.Popen[bytes], str, Path]) -> None:
    process, url, output = server
    for _ in range(200):
        get(f"{url}/")
    wanted = 'http_requests_total{method="GET",route="/",status="200"} '
    # Every worker reports the requests of all.
    for _ in range(8):
        counts = [line for line in get(f"{url}/metrics").splitlines() if line.startswith(wanted)]
        assert counts == [f"{wanted}200.0"]

    process.send_signal(signal.SIGTERM)
    assert process.wait(SECONDS) == 0
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    requests = [line for line in lines if line["logger"] == "uvicorn.access" and line["path"] == "/"]
    assert len(requests) == 200
    assert requests[0]["status"] == 200
    # Includes the supervisor's lines.
    assert process.pid in {line["process"] for line in lines}
