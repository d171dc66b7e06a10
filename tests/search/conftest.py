"""The toy jobs of tests/launch, here and on the node; and a Ray that may be imported before it is started."""

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from vprdist.search.ray_session import _authentication

# Ray reads this at its first import in a process, which here may be that of a test module.
os.environ.update(_authentication())

LAUNCH = Path(__file__).resolve().parents[1] / "launch"
sys.path.insert(0, str(LAUNCH))


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose path leaves room for the names of Ray's sockets."""
    with tempfile.TemporaryDirectory(prefix="r-", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture(autouse=True)
def _toy_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    # The code under test too: the environment may have another checkout installed.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (LAUNCH, LAUNCH.parents[1]))))
