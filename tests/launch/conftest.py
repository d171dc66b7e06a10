"""Toy jobs are found by name on the node: this folder is on their path."""

import os
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


@pytest.fixture(autouse=True)
def _toy_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    # The code under test too: the environment may have another checkout installed.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (HERE, HERE.parents[1]))))
