"""The application: `uvicorn app.main:app`."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Response
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel

from app import __version__, metrics
from app.health import Database, Disk, Health, check
from app.logs import configure
from app.settings import Settings

STATIC = Path(__file__).parent / "static"

log = logging.getLogger(__name__)


class Service(BaseModel):
    """What `/` answers."""

    status: str
    service: str
    version: str


def create(settings: Settings | None = None) -> FastAPI:
    """Builds the application from settings; those of the environment if none are given."""
    settings = settings or Settings()
    configure(settings.log_level)

    database = Database(settings.database)
    disk = Disk(settings.minimum_free_bytes)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        database.open()
        log.info("ready", extra={"service": settings.name, "version": __version__})
        yield
        database.close()
        metrics.forget_this_process()

    app = FastAPI(title=settings.name, version=__version__, lifespan=lifespan)
    app.add_middleware(metrics.Measure)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")

    @app.get("/")
    def root() -> Service:
        return Service(status="ok", service=settings.name, version=__version__)

    @app.get("/health", responses={503: {"model": Health}})
    def health(response: Response) -> Health:
        result = check({"database": database, "disk": disk})
        if result.status != "healthy":
            response.status_code = 503
            log.error("unhealthy", extra={"services": result.model_dump()["services"]})
        return result

    @app.get("/metrics", response_class=Response)
    def prometheus() -> Response:
        return Response(metrics.render(), media_type=metrics.CONTENT_TYPE)

    return app


app = create()
