"""What tests of probes share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests import drawn
from tests.probing import copied


@pytest.fixture(autouse=True, scope="package")
def _copied() -> Iterator[None]:
    with drawn.copied():
        yield


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """Workers set the threads of their process; here it is the tests'."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def own(finished: Path, tmp_path: Path) -> Path:
    """The module's finished trial without probes."""
    return copied(finished, tmp_path / "own")
