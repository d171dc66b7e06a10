"""A sweep of toy trials, started as a real driver starts it: jobs on this machine or on a real SLURM."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

LAUNCH = Path(__file__).resolve().parents[1] / "launch"
sys.path.insert(0, str(LAUNCH))


@pytest.fixture(autouse=True)
def _toy_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    # The code under test too: the environment may have another checkout installed.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (LAUNCH, LAUNCH.parents[1]))))
