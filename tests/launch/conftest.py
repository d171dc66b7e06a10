"""Toy jobs are found by name on the node: this folder is on their path."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _toy_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
