"""The sources of settings and their precedence."""

from pathlib import Path

import pytest

from app.settings import Settings


def test_the_environment_beats_the_file_and_the_file_beats_a_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "agencyos_name").write_text("of-secret")
    (secrets / "agencyos_api_key").write_text("hush\n")
    file = tmp_path / ".env"

    def settings() -> Settings:
        return Settings(_env_file=file, _secrets_dir=secrets)

    assert settings().name == "of-secret"
    file.write_text("AGENCYOS_NAME=of-file\n")
    assert settings().name == "of-file"
    monkeypatch.setenv("AGENCYOS_NAME", "of-environment")
    assert settings().name == "of-environment"

    key = settings().api_key
    assert key is not None
    assert key.get_secret_value() == "hush"
    assert "hush" not in repr(settings())


def test_the_sample_file_is_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AGENCYOS_LOG_LEVEL", raising=False)
    sample = Path(__file__).parents[1] / ".env.example"
    assert Settings(_env_file=sample).log_level == "DEBUG"
