"""Logs as JSON, one object a line, on standard output."""

import json
import logging
import logging.config
from datetime import UTC, datetime
from pathlib import Path

# uvicorn takes the same file, for the lines that its supervisor writes.
CONFIGURATION = Path(__file__).parent / "logging.json"

# What every record has; the rest came with `extra=`.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "process": record.process,
        }
        if record.name == "uvicorn.access" and isinstance(record.args, tuple) and len(record.args) == 5:
            client, method, path, version, status = record.args
            line |= {
                "message": "request",
                "client": client,
                "method": method,
                "path": path,
                "http_version": version,
                "status": status,
            }
        line |= {key: value for key, value in vars(record).items() if key not in _STANDARD}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


def configure(level: str) -> None:
    """Sends every logger's records through [`JsonFormatter`]."""
    logging.config.dictConfig(json.loads(CONFIGURATION.read_text(encoding="utf-8")))
    logging.getLogger().setLevel(level)
