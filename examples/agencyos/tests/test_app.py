"""The service as its clients see it."""

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app import __version__
from app.main import create
from app.settings import Settings


@pytest.fixture
def client() -> Iterator[TestClient]:
    with TestClient(create(Settings(_env_file=None))) as client:
        yield client


def test_root_names_the_service_and_its_version(client: TestClient) -> None:
    response = client.get("/")
    assert response.status_code == 200
    assert response.json() == {"status": "ok", "service": "agencyos", "version": "3.0.0"}


def test_the_version_is_the_project_s() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    assert project["project"]["version"] == __version__


def test_health_names_every_service(client: TestClient) -> None:
    response = client.get("/health")
    assert response.status_code == 200
    body = response.json()
    assert body["status"] == "healthy"
    assert {name: service["status"] for name, service in body["services"].items()} == {
        "database": "up",
        "disk": "up",
    }


def test_a_full_disk_is_unhealthy() -> None:
    with TestClient(create(Settings(_env_file=None, minimum_free_bytes=1 << 62))) as client:
        response = client.get("/health")
    assert response.status_code == 503
    assert response.json()["services"]["disk"]["status"] == "down"
    assert response.json()["services"]["database"]["status"] == "up"


def test_metrics_count_by_route(client: TestClient) -> None:
    def count(route: str, status: str) -> float:
        wanted = f'http_requests_total{{method="GET",route="{route}",status="{status}"}} '
        lines = client.get("/metrics").text.splitlines()
        return next((float(line.removeprefix(wanted)) for line in lines if line.startswith(wanted)), 0.0)

    before = count("/", "200"), count("/static", "200"), count("other", "404")
    client.get("/?a=1")
    client.get("/?a=2")
    client.get("/static/agencyos.css")
    client.get("/nothing/here")
    after = count("/", "200"), count("/static", "200"), count("other", "404")
    assert [b - a for a, b in zip(before, after, strict=True)] == [2, 1, 1]


def test_a_static_file_has_a_validator(client: TestClient) -> None:
    response = client.get("/static/agencyos.css")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/css")
    again = client.get("/static/agencyos.css", headers={"if-none-match": response.headers["etag"]})
    assert again.status_code == 304
