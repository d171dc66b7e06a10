"""The toy jobs of tests/launch, here and on the node."""

import sys
from pathlib import Path

import pytest

LAUNCH = Path(__file__).parents[1] / "launch"
sys.path.insert(0, str(LAUNCH))


@pytest.fixture(autouse=True)
def _toy_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(LAUNCH))
