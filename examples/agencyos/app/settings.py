"""Settings, from the strongest: the environment, `.env`, `/run/secrets`, what stands here."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

SECRETS = Path("/run/secrets")


class Settings(BaseSettings):
    """`AGENCYOS_LOG_LEVEL=DEBUG` sets `log_level`; so does a file `/run/secrets/agencyos_log_level`."""

    model_config = SettingsConfigDict(
        env_prefix="AGENCYOS_",
        env_file=".env",
        extra="ignore",
        # Docker and Kubernetes mount secrets there; without any there is no such directory.
        secrets_dir=SECRETS if SECRETS.is_dir() else None,
    )

    name: str = Field("agencyos", description="what the service calls itself")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    database: str = Field(":memory:", description="SQLite's file, or `:memory:`")
    minimum_free_bytes: int = Field(1 << 20, description="less room for temporary files is unhealthy")
    api_key: SecretStr | None = Field(None, description="a secret, to show where secrets come from")
