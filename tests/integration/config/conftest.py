from pathlib import Path

import pytest


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, so that messages show short paths; no token, no store."""
    monkeypatch.chdir(tmp_path)
    for name in ("HF_TOKEN", "FTCTL_STORE_URL", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path
