"""What tests of probes share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.drawn import copied_networks
from tests.probing import copied

__all__ = ["copied_networks", "own"]


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
