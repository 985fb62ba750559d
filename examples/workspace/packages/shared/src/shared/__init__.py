"""The library that both services share."""

from fastapi import FastAPI


def make_app(name: str) -> FastAPI:
    """Makes an application that answers with its name."""
    app = FastAPI(title=name)

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"service": name}

    return app
